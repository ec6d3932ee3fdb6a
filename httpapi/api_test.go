package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/uptrace/bun"
	"golang.org/x/crypto/bcrypt"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/httpapi"
	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/pool"
	"github.com/duffy-ci/duffy/queue/queuetest"
	"github.com/duffy-ci/duffy/session"
	"github.com/duffy-ci/duffy/tenant"
)

// A stage is a server with a few ready nodes, an administrator and two tenants.
type stage struct {
	url               string
	tenants           *tenant.Service
	log               *syncBuffer
	admin, alice, bob login
	db                *bun.DB
	handler           http.Handler
}

type login struct{ name, key string }

// A syncBuffer is a log that is read while it is written.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func newStage(t *testing.T, change ...func(*httpapi.Config)) *stage {
	t.Helper()
	return newStageOn(t, dbtest.SQLite(t), change...)
}

func newStageOn(t testing.TB, d *db.DB, change ...func(*httpapi.Config)) *stage {
	t.Helper()
	return newStageWith(t, d, noAccess{}, change...)
}

func newStageWith(t testing.TB, d *db.DB, access backend.Contextualizer, change ...func(*httpapi.Config)) *stage {
	t.Helper()
	level := 3
	set, err := pool.NewSet(
		pool.Config{Name: "a", Backend: "none", FillLevel: &level},
		pool.Config{Name: "base", Abstract: true, FillLevel: &level},
		pool.Config{Name: "idle", Backend: "none"},
	)
	require.NoError(t, err)
	jobs := &queuetest.Recorder{}
	now := time.Now() // for good, so that failed logins stay counted
	tenants := tenant.New(d.DB, tenant.Config{BcryptCost: bcrypt.MinCost, Now: func() time.Time { return now }})
	pools := pool.New(d.DB, jobs, pool.ServiceConfig{Pools: set})
	sessions := session.New(d.DB, jobs, tenants, pools, session.Config{Contextualizer: access})
	for _, ip := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"} {
		_, err := d.NewInsert().Model(&pool.Node{State: pool.Ready, Pool: "a", Hostname: ip, IPAddr: ip}).Exec(t.Context())
		require.NoError(t, err)
	}
	s := &stage{tenants: tenants, log: &syncBuffer{}, db: d.DB}
	handler := slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug})
	cfg := httpapi.Config{Tenants: tenants, Pools: pools, Sessions: sessions, Logger: slog.New(httpapi.LogHandler(handler))}
	for _, c := range change {
		c(&cfg)
	}
	s.handler = httpapi.New(cfg)
	server := httptest.NewServer(s.handler)
	t.Cleanup(server.Close)
	s.url = server.URL
	for who, l := range map[string]*login{"admin": &s.admin, "alice": &s.alice, "bob": &s.bob} {
		_, key, err := tenants.Create(t.Context(), tenant.Tenant{Name: who, SSHKey: "key of " + who, IsAdmin: who == "admin"})
		require.NoError(t, err)
		*l = login{who, key.String()}
	}
	return s
}

// An answer is what came back, decoded.
type answer struct {
	status int
	header http.Header
	body   map[string]any
	text   string
}

func (a answer) detail() string {
	detail, _ := a.body["detail"].(string)
	return detail
}

// do sends a request with a body of JSON, or none.
func (s *stage) do(t *testing.T, as login, method, path, body string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.url+path, strings.NewReader(body))
	require.NoError(t, err)
	if as.name != "" {
		req.SetBasicAuth(as.name, as.key)
	}
	return s.send(t, req)
}

func (s *stage) send(t *testing.T, req *http.Request) answer {
	t.Helper()
	res, err := http.DefaultTransport.RoundTrip(req)
	require.NoError(t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	a := answer{status: res.StatusCode, header: res.Header, text: string(text)}
	if strings.Contains(res.Header.Get("Content-Type"), "json") {
		require.NoError(t, json.Unmarshal(text, &a.body), "%s", text)
	}
	return a
}

var nobody login

// TestDescriptionIsTrue compares an error with what the API says of errors.
func TestDescriptionIsTrue(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	doc := s.do(t, nobody, "GET", "/openapi.json", "").body
	at := func(path ...string) any {
		var v any = doc
		for _, key := range path {
			v = v.(map[string]any)[key]
		}
		return v
	}
	require.Equal(t, map[string]any{"$ref": "#/components/schemas/Problem"},
		at("paths", "/api/v1/sessions", "post", "responses", "422", "content", "application/json", "schema"))
	known := at("components", "schemas", "Problem", "properties").(map[string]any)
	a := s.do(t, s.alice, "POST", "/api/v1/sessions", `{"nodes_specs": [{"pool": "a", "quantity": "many"}]}`)
	for key := range a.body {
		require.Contains(t, known, key)
	}
	require.NotEmpty(t, a.body["errors"])
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	for header, detail := range map[string]string{
		"":                       "Not authenticated",
		"Basic":                  "Not authenticated",
		"Basic ":                 "Not authenticated",
		"Bearer abc":             "Not authenticated",
		"Basic !!!":              "Invalid authentication credentials",
		"Basic YWxpY2U=":         "Invalid authentication credentials", // no colon
		"Basic Og==":             "Unauthorized",
		"basic YWxpY2U6d3Jvbmc=": "Unauthorized",
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/api/v1/tenants", nil)
		require.NoError(t, err)
		req.Header.Set("Authorization", header)
		a := s.send(t, req)
		require.Equal(t, http.StatusUnauthorized, a.status, header)
		require.Equal(t, detail, a.detail(), header)
	}
	require.NotContains(t, s.log.String(), s.alice.key)
}

func TestWrongInput(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	for _, tt := range []struct {
		method, path, body string
		status             int
		detail             string // part of it
	}{
		{"POST", "/api/v1/sessions", `{not json`, 422, "body: "},
		{"POST", "/api/v1/sessions", ``, 422, "body"},
		{"POST", "/api/v1/sessions", `[]`, 422, "body: expected object"},
		{"POST", "/api/v1/sessions", `{}`, 422, "nodes_specs"},
		{"POST", "/api/v1/sessions", `{"nodes_specs": [{"pool": "a", "quantity": "many"}]}`, 422, "body.nodes_specs[0].quantity"},
		{"POST", "/api/v1/sessions", `{"nodes_specs": [{"pool": "a", "quantity": 0}]}`, 422, "nodes_specs[0].quantity"},
		{"POST", "/api/v1/sessions", `{"nodes_specs": [{"pool": "a", "quantity": -1}]}`, 422, "nodes_specs[0].quantity"},
		{"POST", "/api/v1/sessions", `{"nodes_specs": [{"quantity": 1}]}`, 422, "pool"},
		{"POST", "/api/v1/sessions", `{"nodes_specs": null}`, 422, "nodes_specs"},
		{"POST", "/api/v1/sessions", `{"nodes_specs": [], "data": "` + strings.Repeat("x", 2<<20) + `"}`, 413, ""},
		{"PUT", "/api/v1/sessions/1", `{"expires_at": "soon"}`, 422, "expires_at"},
		{"PUT", "/api/v1/sessions/1", `{"active": "perhaps"}`, 422, "active"},
		{"GET", "/api/v1/sessions/abc", ``, 422, "path.id"},
		{"GET", "/api/v1/sessions/99999999999999999999", ``, 422, "path.id"},
		{"GET", "/api/v1/sessions/99999999999", ``, 404, "Not Found"},
		{"GET", "/api/v1/nosuch", ``, 404, "Not Found"},
		{"GET", "/", ``, 404, "Not Found"},
		{"DELETE", "/api/v1/sessions/1", ``, 405, "Method Not Allowed"},
		{"GET", "/api/v1/pools/idle", ``, 422, "Unprocessable Entity"},
		{"GET", "/api/v1/pools/nosuch", ``, 404, "Not Found"},
		{"POST", "/api/v1/nodes", `{"hostname": "x", "ipaddr": "192.0.2.9"}`, 403, "Forbidden"},
		{"POST", "/api/v1/tenants", `{"name": "x", "ssh_key": "k"}`, 403, "Forbidden"},
	} {
		a := s.do(t, s.alice, tt.method, tt.path, tt.body)
		name := tt.method + " " + tt.path + " " + tt.body[:min(80, len(tt.body))]
		require.Equal(t, tt.status, a.status, "%s: %s", name, a.text)
		require.Equal(t, "application/json", a.header.Get("Content-Type"), name)
		require.Contains(t, a.detail(), tt.detail, name)
		require.NotEmpty(t, a.header.Get("X-Request-Id"), name)
	}
	for _, tt := range []struct{ method, path, body, detail string }{
		{"POST", "/api/v1/tenants", `{"name": "x", "ssh_key": "k", "node_quota": 0}`, "node_quota"},
		{"POST", "/api/v1/tenants", `{"name": "", "ssh_key": "k"}`, "name"},
		{"POST", "/api/v1/tenants", `{"name": "x", "ssh_key": "k", "session_lifetime": "-2h"}`, "session_lifetime"},
		{"PUT", "/api/v1/tenants/1", `{}`, "is required"},
		{"PUT", "/api/v1/tenants/1", `{"api_key": "secret"}`, "api_key"},
		{"POST", "/api/v1/nodes", `{"hostname": "x", "ipaddr": "nowhere"}`, "ipaddr"},
	} {
		a := s.do(t, s.admin, tt.method, tt.path, tt.body)
		require.Equal(t, 422, a.status, "%s: %s", tt.body, a.text)
		require.Contains(t, a.detail(), tt.detail, tt.body)
		require.NotContains(t, a.text, "secret", "what was sent may be a secret")
	}
}

func TestDocsNeedNoInternet(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	page := s.do(t, nobody, "GET", "/docs/", "")
	require.Equal(t, 200, page.status)
	require.NotRegexp(t, `(src|href)="(https?:)?//`, page.text)
	assets := regexp.MustCompile(`(?:src|href)="([^"/]+)"`).FindAllStringSubmatch(page.text, -1)
	require.Len(t, assets, 6)
	for _, asset := range assets {
		require.Equal(t, 200, s.do(t, nobody, "GET", "/docs/"+asset[1], "").status, asset[1])
	}
	require.Equal(t, 307, s.do(t, nobody, "GET", "/docs", "").status)
}

func TestHealth(t *testing.T) {
	t.Parallel()
	var broken error
	s := newStage(t, func(cfg *httpapi.Config) { cfg.Ready = func(context.Context) error { return broken } })
	require.Equal(t, 200, s.do(t, nobody, "GET", "/healthz", "").status)
	require.Equal(t, 200, s.do(t, nobody, "GET", "/readyz", "").status)
	broken = errors.New("postgresql://user:secret@host does not answer")
	require.Equal(t, 200, s.do(t, nobody, "GET", "/healthz", "").status, "restarting the process does not help")
	a := s.do(t, nobody, "GET", "/readyz", "")
	require.Equal(t, 503, a.status)
	require.NotContains(t, a.text, "secret")
}

func TestRequestsAreLogged(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	a := s.do(t, s.alice, "GET", "/api/v1/tenants", "")
	require.Eventually(t, func() bool { return strings.Contains(s.log.String(), a.header.Get("X-Request-Id")) }, time.Second, time.Millisecond)
	require.Contains(t, s.log.String(), "tenant=alice")
	require.NotContains(t, s.log.String(), s.alice.key)
}

// TestBrokenInside has the server answer without saying what broke.
func TestBrokenInside(t *testing.T) {
	t.Parallel()
	s := newStage(t, func(cfg *httpapi.Config) { cfg.Sessions = nil })
	a := s.do(t, nobody, "GET", "/api/v1/sessions", "")
	require.Equal(t, 500, a.status)
	require.Equal(t, "Internal Server Error", a.detail())
	require.Equal(t, 200, s.do(t, nobody, "GET", "/api/v1/pools", "").status)
}

// noAccess contextualizes without doing anything.
type noAccess struct{}

func (noAccess) Contextualize(context.Context, backend.Node, string) error { return nil }

func (noAccess) Decontextualize(context.Context, backend.Node) error { return nil }
