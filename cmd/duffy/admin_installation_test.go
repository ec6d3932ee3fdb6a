package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/internal/db"
)

func TestInstallation(t *testing.T) {
	t.Parallel()
	url := "sqlite:///" + filepath.Join(t.TempDir(), "duffy.db")
	file := writeConfig(t, "database: {url: %q}", url)
	duffy := func(args ...string) (code int, stdout, stderr string) {
		var out, errs strings.Builder
		code = run(t.Context(), append([]string{"-c", file}, args...), &out, &errs)
		return code, out.String(), errs.String()
	}
	show := func() string {
		t.Helper()
		code, stdout, stderr := duffy("admin", "show-installation")
		require.Zero(t, code, stderr)
		require.Regexp(t, "^OK: [a-z]{8}\n$", stdout)
		return strings.TrimSpace(strings.TrimPrefix(stdout, "OK: "))
	}
	code, _, stderr := duffy("setup-db")
	require.Zero(t, code, stderr)
	first := show()

	code, stdout, stderr := duffy("admin", "new-installation")
	require.Zero(t, code, stderr)
	second := show()
	require.NotEqual(t, first, second)
	require.Equal(t, "OK: "+second+": before: "+first+"\nMachines that are made from now on are named duffy-"+second+"-ID.\n", stdout)

	d, err := db.Open(t.Context(), url, db.Config{})
	require.NoError(t, err)
	defer d.Close()
	_, err = d.ExecContext(t.Context(), `INSERT INTO tenants (id, name, is_admin, ssh_key, api_key) VALUES (1, 't', false, '', '');
		INSERT INTO sessions (id, tenant_id, data) VALUES (3, 1, '{}');
		INSERT INTO nodes (id, state, pool, hostname, reusable, data, session_id) VALUES (5, 'deployed', 'a', 'five', false, '{}', 3)`)
	require.NoError(t, err)
	code, stdout, stderr = duffy("admin", "new-installation")
	require.Zero(t, code, stderr)
	require.Contains(t, stdout, "The 1 nodes that exist stay, and are known by what provisioning told")

	code, stdout, stderr = duffy("admin", "new-installation", "--forget-nodes")
	require.Zero(t, code, stderr)
	require.NotContains(t, stdout, "that exist")
	active, err := d.NewSelect().TableExpr("nodes, sessions").Where("nodes.retired_at IS NULL OR sessions.retired_at IS NULL").Count(t.Context())
	require.NoError(t, err)
	require.Zero(t, active)

	_, err = d.ExecContext(t.Context(), "DELETE FROM installation")
	require.NoError(t, err)
	code, _, stderr = duffy("admin", "show-installation")
	require.Equal(t, exitFailure, code)
	require.Contains(t, stderr, "duffy admin new-installation")
	code, stdout, stderr = duffy("admin", "new-installation")
	require.Zero(t, code, stderr)
	require.Contains(t, stdout, ": before: none\n")
}
