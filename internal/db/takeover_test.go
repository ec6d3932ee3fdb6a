package db_test

import (
	"os"
	osexec "os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
)

// wayBack says how a database gets from Duffy 3's last revision to an older one.
var wayBack = map[string][]string{
	duffy3Head:     {},
	"36cf064c0481": {"back_to_36cf064c0481.sql"},
	"ce2e575cb800": {"back_to_36cf064c0481.sql", "back_to_ce2e575cb800.sql"},
	"base":         {"back_to_36cf064c0481.sql", "back_to_ce2e575cb800.sql", "back_to_base.sql"},
}

// duffy3At returns a database of a busy Duffy 3 at a revision.
func duffy3At(t *testing.T, revision string) *db.DB {
	t.Helper()
	d := open(t, dbtest.PostgresURL(t))
	run(t, d, "duffy3.sql", "../../../testdata/duffy3/busy.sql")
	run(t, d, wayBack[revision]...)
	return d
}

// rows returns all that is in the tables and columns that Duffy 3 has had at all
// its revisions.
func rows(t *testing.T, d *db.DB) (rows []string) {
	t.Helper()
	require.NoError(t, d.NewRaw(`
		SELECT row_to_json(t)::text FROM (SELECT id, created_at, retired_at, name, is_admin, ssh_key, api_key, node_quota
			FROM tenants) AS t
		UNION ALL SELECT row_to_json(s)::text FROM sessions AS s
		UNION ALL SELECT row_to_json(sn)::text FROM sessions_nodes AS sn
		UNION ALL SELECT row_to_json(n)::text FROM (SELECT id, created_at, retired_at, hostname, ipaddr, state, comment,
			pool, reusable, data FROM nodes) AS n
		ORDER BY 1`).Scan(t.Context(), &rows))
	require.NotEmpty(t, rows)
	return rows
}

// held returns the sessions that nodes name.
func held(t *testing.T, d *db.DB) map[int64]int64 {
	t.Helper()
	var nodes []struct{ ID, SessionID int64 }
	require.NoError(t, d.NewSelect().Table("nodes").Column("id", "session_id").
		Where("session_id IS NOT NULL").Scan(t.Context(), &nodes))
	held := map[int64]int64{}
	for _, n := range nodes {
		held[n.ID] = n.SessionID
	}
	return held
}

// heldByBusy is what held returns after busy.sql was taken over.
var heldByBusy = map[int64]int64{3: 1, 4: 1, 5: 9, 6: 10, 7: 2, 8: 3, 11: 4, 12: 4}

func TestTakeOver(t *testing.T) {
	t.Parallel()
	fresh := catalog(t, dbtest.Postgres(t))
	for revision := range wayBack {
		t.Run(revision, func(t *testing.T) {
			t.Parallel()
			d := duffy3At(t, revision)
			before := rows(t, d)
			version, err := db.Version(t.Context(), d)
			require.NoError(t, err)
			require.Equal(t, db.Revision{Duffy3: revision}, version)
			require.ErrorContains(t, db.Current(t.Context(), d), "run duffy migration upgrade")

			from, to, err := db.Migrate(t.Context(), d)
			require.NoError(t, err)
			require.Equal(t, version, from)
			require.Equal(t, head, to)
			require.Equal(t, fresh, catalog(t, d), "the schema is that of a new database")
			require.Equal(t, before, rows(t, d), "everything is kept")
			require.Equal(t, heldByBusy, held(t, d))
		})
	}

	t.Run("never stamped", func(t *testing.T) {
		t.Parallel()
		d := open(t, dbtest.PostgresURL(t))
		run(t, d, "duffy3.sql")
		exec(t, d, "DROP TABLE alembic_version")
		_, to, err := db.Migrate(t.Context(), d)
		require.NoError(t, err)
		require.Equal(t, head, to)
		require.Equal(t, fresh, catalog(t, d))
	})
}

// migrating names a database that the test binary is to migrate.
const migrating = "DUFFY_TEST_MIGRATING"

// TestTakeOverIsKilled kills the program that takes a database over, again and
// again.
func TestTakeOverIsKilled(t *testing.T) {
	if url := os.Getenv(migrating); url != "" {
		_, _, err := db.Migrate(t.Context(), open(t, url))
		require.NoError(t, err)
		return
	}
	t.Parallel()
	url := dbtest.PostgresURL(t)
	d := open(t, url)
	run(t, d, "duffy3.sql", "../../../testdata/duffy3/busy.sql")
	run(t, d, wayBack["base"]...)
	exec(t, d, `INSERT INTO nodes (hostname, ipaddr, state, retired_at)
		SELECT 'old-' || i, '192.0.2.' || i, 'done', '2026-01-01' FROM generate_series(1, 20000) AS i`)
	before := rows(t, d)
	for {
		reached, err := db.Version(t.Context(), d)
		require.NoError(t, err)
		if reached.Head {
			break
		}
		cmd := osexec.Command(os.Args[0], "-test.run=^TestTakeOverIsKilled$")
		cmd.Env = append(os.Environ(), migrating+"="+url)
		require.NoError(t, cmd.Start())
		require.Eventually(t, func() bool {
			now, err := db.Version(t.Context(), d)
			assert.NoError(t, err, "whoever asks meanwhile gets an answer")
			return now != reached
		}, time.Minute, time.Millisecond)
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait()
	}
	require.Equal(t, catalog(t, dbtest.Postgres(t)), catalog(t, d))
	require.Equal(t, before, rows(t, d))
	require.Equal(t, heldByBusy, held(t, d))
}

// TestTakeOverOfDatabaseInUse fails, instead of having everybody wait.
func TestTakeOverOfDatabaseInUse(t *testing.T) {
	t.Parallel()
	d := duffy3At(t, duffy3Head)
	before := catalog(t, d)
	tx, err := d.Begin()
	require.NoError(t, err)
	_, err = tx.ExecContext(t.Context(), "SET LOCAL idle_in_transaction_session_timeout = 0; SELECT FROM nodes")
	require.NoError(t, err)
	_, _, err = db.Migrate(t.Context(), d)
	require.ErrorContains(t, err, "another program is working on the tables: stop it")
	require.NoError(t, tx.Rollback())
	require.Equal(t, before, catalog(t, d))
	_, _, err = db.Migrate(t.Context(), d)
	require.NoError(t, err)
}

// TestDuffy3OnOurSchema runs Duffy 3's statements on a database of its own and on
// one of ours: they do the same.
func TestDuffy3OnOurSchema(t *testing.T) {
	t.Parallel()
	theirs, ours := open(t, dbtest.PostgresURL(t)), dbtest.Postgres(t)
	run(t, theirs, "duffy3.sql")
	text, err := os.ReadFile("testdata/statements.sql")
	require.NoError(t, err)
	for _, statement := range strings.SplitAfter(string(text), ";\n") {
		require.Equal(t, results(t, theirs, statement), results(t, ours, statement), statement)
	}
	_, _, err = db.Downgrade(t.Context(), ours, duffy3Head)
	require.NoError(t, err)
	require.Equal(t, catalog(t, theirs), catalog(t, ours), "nothing of ours is left")
}

// results returns what a statement returns, but for what the time is.
func results(t *testing.T, d *db.DB, statement string) (results [][]any) {
	t.Helper()
	rows, err := d.DB.DB.QueryContext(t.Context(), statement)
	require.NoError(t, err, statement)
	defer rows.Close()
	columns, err := rows.Columns()
	require.NoError(t, err)
	for rows.Next() {
		row := make([]any, len(columns))
		into := make([]any, len(columns))
		for i := range row {
			into[i] = &row[i]
		}
		require.NoError(t, rows.Scan(into...))
		for i := range row {
			if columns[i] == "created_at" {
				row[i] = nil
			}
		}
		results = append(results, row)
	}
	require.NoError(t, rows.Err())
	return results
}

// TestUpgradeAfterDuffy3 has Duffy 3 hand a node out between a downgrade and the
// next upgrade.
func TestUpgradeAfterDuffy3(t *testing.T) {
	t.Parallel()
	d := duffy3At(t, duffy3Head)
	for range 2 {
		_, _, err := db.Migrate(t.Context(), d)
		require.NoError(t, err)
		require.Equal(t, heldByBusy, held(t, d))
		_, to, err := db.Downgrade(t.Context(), d, duffy3Head)
		require.NoError(t, err)
		require.Equal(t, db.Revision{Duffy3: duffy3Head}, to)
	}
	exec(t, d, `UPDATE sessions SET retired_at = now() WHERE id = 1;
		UPDATE nodes SET state = 'deprovisioning', pool = NULL WHERE id IN (3, 4);
		INSERT INTO sessions (id, tenant_id) VALUES (11, 2);
		INSERT INTO sessions_nodes (session_id, node_id, pool) VALUES (11, 1, 'thrown');
		UPDATE nodes SET state = 'deployed' WHERE id = 1`)
	_, _, err := db.Migrate(t.Context(), d)
	require.NoError(t, err)
	require.Equal(t, map[int64]int64{1: 11, 5: 9, 6: 10, 7: 2, 8: 3, 11: 4, 12: 4}, held(t, d))
}

// Duffy 3 has migrations of its own: they may be taken back while ours remain.
func TestMigrateAfterDuffy3Downgrade(t *testing.T) {
	t.Parallel()
	d := dbtest.Postgres(t)
	run(t, d, wayBack["36cf064c0481"]...)
	require.ErrorContains(t, db.Current(t.Context(), d), "run duffy migration upgrade")
	_, to, err := db.Migrate(t.Context(), d)
	require.NoError(t, err)
	require.Equal(t, head, to)
}
