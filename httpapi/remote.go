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
	from := addressOf(r.RemoteAddr)
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		before := addressOf(hop)
		if !isProxy(from, trusted) || !before.IsValid() {
			break
		}
		from = before
	}
	return from
}

// isProxy tells whether what comes from an address is believed of where it came from
// before. That from this machine without a network is.
func isProxy(from netip.Addr, trusted []netip.Prefix) bool {
	if trusted == nil {
		trusted = loopback
	}
	return !from.IsValid() || slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(from) })
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

// network returns the network of an address that one client has alone: all of a
// /64 with IPv6.
func network(addr netip.Addr) netip.Addr {
	if addr.Is6() {
		addr = netip.PrefixFrom(addr, 64).Masked().Addr()
	}
	return addr
}
