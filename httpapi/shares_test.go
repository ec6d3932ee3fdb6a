package httpapi_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/uptrace/bun"
	"golang.org/x/sync/errgroup"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/httpapi"
	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
)

// atOnce has a tenant send n requests for sessions without nodes at once, and
// returns what yields the answers.
func (s *stage) atOnce(t *testing.T, as login, n int) (wait func() []answer) {
	t.Helper()
	answers := make([]answer, n)
	var all errgroup.Group
	for i := range answers {
		all.Go(func() error {
			answers[i] = s.do(t, as, "POST", "/api/v1/sessions", `{"nodes_specs": []}`)
			return nil
		})
	}
	return func() []answer {
		_ = all.Wait()
		return answers
	}
}

func statuses(answers []answer) map[int]int {
	count := map[int]int{}
	for _, a := range answers {
		count[a.status]++
	}
	return count
}

// TestBlockedTenantBlocksNobodyElse has a tenant's requests wait for a lock on its
// row, more of them than there are connections to the database.
func TestBlockedTenantBlocksNobodyElse(t *testing.T) {
	t.Parallel()
	d := dbtest.Postgres(t)
	s := newStageOn(t, d)
	for _, who := range []login{s.alice, s.bob} {
		require.Equal(t, 200, s.do(t, who, "GET", "/api/v1/tenants", "").status)
	}
	var wait func() []answer
	err := d.RunInTx(t.Context(), nil, func(ctx context.Context, tx bun.Tx) error {
		var id int64
		require.NoError(t, tx.NewRaw("SELECT id FROM tenants WHERE name = 'alice' FOR UPDATE").Scan(ctx, &id))
		wait = s.atOnce(t, s.alice, 60)
		require.Eventually(t, func() bool {
			var waiting int
			err := d.NewRaw("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()").
				Scan(ctx, &waiting)
			return err == nil && waiting >= 2
		}, 10*time.Second, 10*time.Millisecond)
		within, cancel := context.WithTimeout(t.Context(), 8*time.Second)
		defer cancel()
		for _, path := range []string{"/api/v1/sessions", "/api/v1/nodes", "/api/v1/pools/a", "/readyz"} {
			require.Equal(t, 200, s.within(t, within, nobody, "GET", path, "").status, path)
		}
		created := s.within(t, within, s.bob, "POST", "/api/v1/sessions", `{"nodes_specs": [{"pool": "a", "quantity": 1}]}`)
		require.Equal(t, 201, created.status, created.text)
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, map[int]int{201: 60}, statuses(wait()), "those that waited go on in turn")
}

// within is do until ctx ends.
func (s *stage) within(t *testing.T, ctx context.Context, as login, method, path, body string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, s.url+path, strings.NewReader(body))
	require.NoError(t, err)
	if as.name != "" {
		req.SetBasicAuth(as.name, as.key)
	}
	return s.send(t, req)
}

// TestBurstsWait has a tenant's jobs all begin at once.
func TestBurstsWait(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newStageOn(t, d)
		require.Equal(t, map[int]int{201: 100}, statuses(s.atOnce(t, s.alice, 100)()))
	})
}

// gate lets nobody into nodes until it is opened.
type gate struct {
	noAccess
	entered, open chan struct{}
}

func (g gate) Contextualize(ctx context.Context, _ backend.Node, _ string) error {
	g.entered <- struct{}{}
	select {
	case <-g.open:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestRequestsTakeTurns has a tenant's requests take long, and others of it wait,
// and so many that they are refused. Nobody else notices.
func TestRequestsTakeTurns(t *testing.T) {
	t.Parallel()
	g := gate{entered: make(chan struct{}, 10), open: make(chan struct{})}
	s := newStageWith(t, dbtest.SQLite(t), g, func(cfg *httpapi.Config) { cfg.Concurrency = 1 })
	first := make(chan answer, 1)
	go func() {
		first <- s.do(t, s.alice, "POST", "/api/v1/sessions", `{"nodes_specs": [{"pool": "a", "quantity": 1}]}`)
	}()
	<-g.entered
	var refused answer
	waiting := make(chan answer, 100)
	for refused.status == 0 {
		go func() { waiting <- s.do(t, s.alice, "GET", "/api/v1/tenants", "") }()
		select {
		case refused = <-waiting:
		case <-time.After(10 * time.Millisecond): // it waits
		}
	}
	require.Equal(t, http.StatusTooManyRequests, refused.status, refused.text)
	require.Equal(t, "5", refused.header.Get("Retry-After"))
	require.Equal(t, "too many requests at once, try again in 5 s", refused.detail())
	require.Equal(t, 200, s.do(t, s.bob, "GET", "/api/v1/tenants", "").status)
	require.Equal(t, 200, s.do(t, nobody, "GET", "/api/v1/nodes", "").status)
	close(g.open)
	require.Equal(t, 201, (<-first).status)
	for range 4 {
		require.Equal(t, 200, (<-waiting).status)
	}
}

// TestOneConnectionIsEnough has no operation use a second connection to the
// database while it holds one: requests that all did so would wait for each other.
func TestOneConnectionIsEnough(t *testing.T) {
	t.Parallel()
	d := dbtest.Postgres(t)
	s := newStageOn(t, d, func(cfg *httpapi.Config) { cfg.Connections = 1 })
	me := s.do(t, s.alice, "GET", "/api/v1/tenants", "").body["tenants"].([]any)[0].(map[string]any)["id"]
	alice := fmt.Sprintf("/tenants/%.0f", me)
	for _, tt := range []struct {
		as                 login
		method, path, body string
		status             int
	}{
		{s.alice, "POST", "/sessions", `{"nodes_specs": [{"pool": "a", "quantity": 2}]}`, 201},
		{s.alice, "POST", "/sessions", `{"nodes_specs": [{"pool": "a", "quantity": 2}]}`, 422},
		{s.admin, "POST", "/sessions", `{"nodes_specs": [], "tenant_id": ` + fmt.Sprintf("%.0f", me) + `}`, 201},
		{s.alice, "PUT", "/sessions/1", `{"expires_at": "+1h"}`, 200},
		{s.alice, "PUT", "/sessions/1", `{"active": false}`, 200},
		{s.admin, "POST", "/nodes", `{"hostname": "x", "ipaddr": "192.0.2.9"}`, 201},
		{s.admin, "GET", "/nodes/1", "", 200},
		{s.admin, "POST", "/tenants", `{"name": "x", "ssh_key": "k"}`, 201},
		{s.admin, "PUT", alice, `{"node_quota": 5}`, 200},
		{s.admin, "PUT", alice, `{"active": false}`, 200},
		{s.admin, "PUT", alice, `{"active": true}`, 200},
		{s.admin, "GET", "/tenants", "", 200},
		{s.admin, "GET", "/sessions", "", 200},
		{s.bob, "GET", "/sessions/1", "", 403},
		{nobody, "GET", "/sessions", "", 200},
		{nobody, "GET", "/nodes", "", 200},
		{nobody, "GET", "/pools/a", "", 200},
		{login{"alice", "wrong"}, "GET", "/tenants", "", 401},
	} {
		a := s.do(t, tt.as, tt.method, "/api/v1"+tt.path, tt.body)
		require.Equal(t, tt.status, a.status, fmt.Sprint(tt.method, tt.path, a.text))
	}
}
