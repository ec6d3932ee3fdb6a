package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/httpapi/apiv1"
	"github.com/duffy-ci/duffy/httpapi/client"
	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/pool"
)

// A balancer sends requests to servers in turn: to those that said that they are
// ready when they were last asked, and to another one if one takes no connection.
// Nothing else is tried again. It is what haproxy and nginx do, and asks more often.
type balancer struct {
	servers   []*backendServer
	turn      atomic.Uint64
	transport *http.Transport
}

type backendServer struct {
	host  string
	ready atomic.Bool
}

func newBalancer(t testing.TB, members ...*member) *balancer {
	t.Helper()
	b := &balancer{transport: &http.Transport{MaxIdleConnsPerHost: 32}}
	t.Cleanup(b.transport.CloseIdleConnections)
	for _, m := range members {
		m.untilReady(t)
		s := &backendServer{host: strings.TrimPrefix(m.url, "http://")}
		s.ready.Store(true)
		b.servers = append(b.servers, s)
		during(t, func(context.Context) {
			s.ready.Store(m.status("/readyz") == http.StatusOK)
			time.Sleep(100 * time.Millisecond)
		})
	}
	return b
}

// untilAllReady waits until requests are sent to all servers.
func (b *balancer) untilAllReady(t testing.TB) {
	t.Helper()
	for _, s := range b.servers {
		require.Eventually(t, s.ready.Load, patience, 20*time.Millisecond, s.host)
	}
}

var errNoServer = errors.New("no server is ready")

// RoundTrip implements [http.RoundTripper].
func (b *balancer) RoundTrip(req *http.Request) (*http.Response, error) {
	first := b.turn.Add(1)
	for i := range b.servers {
		s := b.servers[(first+uint64(i))%uint64(len(b.servers))]
		if !s.ready.Load() {
			continue
		}
		res, err := sendTo(b.transport, s.host, req)
		if refused := (*net.OpError)(nil); errors.As(err, &refused) && refused.Op == "dial" {
			s.ready.Store(false)
			continue
		}
		return res, err
	}
	return nil, errNoServer
}

// RoundTrip implements [http.RoundTripper], for clients of this server alone.
func (m *member) RoundTrip(req *http.Request) (*http.Response, error) {
	return sendTo(http.DefaultTransport, strings.TrimPrefix(m.url, "http://"), req)
}

func sendTo(transport http.RoundTripper, host string, req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.URL.Host = host
	if req.GetBody != nil {
		req.Body, _ = req.GetBody()
	}
	return transport.RoundTrip(req)
}

// A load is what tenants do all the time: they request sessions, look at them, and
// give them back.
type load struct {
	mu       sync.Mutex
	done     int
	failures []error
	sessions map[int64]bool // all that were handed out, and whether they were given back
	stop     func()
}

// startLoad starts tenants that work until stop is called.
func startLoad(t testing.TB, clients ...*client.Client) *load {
	l := &load{sessions: map[int64]bool{}}
	var stops []func()
	for _, c := range clients {
		stops = append(stops, during(t, func(ctx context.Context) {
			err := l.handOut(context.WithoutCancel(ctx), c)
			l.mu.Lock()
			defer l.mu.Unlock()
			l.done++
			if err != nil {
				l.failures = append(l.failures, err)
			}
		}))
	}
	l.stop = func() {
		for _, stop := range stops {
			stop()
		}
	}
	return l
}

// handOut is the life of a session.
func (l *load) handOut(ctx context.Context, c *client.Client) error {
	s, err := c.RequestSession(ctx, apiv1.SessionCreate{NodesSpecs: []apiv1.NodesSpec{spec("a", 1)}})
	if err != nil {
		return fmt.Errorf("request: %w", err)
	}
	l.note(s.ID, false)
	if s, err = c.GetSession(ctx, s.ID); err != nil {
		return fmt.Errorf("read: %w", err)
	} else if len(s.Nodes) != 1 || *s.Nodes[0].State != string(pool.Deployed) {
		return fmt.Errorf("session %d has nodes %v", s.ID, s.Nodes)
	}
	if _, err := c.RetireSession(ctx, s.ID); err != nil {
		return fmt.Errorf("retire: %w", err)
	}
	l.note(s.ID, true)
	return nil
}

func (l *load) note(session int64, over bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sessions[session] = over
}

// more waits until so many sessions have been handed out in addition.
func (l *load) more(t testing.TB, n int) {
	t.Helper()
	done := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.done
	}
	until := done() + n
	require.Eventually(t, func() bool { return done() >= until }, patience, 20*time.Millisecond)
}

// requireFlawless ends the load, in which nothing must have failed, and waits until
// all that was handed out is gone.
func (l *load) requireFlawless(t testing.TB, d *db.DB) {
	t.Helper()
	l.stop()
	require.Empty(t, l.failures, "of %d", l.done)
	t.Logf("%d sessions", l.done)
	var sessions []int64
	require.NoError(t, d.NewSelect().Table("sessions").Column("id").Where("retired_at IS NOT NULL").Scan(t.Context(), &sessions))
	require.Len(t, sessions, len(l.sessions))
	for _, id := range sessions {
		require.True(t, l.sessions[id], id)
	}
	require.Eventually(t, func() bool {
		n, err := d.NewSelect().Model((*pool.Node)(nil)).Where("state NOT IN (?, ?)", pool.Ready, pool.Done).Count(t.Context())
		return err == nil && n == 0
	}, patience, glance)
}
