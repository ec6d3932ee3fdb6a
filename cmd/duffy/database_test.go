package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/queue/riverqueue"
)

// TestMigrationCommands takes a database of Duffy 3 over and gives it back, in the
// words of Duffy 3.
func TestMigrationCommands(t *testing.T) {
	t.Parallel()
	dir, url := t.TempDir(), dbtest.PostgresURL(t)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "duffy.yaml"), []byte("database: {url: '"+url+"'}\n"), 0o600))
	migration := func(code int, stdout, stderr string, args ...string) {
		t.Helper()
		gotCode, out, errs := runProgram(t, dir, append([]string{"-c", "duffy.yaml", "migration"}, args...)...)
		require.Equal(t, code, gotCode, errs)
		require.Equal(t, stdout, out)
		require.Contains(t, errs, stderr)
	}
	migration(0, "\n", "", "db-version")
	migration(1, "", "run duffy setup-db", "upgrade")

	d, err := db.Open(t.Context(), url, db.Config{})
	require.NoError(t, err)
	defer d.Close()
	duffy3, err := os.ReadFile("../../internal/db/testdata/duffy3.sql")
	require.NoError(t, err)
	_, err = d.DB.DB.ExecContext(t.Context(), string(duffy3))
	require.NoError(t, err)

	migration(0, "6654d536b836\n", "", "db-version")
	migration(0, "Upgraded to: 6654d536b836 (head)\n", "", "upgrade")
	migration(0, "6654d536b836 (head)\n", "", "db-version")
	migration(0, "Nothing to upgrade.\n", "", "upgrade", "head")
	migration(0, "Downgraded to: 6654d536b836\n", "", "downgrade", "6654d536b836")
	migration(0, "Nothing to downgrade.\n", "", "downgrade", "6654d536b836")
	migration(1, "", "the revisions of Duffy 3 itself can't be taken back", "downgrade")
	migration(0, "Upgraded to: 6654d536b836 (head)\n", "", "upgrade")

	q, err := riverqueue.NewPostgres(d.DB, d.Pool, riverqueue.Config{})
	require.NoError(t, err)
	require.NoError(t, q.Drop(t.Context()))
	migration(0, "6654d536b836\n", "", "db-version")
	migration(0, "Upgraded to: 6654d536b836 (head)\n", "", "upgrade")
	migration(0, "Nothing to upgrade.\n", "", "upgrade")
}
