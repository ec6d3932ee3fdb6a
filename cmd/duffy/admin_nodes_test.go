package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/internal/db"
)

func TestFailedNodes(t *testing.T) {
	t.Parallel()
	url := "sqlite:///" + filepath.Join(t.TempDir(), "duffy.db")
	duffy := func(args ...string) (code int, stdout, stderr string) {
		var out, errs strings.Builder
		code = run(t.Context(), append([]string{"-c", writeConfig(t, "database: {url: %q}", url)}, args...), &out, &errs)
		return code, out.String(), errs.String()
	}
	code, _, stderr := duffy("setup-db")
	require.Zero(t, code, stderr)
	d, err := db.Open(t.Context(), url, db.Config{})
	require.NoError(t, err)
	defer d.Close()
	_, err = d.ExecContext(t.Context(), `INSERT INTO nodes (id, state, pool, hostname, reusable, data, state_since) VALUES
		(5, 'failed', 'a', 'five', false, '{"error": {"detail": "no capacity"}, "provision": {"instance": 5}}', '2026-01-02 03:04:05'),
		(6, 'failed', 'a', 'six', false, '{}', '2026-01-02 03:04:05'),
		(7, 'ready', 'a', 'seven', false, '{}', '2026-01-02 03:04:05')`)
	require.NoError(t, err)

	code, stdout, _ := duffy("admin", "list-failed-nodes")
	require.Zero(t, code)
	require.Equal(t, "OK: 5: pool=a hostname=five ipaddr= since=2026-01-02T03:04:05Z: no capacity\n"+
		"OK: 6: pool=a hostname=six ipaddr= since=2026-01-02T03:04:05Z: \n", stdout)

	code, _, stderr = duffy("admin", "retire-nodes", "5", "7")
	require.Equal(t, exitFailure, code)
	require.Equal(t, "ERROR: couldn't retire nodes [5 7]\nERROR DETAIL: node 7 is ready, not failed\n", stderr)
	code, _, stderr = duffy("admin", "retry-nodes", "5", "6")
	require.Equal(t, exitFailure, code)
	require.Contains(t, stderr, "ERROR DETAIL: node 6: nothing is known of its machine")
	code, stdout, stderr = duffy("admin", "retry-nodes", "5")
	require.Zero(t, code, stderr)
	require.Equal(t, "OK: nodes [5]: state=deprovisioning\n", stdout)
	code, stdout, stderr = duffy("admin", "retire-nodes", "6")
	require.Zero(t, code, stderr)
	require.Equal(t, "OK: nodes [6]: state=done\n", stdout)
	_, stdout, _ = duffy("admin", "list-failed-nodes")
	require.Empty(t, stdout)
}
