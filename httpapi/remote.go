package httpapi

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// loopback are the proxies that are trusted unless others are named.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// remote returns the address that a request comes from: the last one on its way
// that is no proxy to be trusted. What stands before it in X-Forwarded-For may be
// made up. The zero address is that of this machine without a network, by a Unix
// socket or within the process.
func remote(r *http.Request, trusted []netip.Prefix) netip.Addr {
	if trusted == nil {
		trusted = loopback
	}
	from := addressOf(r.RemoteAddr)
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		proxy := slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(from) })
		before := addressOf(hop)
		if from.IsValid() && !proxy || !before.IsValid() {
			break
		}
		from = before
	}
	return from
}

// addressOf reads an address with or without a port. It is the zero address if
// text is none.
func addressOf(text string) netip.Addr {
	text = strings.TrimSpace(text)
	if with, err := netip.ParseAddrPort(text); err == nil {
		return with.Addr().Unmap().WithZone("")
	}
	addr, err := netip.ParseAddr(strings.Trim(text, "[]"))
	if err != nil {
		return netip.Addr{}
	}
	return addr.Unmap().WithZone("")
}
