package main

import (
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy"
	"github.com/duffy-ci/duffy/httpapi/apiv1"
)

// TestKeysByCommand has what commands do take effect at once on a server that
// runs, as which the REST API is asked by the client.
func TestKeysByCommand(t *testing.T) {
	t.Parallel()
	config := writeConfig(t, "database: {url: %q}", "sqlite:///"+filepath.Join(t.TempDir(), "duffy.db"))
	duffyRuns := func(args ...string) (code int, stdout, stderr string) {
		var out, errs strings.Builder
		code = run(t.Context(), append([]string{"-c", config}, args...), &out, &errs)
		return code, out.String(), errs.String()
	}
	ok := func(args ...string) (stdout string) {
		t.Helper()
		code, stdout, stderr := duffyRuns(args...)
		require.Zero(t, code, stderr)
		require.Empty(t, stderr)
		return stdout
	}
	fails := func(stderr string, args ...string) {
		t.Helper()
		code, stdout, got := duffyRuns(args...)
		require.Equal(t, exitFailure, code)
		require.Empty(t, stdout)
		require.Equal(t, stderr, got)
	}
	ok("setup-db")
	cfg, err := duffy.LoadConfig(config)
	require.NoError(t, err)
	d, err := duffy.New(t.Context(), cfg, duffy.Options{})
	require.NoError(t, err)
	defer d.Close()
	server := httptest.NewServer(d.Handler())
	defer server.Close()
	keyOf := func(stdout string) string { return keys.FindString(stdout) }
	as := func(key string, args ...string) string {
		return ok(append([]string{"client", "--url", server.URL + "/api/v1", "--auth-name", "ci", "--auth-key", key, "--format", "flat"}, args...)...)
	}
	lists := func(key string) bool {
		answer := as(key, "list-sessions")
		if answer != "" {
			require.Equal(t, "error='Unauthorized'\n", answer)
		}
		return answer == ""
	}

	old := keyOf(ok("admin", "create-tenant", "ci", "k"))
	require.True(t, lists(old))
	created := ok("admin", "keys", "create", "ci")
	second := keyOf(created)
	require.Regexp(t, `^OK: ci: api_key=`+second+` name=second scope=full created_at=\S+ \S+ expires_at=None last_used_at=None retired_at=None\n$`, created)
	require.True(t, lists(second))
	created = ok("admin", "keys", "create", "ci", "--name", "dashboard", "--read-only", "--expires", "90d")
	reader := keyOf(created)
	require.Contains(t, created, " name=dashboard scope=read-only ")
	expires, err := apiv1.ParseTime(regexp.MustCompile(`expires_at=(\S+ \S+) `).FindStringSubmatch(created)[1])
	require.NoError(t, err)
	require.WithinDuration(t, time.Now().Add(90*24*time.Hour), expires.Time, time.Hour)
	require.True(t, lists(reader))
	require.Equal(t, "error='Forbidden: the API key is read-only'\n", as(reader, "retire-session", "1"))
	require.Contains(t, ok("admin", "keys", "create", "ci", "--name", "until", "--expires", "2099-01-02T03:04:05+01:00"),
		"expires_at=2099-01-02 02:04:05+00:00 ")

	fails("ERROR: ci\nERROR DETAIL: tenant 'ci' has a key 'second' already: retire it or choose another name\n", "admin", "keys", "create", "ci")
	fails("ERROR: nobody\nERROR DETAIL: Not Found\n", "admin", "keys", "create", "nobody")
	fails("ERROR: nobody\nERROR DETAIL: Not Found\n", "admin", "keys", "list", "nobody")
	fails("ERROR: ci\nERROR DETAIL: there is no key 'third' to retire\n", "admin", "keys", "retire", "ci", "--name", "third")
	fails("ERROR: ci\nERROR DETAIL: name: the primary key can't be retired, only reset\n", "admin", "keys", "retire", "ci", "--name", "primary")
	fails("ERROR: ci\nERROR DETAIL: expires_at: expected a time in the future\n", "admin", "keys", "create", "ci", "--name", "x", "--expires", "2001-01-01")
	code, _, stderr := duffyRuns("admin", "keys", "create", "ci", "--expires", "soon")
	require.Equal(t, exitUsage, code)
	require.Contains(t, stderr, `"soon" is neither a time such as 2026-11-22T15:43:13Z nor a duration such as 90d`)

	require.Contains(t, ok("admin", "keys", "retire", "ci", "--name", "dashboard"), "OK: ci: name=dashboard scope=read-only ")
	require.False(t, lists(reader))
	ok("admin", "update-tenant", "--api-key", second, "ci")
	require.False(t, lists(old))
	require.True(t, lists(second))
	ok("admin", "keys", "retire", "--name", "second", "ci")
	require.True(t, lists(second), "it is the primary key now")

	names := regexp.MustCompile(`(?m)^OK: ci: name=(\S+)`)
	require.Equal(t, 2, len(names.FindAllString(ok("admin", "keys", "list", "ci"), -1)))
	require.Equal(t, 4, len(names.FindAllString(ok("admin", "keys", "list", "--all", "ci"), -1)))
	for _, key := range []string{old, second, reader} {
		require.NotContains(t, ok("admin", "keys", "list", "--all", "ci"), key)
	}
	require.Eventually(t, func() bool {
		return regexp.MustCompile(`name=primary .* last_used_at=2`).MatchString(ok("admin", "keys", "list", "ci"))
	}, patience, glance)

	require.Regexp(t, `^OK: ci: ssh_key=\*+ api_key=\*+ node_quota=None .* is_admin=True\n$`, ok("admin", "update-tenant", "--is-admin", "ci"))
	caller, err := d.Tenants.Authenticate(t.Context(), "ci", second)
	require.NoError(t, err)
	require.True(t, caller.IsAdmin)
	require.Regexp(t, ` is_admin=False\n$`, ok("admin", "update-tenant", "--no-is-admin", "ci"))
	caller, err = d.Tenants.Authenticate(t.Context(), "ci", second)
	require.NoError(t, err)
	require.False(t, caller.IsAdmin)
	require.NotContains(t, ok("admin", "update-tenant", "--node-quota", "3", "ci"), "is_admin")
}
