package main

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"github.com/duffy-ci/duffy"
	"github.com/duffy-ci/duffy/legacy"
	"github.com/duffy-ci/duffy/tenant"
)

// TestFailedLogins has a broken script and its neighbours, by the command line and
// by the legacy API over the REST API, in one process and over the network.
func TestFailedLogins(t *testing.T) {
	t.Parallel()
	const neighbours, broken = "192.0.2.1:4711", "192.0.2.2:4711"
	for _, over := range []string{"in one process", "over HTTP"} {
		t.Run(over, func(t *testing.T) {
			t.Parallel()
			now := time.Now() // and nothing is forgiven
			d, err := duffy.New(t.Context(), duffy.Config{Database: "sqlite:///" + filepath.Join(t.TempDir(), "duffy.sqlite")},
				duffy.Options{Now: func() time.Time { return now }})
			require.NoError(t, err)
			defer d.Close()
			require.NoError(t, d.Migrate(t.Context()))
			quick := tenant.New(d.DB(), tenant.Config{BcryptCost: bcrypt.MinCost})
			_, _, err = quick.Create(t.Context(), tenant.Tenant{Name: "ci"})
			require.NoError(t, err)
			_, good, err := quick.Create(t.Context(), tenant.Tenant{Name: "good"})
			require.NoError(t, err)
			rest := httptest.NewServer(d.Handler())
			defer rest.Close()

			api := legacy.Config{URL: rest.URL, Users: map[string]string{"old": "ci", good.String(): "good"}}
			if over == "in one process" {
				api.API = d.Handler()
			}
			old, err := legacy.New(api)
			require.NoError(t, err)
			inventory := func(from, key string) (status int, retryAfter string) {
				req := httptest.NewRequest(http.MethodGet, "/Inventory?key="+key, nil)
				req.RemoteAddr = from
				w := httptest.NewRecorder()
				old.ServeHTTP(w, req)
				return w.Code, w.Header().Get("Retry-After")
			}
			for range 20 {
				_, wait := inventory(broken, "old")
				if wait != "" {
					break
				}
			}
			status, wait := inventory(broken, "old")
			require.Equal(t, http.StatusOK, status, "other failures are told that way, too")
			require.NotEmpty(t, wait)
			status, _ = inventory(neighbours, "old")
			require.Equal(t, http.StatusForbidden, status, "it is wrong, but not too many")
			status, wait = inventory(neighbours, good.String())
			require.Equal(t, http.StatusOK, status)
			require.Empty(t, wait)

			client := func(args ...string) (code int, stdout string) {
				var out, errs strings.Builder
				code = run(t.Context(), append([]string{"client", "--url", rest.URL + "/api/v1", "--auth-name", "ci", "--auth-key", "old"}, args...), &out, &errs)
				return code, out.String()
			}
			for range 20 {
				client("list-sessions")
			}
			code, stdout := client("list-sessions")
			require.Zero(t, code)
			require.Contains(t, stdout, `"detail": "too many failed logins, try again in `)
			require.Contains(t, stdout, `"status": 429`)
			code, _ = client("--exit-status", "list-sessions")
			require.Equal(t, 3, code)
			code, stdout = client("--format", "flat", "list-sessions")
			require.Zero(t, code)
			require.Contains(t, stdout, "error='too many failed logins")
		})
	}
}

func TestTrustedProxiesAreConfigured(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"": "192.0.2.1", "app: {trusted-proxies: []}": "127.0.0.1", "app: {trusted-proxies: [127.0.0.1, 192.0.2.1]}": "10.0.0.1"} {
		cfg, err := duffy.LoadConfig(writeConfig(t, "database: {url: 'sqlite://'}\n%s", text))
		require.NoError(t, err)
		var log strings.Builder
		d, err := duffy.New(t.Context(), cfg, duffy.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		require.NoError(t, err)
		defer d.Close()
		req := httptest.NewRequest(http.MethodGet, "/healthz", nil)
		req.RemoteAddr = "127.0.0.1:4711"
		req.Header.Set("X-Forwarded-For", "10.0.0.1, 192.0.2.1")
		d.Handler().ServeHTTP(httptest.NewRecorder(), req)
		require.Contains(t, log.String(), "remote="+want+" ")
	}
}
