package main

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy"
	"github.com/duffy-ci/duffy/internal/config"
	"github.com/duffy-ci/duffy/legacy"
)

// TestFailedLogins has a broken script and its neighbours, by the command line and
// by the legacy API over the REST API, in one process and over the network.
func TestFailedLogins(t *testing.T) {
	t.Parallel()
	const neighbours, broken = "192.0.2.1:4711", "192.0.2.2:4711"
	for _, over := range []string{"in one process", "over HTTP"} {
		t.Run(over, func(t *testing.T) {
			t.Parallel()
			file := writeConfig(t, "database: {url: 'sqlite:///%s/duffy.sqlite'}\nmetaclient: {usermap: {old: ci, %s: tenant}}",
				t.TempDir(), testKey("tenant"))
			var out, errs strings.Builder
			require.Zero(t, run(t.Context(), []string{"-c", file, "setup-db", "--test-data"}, &out, &errs), errs.String())
			cfg, err := duffy.LoadConfig(file)
			require.NoError(t, err)
			d, err := duffy.New(t.Context(), cfg, duffy.Options{})
			require.NoError(t, err)
			defer d.Close()
			rest := httptest.NewServer(d.Handler())
			defer rest.Close()

			files, err := config.Load(file)
			require.NoError(t, err)
			api := legacy.Config{URL: rest.URL}
			if over == "in one process" {
				api = legacy.Config{API: d.Handler()}
			}
			old, err := newLegacy(files, api)
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
			status, wait = inventory(neighbours, testKey("tenant"))
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
