package ssh

import (
	"context"
	"net"
	"sync/atomic"
)

// ReadLimit is for tests.
const ReadLimit = readLimit

// A Traffic is what went on between a Contextualizer and nodes.
type Traffic struct{ Read, Opened, Closed atomic.Int64 }

// Watch has c count what goes on.
func (c *Contextualizer) Watch(t *Traffic) {
	dial := c.dial
	c.dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err == nil {
			t.Opened.Add(1)
			conn = &watchedConn{Conn: conn, traffic: t}
		}
		return conn, err
	}
}

type watchedConn struct {
	net.Conn
	traffic *Traffic
	closed  atomic.Bool
}

func (c *watchedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.traffic.Read.Add(int64(n))
	return n, err
}

func (c *watchedConn) Close() error {
	if c.closed.CompareAndSwap(false, true) {
		c.traffic.Closed.Add(1)
	}
	return c.Conn.Close()
}
