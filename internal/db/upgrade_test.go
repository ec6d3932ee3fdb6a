package db_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
)

// A migration that has to wait keeps nobody else waiting with it.
func TestMigrationStepsAside(t *testing.T) {
	t.Parallel()
	d := open(t, dbtest.PostgresURL(t))
	run(t, d, "duffy3.sql")
	long, err := d.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	_, err = long.ExecContext(t.Context(), "SET LOCAL idle_in_transaction_session_timeout = 0; SELECT FROM nodes") // as a backup does
	require.NoError(t, err)
	migrated := make(chan error, 1)
	go func() {
		_, _, err := db.Migrate(context.WithoutCancel(t.Context()), d)
		migrated <- err
	}()

	waiting := "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'nodes'::regclass"
	for range 3 { // times that the migration tries
		require.Eventually(t, func() bool { return count(t, d, waiting) > 0 }, time.Minute, 5*time.Millisecond)
		_, err := d.ExecContext(t.Context(), "UPDATE nodes SET comment = 'busy'")
		require.NoError(t, err)
		require.Eventually(t, func() bool { return count(t, d, waiting) == 0 }, time.Minute, 5*time.Millisecond)
		require.ErrorContains(t, db.Ready(t.Context(), d), "run duffy migration upgrade")
	}
	require.Empty(t, migrated)
	require.NoError(t, long.Rollback())
	require.NoError(t, <-migrated)
	require.NoError(t, db.Ready(t.Context(), d))
}

func count(t *testing.T, d *db.DB, query string) (n int) {
	t.Helper()
	require.NoError(t, d.QueryRowContext(t.Context(), query).Scan(&n))
	return n
}

// A program that runs already goes on while and after a newer one changes the schema.
func TestReady(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		require.NoError(t, db.Ready(t.Context(), d))
		exec(t, d, "INSERT INTO duffy_migrations (name) VALUES ('29991231000000_future')")
		require.Error(t, db.Current(t.Context(), d))
		require.NoError(t, db.Ready(t.Context(), d))
		exec(t, d, "DELETE FROM duffy_migrations")
		require.Error(t, db.Ready(t.Context(), d))
	})
	const migrationLock int64 = 0x64756666_79646200
	d := dbtest.Postgres(t)
	tx, err := d.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	_, err = tx.ExecContext(t.Context(), "SELECT pg_advisory_xact_lock(?)", migrationLock)
	require.NoError(t, err)
	require.NoError(t, db.Ready(t.Context(), d))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, db.Current(ctx, d), context.DeadlineExceeded, "it waits for what is being done")
	require.NoError(t, tx.Rollback())
}
