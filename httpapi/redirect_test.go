package httpapi_test

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/httpapi"
)

const here = "duffy.example.net"

// redirected has handler answer a request as it comes over the wire, and returns where
// a browser goes then, nil if it stays.
func redirected(t *testing.T, handler http.Handler, method, target string) *url.URL {
	t.Helper()
	req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(method + " " + target + " HTTP/1.1\r\nHost: " + here + "\r\n\r\n")))
	if err != nil {
		return nil
	}
	req.RemoteAddr = "192.0.2.1:1"
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, req)
	location := w.Header().Get("Location")
	if location == "" {
		require.False(t, w.Code >= 300 && w.Code < 400, w.Code)
		return nil
	}
	// Browsers drop tabs and line breaks, and take a backslash for a slash.
	lenient := strings.NewReplacer("\t", "", "\r", "", "\n", "", `\`, "/").Replace(strings.TrimSpace(location))
	base := &url.URL{Scheme: "http", Host: here, Path: "/" + strings.TrimPrefix(req.URL.Path, "/")}
	to, err := base.Parse(lenient)
	require.NoError(t, err, location)
	require.Equal(t, here, to.Host, "%s %q redirects to %q", method, target, location)
	require.Equal(t, "http", to.Scheme, location)
	require.Nil(t, to.User, location)
	return to
}

var redirecting = map[string]http.Handler{
	"API":     httpapi.New(httpapi.Config{}),
	"monitor": httpapi.NewMonitor(httpapi.Config{Scrape: http.NotFoundHandler()}),
}

// TestRedirects keeps the redirects that there are.
func TestRedirects(t *testing.T) {
	t.Parallel()
	for target, want := range map[string]string{
		"/api/v1/pools/":           "/api/v1/pools",
		"/api/v1/pools//":          "/api/v1/pools",
		"/api/v1/pools/a/?b=c%2Fd": "/api/v1/pools/a?b=c%2Fd",
		"/api/v1/pools/a%2Fb/":     "",
		"/healthz/":                "/healthz",
		"/docs":                    "/docs/",
		"/docs?a=//evil.example":   "/docs/?a=//evil.example",
		"http://evil.example/docs": "/docs/",

		"//evil.example/..%2fhealthz/":        "",
		"//evil.example/../healthz/":          "",
		"//evil.example/%2e%2e/healthz/":      "",
		"//evil.example//healthz":             "",
		"//evil.example/..":                   "",
		"/%2fevil.example/..%2fhealthz/":      "",
		"/.//evil.example/../../healthz/":     "",
		`/\evil.example/../healthz/`:          "",
		"/%5cevil.example/..%2fhealthz/":      "",
		"//evil.example/docs":                 "",
		"//evil.example/..%2fdocs":            "",
		"///evil.example/..%2f..%2fhealthz/":  "",
		"http:////evil.example/..%2fhealthz/": "",
		"/":                                   "",
		"*":                                   "",
	} {
		for _, method := range []string{"GET", "HEAD", "POST", "CONNECT", "TRACE", "ODD"} {
			to := redirected(t, redirecting["API"], method, target)
			if method == "GET" && want == "" {
				require.Nil(t, to, target)
			} else if method == "GET" {
				require.NotNil(t, to, target)
				require.Equal(t, want, to.RequestURI(), target)
			}
		}
	}
}

// FuzzRedirect sends all kinds of paths, of which no one must lead to another host.
func FuzzRedirect(f *testing.F) {
	for _, seed := range []string{
		"/docs", "/docs/index.html", "/docs/http:evil.example/", "/healthz/", "/api/v1/pools//", "//evil.example/..%2fhealthz/",
		"//evil.example/%2e%2e/docs", "/%09/evil.example/..%2fhealthz/", `/\/evil.example/..%2fhealthz/`, "http://evil.example/docs",
		"/api/v1/pools/%2f%2fevil.example/", "https:evil.example/healthz/", "/healthz/?//evil.example", "*", "evil.example:443",
		"/.//evil.example/healthz/", "/@evil.example/../healthz/", "/;//evil.example/", "/docs/%2e%2e//evil.example/",
	} {
		for _, method := range []string{"GET", "POST", "CONNECT"} {
			f.Add(method, seed)
		}
	}
	f.Fuzz(func(t *testing.T, method, target string) {
		for _, handler := range redirecting {
			redirected(t, handler, method, target)
		}
	})
}
