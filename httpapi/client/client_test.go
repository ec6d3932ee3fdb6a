package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/httpapi/apiv1"
	"github.com/duffy-ci/duffy/httpapi/client"
)

// serve starts a server with one answer to every request.
func serve(t *testing.T, answer http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	return server.URL + "/api/v1"
}

func newClient(t *testing.T, url string, cfg client.Config) *client.Client {
	t.Helper()
	c, err := client.New(url, cfg)
	require.NoError(t, err)
	return c
}

func TestMethods(t *testing.T) {
	t.Parallel()
	const (
		session = `{"action":"put","session":{"id":5}}`
		tenant  = `{"action":"get","tenant":{"id":2}}`
		node    = `{"action":"get","node":{"id":7}}`
	)
	id := func(id int64, err error) (any, error) { return id, err }
	for name, tt := range map[string]struct {
		call                       func(ctx context.Context, c *client.Client) (any, error)
		method, path, body, answer string
		want                       any
	}{
		"ListSessions": {
			call:   func(ctx context.Context, c *client.Client) (any, error) { return c.ListSessions(ctx) },
			method: "GET", path: "/sessions", answer: `{"sessions":[{"id":5}]}`, want: []apiv1.Session{{ID: 5}},
		},
		"GetSession": {
			call: func(ctx context.Context, c *client.Client) (any, error) {
				s, err := c.GetSession(ctx, 5)
				return id(s.ID, err)
			},
			method: "GET", path: "/sessions/5", answer: session, want: int64(5),
		},
		"RequestSession": {
			call: func(ctx context.Context, c *client.Client) (any, error) {
				s, err := c.RequestSession(ctx, apiv1.SessionCreate{NodesSpecs: []apiv1.NodesSpec{{Quantity: 2, Pool: "p"}}})
				return id(s.ID, err)
			},
			method: "POST", path: "/sessions", body: `{"nodes_specs":[{"quantity":2,"pool":"p"}]}`, answer: session, want: int64(5),
		},
		"RetireSession": {
			call: func(ctx context.Context, c *client.Client) (any, error) {
				s, err := c.RetireSession(ctx, 5)
				return id(s.ID, err)
			},
			method: "PUT", path: "/sessions/5", body: `{"active":false}`, answer: session, want: int64(5),
		},
		"ExtendSession": {
			call: func(ctx context.Context, c *client.Client) (any, error) {
				s, err := c.ExtendSession(ctx, 5, 90*time.Minute+1500*time.Millisecond)
				return id(s.ID, err)
			},
			method: "PUT", path: "/sessions/5", body: `{"expires_at":"+5401s500ms"}`, answer: session, want: int64(5),
		},
		"ExtendSession backwards": {
			call: func(ctx context.Context, c *client.Client) (any, error) {
				s, err := c.ExtendSession(ctx, 5, -time.Hour)
				return id(s.ID, err)
			},
			method: "PUT", path: "/sessions/5", body: `{"expires_at":"-3600s0ms"}`, answer: session, want: int64(5),
		},
		"ListPools": {
			call:   func(ctx context.Context, c *client.Client) (any, error) { return c.ListPools(ctx) },
			method: "GET", path: "/pools", answer: `{"pools":[{"name":"p","fill-level":3}]}`,
			want: []apiv1.Pool{{Name: "p", FillLevel: 3}},
		},
		"GetPool": {
			call:   func(ctx context.Context, c *client.Client) (any, error) { return c.GetPool(ctx, "a/b c") },
			method: "GET", path: "/pools/a%2Fb%20c", answer: `{"pool":{"name":"a/b c","fill-level":3,"levels":{"ready":2}}}`,
			want: apiv1.Pool{Name: "a/b c", FillLevel: 3, Levels: &apiv1.Levels{Ready: 2}},
		},
		"ListNodes": {
			call:   func(ctx context.Context, c *client.Client) (any, error) { return c.ListNodes(ctx) },
			method: "GET", path: "/nodes", answer: `{"nodes":[{"id":7}]}`, want: []apiv1.Node{{ID: 7}},
		},
		"GetNode": {
			call: func(ctx context.Context, c *client.Client) (any, error) {
				n, err := c.GetNode(ctx, 7)
				return id(n.ID, err)
			},
			method: "GET", path: "/nodes/7", answer: node, want: int64(7),
		},
		"CreateNode": {
			call: func(ctx context.Context, c *client.Client) (any, error) {
				n, err := c.CreateNode(ctx, apiv1.NodeCreate{Hostname: "h", IPAddr: "192.0.2.1"})
				return id(n.ID, err)
			},
			method: "POST", path: "/nodes", body: `{"hostname":"h","ipaddr":"192.0.2.1"}`, answer: node, want: int64(7),
		},
		"ListTenants": {
			call:   func(ctx context.Context, c *client.Client) (any, error) { return c.ListTenants(ctx) },
			method: "GET", path: "/tenants", answer: `{"tenants":[{"id":2}]}`, want: []apiv1.Tenant{{ID: 2}},
		},
		"GetTenant": {
			call: func(ctx context.Context, c *client.Client) (any, error) {
				tenant, err := c.GetTenant(ctx, 2)
				return id(tenant.ID, err)
			},
			method: "GET", path: "/tenants/2", answer: tenant, want: int64(2),
		},
		"CreateTenant": {
			call: func(ctx context.Context, c *client.Client) (any, error) {
				tenant, err := c.CreateTenant(ctx, apiv1.TenantCreate{Name: "n", SSHKey: "k"})
				return id(tenant.ID, err)
			},
			method: "POST", path: "/tenants", body: `{"name":"n","ssh_key":"k"}`, answer: tenant, want: int64(2),
		},
		"UpdateTenant": {
			call: func(ctx context.Context, c *client.Client) (any, error) {
				tenant, err := c.UpdateTenant(ctx, 2, apiv1.TenantUpdate{NodeQuota: apiv1.Null[apiv1.Integer]()})
				return id(tenant.ID, err)
			},
			method: "PUT", path: "/tenants/2", body: `{"node_quota":null}`, answer: tenant, want: int64(2),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := serve(t, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				name, key, _ := r.BasicAuth()
				got := []string{r.Method, r.URL.EscapedPath(), string(body), name, key, r.UserAgent()}
				want := []string{tt.method, "/api/v1" + tt.path, tt.body, "tenant", "key", "test"}
				if !slices.Equal(got, want) {
					w.WriteHeader(http.StatusTeapot)
					_ = json.NewEncoder(w).Encode(apiv1.Problem{Detail: "unexpected request"})
					return
				}
				_, _ = io.WriteString(w, tt.answer)
			})
			// The path of the API may end with a slash.
			c := newClient(t, url+"/", client.Config{Tenant: "tenant", Key: "key", UserAgent: "test"})
			got, err := tt.call(t.Context(), c)
			require.NoError(t, err)
			require.Equal(t, tt.want, got)
		})
	}
}

func TestDoPassesOnWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	const answer = `{"action": "get", "later": {"b": 21600.0, "a": 1}}`
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if _, _, ok := r.BasicAuth(); ok {
			w.WriteHeader(http.StatusTeapot)
		}
		_, _ = io.WriteString(w, answer)
	})
	got, err := newClient(t, url, client.Config{}).Do(t.Context(), http.MethodGet, "/later", nil)
	require.NoError(t, err)
	require.Equal(t, answer, string(got))
}

func TestFor(t *testing.T) {
	t.Parallel()
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		name, _, _ := r.BasicAuth()
		_ = json.NewEncoder(w).Encode([]string{name, r.Header.Get("X-Forwarded-For")})
	})
	c := newClient(t, url, client.Config{Tenant: "one"})
	for want, c := range map[string]*client.Client{
		`["one",""]`: c, `["one","192.0.2.1"]`: c.For("192.0.2.1"), `["two","192.0.2.1, ::1"]`: c.For("192.0.2.1, ::1").As("two", "2"),
	} {
		got, err := c.Do(t.Context(), http.MethodGet, "/", nil)
		require.NoError(t, err)
		require.JSONEq(t, want, string(got))
	}
}

func TestAs(t *testing.T) {
	t.Parallel()
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		name, key, _ := r.BasicAuth()
		_ = json.NewEncoder(w).Encode([]string{name, key})
	})
	c := newClient(t, url, client.Config{Tenant: "one", Key: "1"})
	for want, c := range map[string]*client.Client{`["two","2"]`: c.As("two", "2"), `["one","1"]`: c} {
		got, err := c.Do(t.Context(), http.MethodGet, "/", nil)
		require.NoError(t, err)
		require.JSONEq(t, want, string(got))
	}
}

func TestNewRefusesWhatIsNoURL(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"", "duffy.example.net", "localhost:8080/api/v1", "ftp://host/", "http://", "http://ho st/", "http://h:port/"} {
		_, err := client.New(url, client.Config{})
		require.ErrorContains(t, err, "URL of the Duffy API", url)
	}
	_, err := client.New("ftp://me:hidden@host", client.Config{})
	require.Error(t, err)
	require.NotContains(t, err.Error(), "hidden")
}

func TestNoAnswer(t *testing.T) {
	t.Parallel()
	hang := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })

	t.Run("timeout", func(t *testing.T) {
		t.Parallel()
		c := newClient(t, hang, client.Config{Timeout: time.Millisecond})
		_, err := c.ListPools(t.Context())
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "no answer within 1ms")
	})
	t.Run("cancelled", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := newClient(t, hang, client.Config{}).ListPools(ctx)
		require.ErrorIs(t, err, context.Canceled)
	})
	t.Run("nobody listens", func(t *testing.T) {
		t.Parallel()
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		address := listener.Addr().String()
		require.NoError(t, listener.Close())
		_, err = newClient(t, "http://me:hidden@"+address, client.Config{Tenant: "t", Key: "secret"}).ListPools(t.Context())
		require.ErrorContains(t, err, "connection refused")
		require.NotContains(t, err.Error(), "hidden")
		require.NotContains(t, err.Error(), "secret")
	})
	t.Run("cut off", func(t *testing.T) {
		t.Parallel()
		url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "{")
		})
		_, err := newClient(t, url, client.Config{}).ListPools(t.Context())
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		require.False(t, errors.As(err, new(*client.Error)))
	})
}

func TestRedirectsKeepTheMethod(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		method    string
		status    int
		want, err string
	}{
		{method: http.MethodGet, status: http.StatusMovedPermanently, want: `"GET"`},
		{method: http.MethodPost, status: http.StatusTemporaryRedirect, want: `"POST1"`},
		{method: http.MethodPut, status: http.StatusPermanentRedirect, want: `"PUT1"`},
		{method: http.MethodPost, status: http.StatusMovedPermanently, err: "301 Moved Permanently: use http://"},
	} {
		mux := http.NewServeMux()
		mux.HandleFunc("/api/v1/old", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "new", tt.status) })
		mux.HandleFunc("/api/v1/new", func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			_ = json.NewEncoder(w).Encode(r.Method + string(body))
		})
		got, err := newClient(t, serve(t, mux.ServeHTTP), client.Config{}).Do(t.Context(), tt.method, "/old", 1)
		if tt.err != "" {
			require.ErrorContains(t, err, tt.err)
			continue
		}
		require.NoError(t, err)
		require.JSONEq(t, tt.want, string(got))
	}
}

func TestRedirectsEnd(t *testing.T) {
	t.Parallel()
	url := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) })
	_, err := newClient(t, url, client.Config{}).ListPools(t.Context())
	require.ErrorContains(t, err, "10 redirects")
}
