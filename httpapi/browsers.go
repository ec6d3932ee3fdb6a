package httpapi

import (
	"cmp"
	"net/http"
	"net/netip"
	"strings"
)

// Content security policies: answers are no pages, and the docs load and run nothing
// but their own files.
const (
	answerPolicy = "default-src 'none'; frame-ancestors 'none'"
	docsPolicy   = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

// transportSecurity makes browsers use HTTPS only, for a year after each answer.
const transportSecurity = "max-age=31536000"

// Headers returns a handler that sets, before next answers, the headers that tell
// browsers not to keep, frame, run or misread answers, and not to pass on URLs. The
// handlers of [New] and [NewMonitor] do so by themselves. trusted are the proxies that
// tell in X-Forwarded-Proto whether a request came by HTTPS, as in
// [Config.TrustedProxies].
func Headers(next http.Handler, trusted []netip.Prefix) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		setHeaders(w.Header(), r, trusted)
		next.ServeHTTP(w, r)
	})
}

// setHeaders sets the same headers for all answers. What may be kept, such as files of
// the docs, says so itself.
func setHeaders(h http.Header, r *http.Request, trusted []netip.Prefix) {
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", answerPolicy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	if overTLS(r, trusted) {
		h.Set("Strict-Transport-Security", transportSecurity)
	}
}

// overTLS tells whether the browser used HTTPS, by what is known here or by what a
// trusted proxy says.
func overTLS(r *http.Request, trusted []netip.Prefix) bool {
	return r.TLS != nil || isProxy(addressOf(r.RemoteAddr), trusted) && strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https")
}

// sameOrigin refuses requests that may change something and that a browser sends for a
// page of another origin: it would add the credentials that it remembers. Requests
// that no browser sends have neither Sec-Fetch-Site nor Origin and pass. Behind a proxy
// that ends TLS, hosts are compared without the scheme.
func (a *api) sameOrigin(next http.Handler) http.Handler {
	protection := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		checked := *r
		checked.Host = cmp.Or(r.Host, "none.invalid") // the origin null has no host either
		if err := protection.Check(&checked); err != nil {
			a.log.InfoContext(r.Context(), "refused the request of a page of another origin", "origin", r.Header.Get("Origin"), "host", r.Host, "err", err)
			writeDetail(w, http.StatusForbidden, "a page of another origin made a browser send this request: "+
				"use the API from its own pages, or without a browser; a proxy must pass on the header Host")
			return
		}
		next.ServeHTTP(w, r)
	})
}
