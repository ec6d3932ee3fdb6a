package httpapi_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"net"
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
	"github.com/duffy-ci/duffy/pool"
	"github.com/duffy-ci/duffy/tenant"
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
	alice, bob := s.path(t, s.alice), s.path(t, s.bob)
	reader := s.readOnly(t, s.alice)
	first := make(chan answer, 1)
	go func() {
		first <- s.do(t, s.alice, "POST", "/api/v1/sessions", `{"nodes_specs": [{"pool": "a", "quantity": 1}]}`)
	}()
	<-g.entered
	var refused answer
	waiting := make(chan answer, 100)
	for refused.status == 0 {
		go func() { waiting <- s.do(t, s.alice, "GET", alice, "") }()
		select {
		case refused = <-waiting:
		case <-time.After(10 * time.Millisecond): // it waits
		}
	}
	require.Equal(t, http.StatusTooManyRequests, refused.status, refused.text)
	require.Equal(t, "5", refused.header.Get("Retry-After"))
	require.Equal(t, "too many requests at once, try again in 5 s", refused.detail())
	require.Equal(t, 200, s.do(t, s.bob, "GET", bob, "").status)
	require.Equal(t, 200, s.do(t, nobody, "GET", "/api/v1/nodes", "").status)
	require.Equal(t, 200, s.do(t, s.alice, "GET", "/api/v1/sessions", "").status, "lists have turns of their own")
	require.Equal(t, 200, s.do(t, reader, "GET", alice, "").status, "and so have keys that only read")
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

// readOnly returns another login of a tenant, with a key that only reads.
func (s *stage) readOnly(t *testing.T, of login) login {
	t.Helper()
	owner, err := s.tenants.Authenticate(t.Context(), of.name, of.key)
	require.NoError(t, err)
	_, key, err := s.tenants.CreateKey(t.Context(), owner.ID, tenant.NewKey{Name: "reader", Scope: tenant.ReadOnly})
	require.NoError(t, err)
	return login{of.name, key.String()}
}

// TestSlowReadersHoldNoTurns has clients of an address receive lists and not read them:
// others at the same address log in, and ask for what is no list.
func TestSlowReadersHoldNoTurns(t *testing.T) {
	t.Parallel()
	s := newStageWith(t, dbtest.SQLite(t), gate{}, func(cfg *httpapi.Config) { cfg.Concurrency = 2 })
	for i := range 2000 {
		_, err := s.db.NewInsert().Model(&pool.Node{
			State: pool.Ready, Pool: "a", Hostname: fmt.Sprint("n", i), IPAddr: fmt.Sprint("n", i), Data: pool.Data{"x": strings.Repeat("x", 4000)},
		}).Exec(t.Context())
		require.NoError(t, err)
	}
	for range 2 {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		require.NoError(t, err)
		t.Cleanup(func() { conn.Close() })
		fmt.Fprintf(conn, "GET /api/v1/nodes HTTP/1.1\r\nHost: x\r\nAuthorization: Basic %s\r\n\r\n",
			base64.StdEncoding.EncodeToString([]byte(s.admin.name+":"+s.admin.key)))
		_, err = conn.Read(make([]byte, 1)) // the list has begun
		require.NoError(t, err)
	}
	require.Equal(t, 200, s.do(t, s.bob, "GET", s.path(t, s.bob), "").status)
	require.Equal(t, 200, s.do(t, nobody, "GET", "/api/v1/pools", "").status)
	require.Equal(t, 200, s.do(t, s.admin, "GET", s.path(t, s.admin), "").status)
}

// TestCallersAreConfirmed has a caller begin a request, and lose what it was allowed
// before it sends the rest.
func TestCallersAreConfirmed(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(*testing.T, *stage)
		status int
	}{
		"nothing changes": {func(*testing.T, *stage) {}, 201},
		"the key is reset": {func(t *testing.T, s *stage) {
			require.Equal(t, 200, s.do(t, s.other(t), "PUT", s.path(t, s.admin), `{"api_key": "reset"}`).status)
		}, 401},
		"no administrator any more": {func(t *testing.T, s *stage) {
			no := false
			own, err := s.tenants.GetByName(t.Context(), s.admin.name)
			require.NoError(t, err)
			_, _, err = s.tenants.Update(t.Context(), own.ID, tenant.Update{IsAdmin: &no})
			require.NoError(t, err)
		}, 403},
		"retired": {func(t *testing.T, s *stage) {
			require.Equal(t, 200, s.do(t, s.other(t), "PUT", s.path(t, s.admin), `{"active": false}`).status)
		}, 403},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
			require.NoError(t, err)
			defer conn.Close()
			body := `{"name": "backdoor", "ssh_key": "k"}`
			fmt.Fprintf(conn, "POST /api/v1/tenants HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\nAuthorization: Basic %s\r\n\r\n%s",
				len(body), base64.StdEncoding.EncodeToString([]byte(s.admin.name+":"+s.admin.key)), body[:5])
			require.Eventually(t, func() bool { return s.loggedIn(t, s.admin) }, time.Minute, 10*time.Millisecond)
			time.Sleep(200 * time.Millisecond) // by when a login counts as one of a while ago
			tt.change(t, s)
			fmt.Fprint(conn, body[5:])
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			require.NoError(t, err)
			defer res.Body.Close()
			require.Equal(t, tt.status, res.StatusCode)
		})
	}
}

// path returns that of the caller's own tenant.
func (s *stage) path(t *testing.T, of login) string {
	t.Helper()
	own, err := s.tenants.GetByName(t.Context(), of.name)
	require.NoError(t, err)
	return fmt.Sprint("/api/v1/tenants/", own.ID)
}

// other returns another administrator.
func (s *stage) other(t *testing.T) login {
	t.Helper()
	a := s.do(t, s.admin, "POST", "/api/v1/tenants", `{"name": "other", "ssh_key": "k", "is_admin": true}`)
	require.Equal(t, 201, a.status, a.text)
	return login{"other", a.body["tenant"].(map[string]any)["api_key"].(string)}
}

// loggedIn tells whether a key of the caller has been used.
func (s *stage) loggedIn(t *testing.T, of login) bool {
	t.Helper()
	owner, err := s.tenants.GetByName(t.Context(), of.name)
	require.NoError(t, err)
	keys, err := s.tenants.Keys(t.Context(), owner.ID)
	require.NoError(t, err)
	return keys[0].LastUsedAt != nil
}
