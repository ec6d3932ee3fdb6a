package main

import (
	"context"
	"io"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/internal/db/dbtest"
)

// devShell has a shell on the database at url read input, and returns its exit
// status and output.
func devShell(t *testing.T, url, input string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var out, errs strings.Builder
	file := writeConfig(t, "database: {url: %q}", url)
	cmd := programIn(ctx, t, t.TempDir(), append([]string{"-c", file, "dev-shell"}, args...)...)
	cmd.Env = append(cmd.Env, "HOME="+cmd.Dir) // where no settings of the shells are
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &errs
	_ = cmd.Run()
	require.NotNil(t, cmd.ProcessState)
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

func TestDevShellOnPostgres(t *testing.T) {
	t.Parallel()
	need(t, installed("psql"), "psql")
	at, err := url.Parse(dbtest.PostgresURL(t))
	require.NoError(t, err)
	at.Scheme = "postgresql+asyncpg"
	password, there := at.User.Password()
	if !there { // and none is wanted
		password = "s3cret '/@:#%"
		at.User = url.UserPassword(at.User.Username(), password)
	}
	code, stdout, stderr := devShell(t, at.String(), `
\pset format unaligned
\pset tuples_only on
SELECT 'in ' || current_database(), current_setting('timezone');
\! tr '\0' ' ' </proc/$PPID/cmdline; echo
\! echo "$PGPASSWORD"
\set ON_ERROR_STOP on
SELECT 1/0;
SELECT 'what is not reached';
`)
	require.Equal(t, 3, code)
	require.Regexp(t, "\nin "+strings.TrimPrefix(at.Path, "/")+`\|UTC\n\S*psql \n`+regexp.QuoteMeta(password)+"\n$", stdout)
	require.Equal(t, "ERROR:  division by zero\n", stderr)
}

func TestDevShellOnSQLite(t *testing.T) {
	t.Parallel()
	need(t, installed("sqlite3"), "sqlite3")
	dir := t.TempDir()
	at := "sqlite+aiosqlite:///" + dir + "/du%66fy #.db" // a name in which nothing is encoded
	file := writeConfig(t, "database: {url: %q}", at)
	require.Zero(t, run(t.Context(), []string{"-c", file, "setup-db"}, io.Discard, io.Discard))
	code, stdout, stderr := devShell(t, at, "SELECT count(*) FROM tenants;\nPRAGMA foreign_keys;\n.exit 5\n", "-t", "ipython")
	require.Equal(t, 5, code)
	require.Equal(t, "0\n1\n", stdout)
	require.Equal(t, "duffy: --shell-type=ipython is ignored, this is sqlite3\n", stderr)
}

func TestDevShellThatIsMissing(t *testing.T) {
	t.Parallel()
	file := writeConfig(t, "database: {url: 'postgresql://duffy:s3cret@localhost/duffy'}")
	cmd := programIn(t.Context(), t, t.TempDir(), "-c", file, "dev-shell")
	cmd.Env = append(cmd.Env, "PATH=/nonexistent")
	output, err := cmd.CombinedOutput()
	require.Error(t, err)
	require.Equal(t, exitFailure, cmd.ProcessState.ExitCode())
	require.Contains(t, string(output), "duffy: psql has to be installed, ")
	require.NotContains(t, string(output), "s3cret")
}
