package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/internal/db/dbtest"
)

// TestAdminTakesNoHostileValues has commands for administrators given numbers at which types
// end, and text that no database can store. What is wrong is the value, not the database.
func TestAdminTakesNoHostileValues(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]func(testing.TB) string{
		"sqlite":   func(t testing.TB) string { return "sqlite:///" + filepath.Join(t.TempDir(), "duffy.db") },
		"postgres": dbtest.PostgresURL,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := writeConfig(t, "database: {url: %q}", url(t))
			duffy := func(args ...string) (code int, stderr string) {
				var out, errs strings.Builder
				code = run(t.Context(), append([]string{"-c", config}, args...), &out, &errs)
				require.NotContains(t, errs.String(), "SQLSTATE", args)
				return code, errs.String()
			}
			code, stderr := duffy("setup-db", "--test-data")
			require.Zero(t, code, stderr)
			for _, n := range []string{"0", "2147483648", "3000000000", "9223372036854775807", "9223372036854775808", "1e300"} {
				for _, args := range [][]string{
					{"admin", "retry-nodes", n},
					{"admin", "retire-nodes", n},
					{"admin", "update-tenant", "tenant", "--node-quota", n},
					{"admin", "create-tenant", "--node-quota", n, "t" + n, "k"},
				} {
					code, stderr := duffy(args...)
					require.NotZero(t, code, args)
					require.NotEmpty(t, stderr, args)
				}
				for _, flag := range []string{"--session-lifetime", "--session-lifetime-max"} {
					for _, unit := range []string{"", "s", "w"} {
						_, _ = duffy("admin", "update-tenant", "tenant", flag, n+unit)
					}
				}
			}
			for _, text := range []string{"\xff", "a\xc3", "\xed\xa0\x80", strings.Repeat("x", 20_000), "a:b", "\x1b[2J", "a\nb"} {
				for _, args := range [][]string{
					{"admin", "show-tenant", text},
					{"admin", "create-tenant", text, "k"},
					{"admin", "retire-tenant", text},
					{"admin", "update-tenant", text, "--node-quota", "5"},
					{"admin", "keys", "create", text},
					{"admin", "keys", "list", text},
				} {
					code, stderr := duffy(args...)
					require.NotZero(t, code, "%.100q", args)
					require.NotEmpty(t, stderr, "%.100q", args)
				}
			}
			code, stderr = duffy("admin", "list-tenants", "--all")
			require.Zero(t, code, stderr)
		})
	}
}
