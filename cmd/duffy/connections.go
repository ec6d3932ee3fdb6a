package main

import (
	"cmp"
	"container/list"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/duffy-ci/duffy/internal/config"
)

// The defaults of how many connections a server has, and how many of them from one
// address. An idle one takes some 20 KB.
const (
	defaultConnections           = 4096
	defaultConnectionsPerAddress = 1024
)

// connections limits those of a server. An address, or a /64 of IPv6, has no more
// than its share. If there are too many of an address or in all, the one goes that has
// been without a request for the longest time: most likely it is one of those that are
// only held open. Proxies, behind which are many clients, have as many again as all others
// together.
type connections struct {
	most, perAddress int
	proxies          []netip.Prefix
	log              *slog.Logger

	mu      sync.Mutex
	byProxy int
	others  int
	by      map[netip.Addr]int
	idle    list.List // of *connection that is no proxy's, the longest idle first
	told    time.Time // when refusals were last logged
}

// The addresses that programs on this machine have, and those that are trusted
// unless proxies are named.
var (
	here    = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("::1/128")}
	machine = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
)

// newConnections returns the connections of a server behind proxies, nil for this
// machine. Programs on this machine, such as the legacy API, count as proxies.
func newConnections(limits config.Limits, proxies []netip.Prefix, log *slog.Logger) *connections {
	if proxies == nil {
		proxies = machine
	}
	return &connections{
		most:       cmp.Or(limits.Connections, defaultConnections),
		perAddress: cmp.Or(limits.ConnectionsPerAddress, defaultConnectionsPerAddress),
		proxies:    slices.Concat(here, proxies), log: log, by: map[netip.Addr]int{},
	}
}

// limit returns a listener of those connections of l that there may be.
func (c *connections) limit(l net.Listener) net.Listener { return limitedListener{l, c} }

type limitedListener struct {
	net.Listener
	connections *connections
}

// Accept implements [net.Listener].
func (l limitedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		admitted, evicted := l.connections.admit(conn)
		if evicted != nil {
			_ = evicted.Close()
		}
		if admitted != nil {
			return admitted, nil
		}
		_ = conn.Close()
	}
}

// A connection is one that counts, until it is closed.
type connection struct {
	net.Conn
	from    netip.Addr
	proxy   bool
	limits  *connections
	serving int           // requests
	place   *list.Element // in the list of idle ones
	gone    bool
}

// admit counts conn, unless there are too many from where it comes.
func (c *connections) admit(conn net.Conn) (admitted, evicted *connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := &connection{Conn: conn, from: addressOf(conn), limits: c}
	n.proxy = !n.from.IsValid() || slices.ContainsFunc(c.proxies, func(p netip.Prefix) bool { return p.Contains(n.from) })
	if n.proxy {
		if c.byProxy >= c.most {
			c.tell(n)
			return nil, nil
		}
		c.byProxy++
		return n, nil
	}
	n.from = network(n.from)
	crowded := c.by[n.from] >= c.perAddress
	if crowded || c.others >= c.most {
		c.tell(n)
		evicted = c.longestIdle(n.from, crowded)
		if evicted == nil {
			return nil, nil
		}
		c.forget(evicted)
	}
	c.others++
	c.by[n.from]++
	n.place = c.idle.PushBack(n)
	return n, evicted
}

// longestIdle returns the connection that has been idle for longest, of an address or of
// all, or nil.
func (c *connections) longestIdle(from netip.Addr, own bool) *connection {
	for e := c.idle.Front(); e != nil; e = e.Next() {
		if idle := e.Value.(*connection); !own || idle.from == from {
			return idle
		}
	}
	return nil
}

// tell logs at most once a minute that there are too many connections.
func (c *connections) tell(n *connection) {
	if time.Since(c.told) > time.Minute {
		c.told = time.Now()
		c.log.Warn("too many connections: some are closed", "from", n.from, "proxies", c.byProxy, "others", c.others)
	}
}

// forget no longer counts n.
func (c *connections) forget(n *connection) {
	if n.gone {
		return
	}
	n.gone = true
	if n.proxy {
		c.byProxy--
		return
	}
	c.others--
	if c.by[n.from]--; c.by[n.from] == 0 {
		delete(c.by, n.from)
	}
	c.idle.Remove(n.place)
}

// Close implements [net.Conn].
func (n *connection) Close() error {
	n.limits.mu.Lock()
	n.limits.forget(n)
	n.limits.mu.Unlock()
	return n.Conn.Close()
}

// serves notes that a request has begun, or that one has ended. What serves
// requests is no longer among the idle ones.
func (n *connection) serves(requests int) {
	n.limits.mu.Lock()
	defer n.limits.mu.Unlock()
	n.serving += requests
	switch {
	case n.gone || n.proxy:
	case n.serving == 0:
		n.place = n.limits.idle.PushBack(n)
	case n.serving == requests:
		n.limits.idle.Remove(n.place)
	}
}

type connectionKey struct{}

// track is for [http.Server.ConnContext].
func track(ctx context.Context, conn net.Conn) context.Context {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	return context.WithValue(ctx, connectionKey{}, conn)
}

// busy returns a handler that has connections know when they serve requests.
func busy(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n, ok := r.Context().Value(connectionKey{}).(*connection); ok {
			n.serves(1)
			defer n.serves(-1)
		}
		next.ServeHTTP(w, r)
	})
}

func addressOf(conn net.Conn) netip.Addr {
	at, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return netip.Addr{} // a Unix socket
	}
	return at.Addr().Unmap().WithZone("")
}

// network returns what one client has alone: an address, or a /64 of IPv6.
func network(addr netip.Addr) netip.Addr {
	if addr.Is6() {
		addr = netip.PrefixFrom(addr, 64).Masked().Addr()
	}
	return addr
}
