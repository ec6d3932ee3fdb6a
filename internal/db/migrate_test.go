package db_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
)

const (
	duffy3Head = "6654d536b836"
	ourHead    = "20261125000051_installation"
)

// ours are all migrations of ours, in order.
var ours = []string{
	"20261123000001_leases", "20261123000002_lists", "20261123000003_api_keys", "20261125000001_forced",
	"20261125000031_write_probes", ourHead,
}

var head = db.Revision{Duffy3: duffy3Head, Duffy: ourHead, Head: true}

// eachEmpty runs f on an empty database of each kind.
func eachEmpty(t *testing.T, f func(t *testing.T, d *db.DB)) {
	t.Run("postgres", func(t *testing.T) { f(t, open(t, dbtest.PostgresURL(t))) })
	t.Run("sqlite", func(t *testing.T) { f(t, open(t, "sqlite:///"+filepath.Join(t.TempDir(), "duffy.db"))) })
}

// run runs files of testdata.
func run(t *testing.T, d *db.DB, files ...string) {
	t.Helper()
	for _, file := range files {
		sql, err := os.ReadFile(filepath.Join("testdata", file))
		require.NoError(t, err)
		exec(t, d, string(sql))
	}
}

func exec(t *testing.T, d *db.DB, sql string) {
	t.Helper()
	_, err := d.DB.DB.ExecContext(t.Context(), sql) // past bun, which takes "?" for a placeholder
	require.NoError(t, err)
}

// catalog describes all tables of a PostgreSQL database.
func catalog(t *testing.T, d *db.DB) []string {
	t.Helper()
	var lines []string
	require.NoError(t, d.NewRaw(`
		SELECT format('%s.%s %s null=%s default=%s', table_name, column_name, udt_name, is_nullable, column_default)
		FROM information_schema.columns WHERE table_schema = current_schema()
		UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = current_schema()
		UNION ALL SELECT format('%s %s', conname, pg_get_constraintdef(oid)) FROM pg_constraint
			WHERE connamespace = current_schema()::regnamespace
		UNION ALL SELECT format('%s %s', relname, reloptions) FROM pg_class
			WHERE relnamespace = current_schema()::regnamespace AND reloptions IS NOT NULL
		UNION ALL SELECT format('%s %s', typname, enumlabel) FROM pg_enum JOIN pg_type ON pg_type.oid = enumtypid
		ORDER BY 1`).Scan(t.Context(), &lines))
	require.NotEmpty(t, lines)
	return lines
}

func TestMigrateEmptyDatabase(t *testing.T) {
	t.Parallel()
	eachEmpty(t, func(t *testing.T, d *db.DB) {
		require.ErrorContains(t, db.Current(t.Context(), d), "run duffy setup-db")
		from, to, err := db.Migrate(t.Context(), d)
		require.NoError(t, err)
		require.True(t, from.Empty())
		require.Equal(t, head, to)
		require.NoError(t, db.Current(t.Context(), d))
		version, err := db.Version(t.Context(), d)
		require.NoError(t, err)
		require.Equal(t, head, version)
		require.Equal(t, duffy3Head+", "+ourHead+" (head)", version.String())

		from, to, err = db.Migrate(t.Context(), d)
		require.NoError(t, err)
		require.Equal(t, from, to, "a second time nothing changes")
	})
}

func TestMigrateAtOnce(t *testing.T) {
	t.Parallel()
	eachEmpty(t, func(t *testing.T, d *db.DB) {
		var all sync.WaitGroup
		errs := make([]error, 4)
		for i := range errs {
			all.Go(func() { _, _, errs[i] = db.Migrate(t.Context(), d) })
		}
		all.Wait()
		for _, err := range errs {
			require.NoError(t, err)
		}
		require.NoError(t, db.Current(t.Context(), d))
	})
}

// Any step may be the last one before a crash.
func TestMigrateInSteps(t *testing.T) {
	t.Parallel()
	d := open(t, dbtest.PostgresURL(t))
	for _, target := range append([]string{"base", "ce2e575cb800", "36cf064c0481", duffy3Head}, ours...) {
		require.Error(t, db.Current(t.Context(), d))
		_, to, err := db.Upgrade(t.Context(), d, target)
		require.NoError(t, err)
		require.Contains(t, []string{to.Duffy3, to.Duffy}, target)
		from, to, err := db.Upgrade(t.Context(), d, "base")
		require.NoError(t, err)
		require.Equal(t, from, to, "a target that was passed changes nothing")
	}
	require.NoError(t, db.Current(t.Context(), d))
	_, _, err := db.Upgrade(t.Context(), d, "nonsense")
	require.ErrorContains(t, err, `no revision "nonsense"`)
}

func TestMigrateStopsWithItsContext(t *testing.T) {
	t.Parallel()
	eachEmpty(t, func(t *testing.T, d *db.DB) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, _, err := db.Migrate(ctx, d)
		require.ErrorIs(t, err, context.Canceled)
		_, _, err = db.Migrate(t.Context(), d)
		require.NoError(t, err)
	})
}

// requireHeld checks that the nodes of rows.sql name the session that holds them.
func requireHeld(t *testing.T, d *db.DB) {
	t.Helper()
	var held []string
	require.NoError(t, d.NewSelect().ColumnExpr("hostname").TableExpr("nodes").Where("session_id = 2").OrderExpr("id").
		Scan(t.Context(), &held))
	require.Equal(t, []string{"deployed", "contextualizing"}, held)
	n, err := d.NewSelect().TableExpr("nodes").Where("session_id IS NULL AND attempts = 0").Count(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 3, n)
}

func TestDowngrade(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		run(t, d, "rows.sql")
		var before []string
		if d.Postgres() {
			before = catalog(t, d)
		}
		for _, target := range []string{fmt.Sprint(-len(ours)), duffy3Head} {
			from, to, err := db.Downgrade(t.Context(), d, target)
			require.NoError(t, err)
			require.Equal(t, head, from)
			require.Equal(t, db.Revision{Duffy3: duffy3Head}, to)

			_, _, err = db.Migrate(t.Context(), d)
			require.NoError(t, err)
			requireHeld(t, d)
		}
		if d.Postgres() {
			require.Equal(t, before, catalog(t, d))
		}
		from, to, err := db.Downgrade(t.Context(), d, ourHead)
		require.NoError(t, err)
		require.Equal(t, from, to)
		for i, target := range []string{"", "-1"} { // one each
			_, to, err := db.Downgrade(t.Context(), d, target)
			require.NoError(t, err)
			left := len(ours) - 1 - i
			require.Equal(t, append([]string{""}, ours...)[left], to.Duffy)
		}
		_, _, err = db.Migrate(t.Context(), d)
		require.NoError(t, err)
		for target, want := range map[string]string{
			fmt.Sprint(-len(ours) - 1): "revisions of Duffy 3 itself",
			"base":                     "revisions of Duffy 3 itself",
			"nonsense":                 `no revision "nonsense"`,
			"1":                        `no revision "1"`,
		} {
			_, _, err := db.Downgrade(t.Context(), d, target)
			require.ErrorContains(t, err, want, target)
		}
		require.NoError(t, db.Current(t.Context(), d))
	})
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	duffy3, err := os.ReadFile("testdata/duffy3.sql")
	require.NoError(t, err)
	for name, c := range map[string]struct{ sql, want string }{
		"another nodes table":   {"CREATE TABLE nodes (id integer, name text)", "table nodes has no column created_at"},
		"another keys table":    {"CREATE TABLE api_keys (id integer)", "a table api_keys already"},
		"another pools table":   {"CREATE TABLE pools (id integer)", "a table pools already"},
		"another installation":  {"CREATE TABLE installation (path text)", "a table installation already"},
		"a column is missing":   {string(duffy3) + "ALTER TABLE nodes DROP COLUMN reusable", "no column reusable"},
		"lifetimes are missing": {string(duffy3) + "ALTER TABLE tenants DROP COLUMN session_lifetime", "no column session_lifetime"},
		"a table is missing":    {string(duffy3) + "DROP TABLE sessions_nodes", "none called sessions_nodes"},
		"only a revision":       {"CREATE TABLE alembic_version (version_num text); INSERT INTO alembic_version VALUES ('6654d536b836')", "none called nodes"},
		"another program's":     {"CREATE TABLE alembic_version (version_num text); INSERT INTO alembic_version VALUES ('f00')", `revision "f00", which is none of Duffy 3's`},
		"unknown revision":      {string(duffy3) + "UPDATE alembic_version SET version_num = 'f00'", `revision "f00"`},
		"two revisions":         {string(duffy3) + "INSERT INTO alembic_version VALUES ('f00')", "several revisions"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := open(t, dbtest.PostgresURL(t))
			exec(t, d, c.sql)
			before := catalog(t, d)
			_, _, err := db.Migrate(t.Context(), d)
			require.ErrorContains(t, err, c.want)
			_, err = db.Version(t.Context(), d)
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, db.Current(t.Context(), d), c.want)
			require.Equal(t, before, catalog(t, d), "nothing was changed")
		})
	}
}

func TestRefusesNewerSchema(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		exec(t, d, "INSERT INTO duffy_migrations (name) VALUES ('29991231000000_future')")
		require.ErrorContains(t, db.Current(t.Context(), d), "newer than this program")
		_, _, err := db.Migrate(t.Context(), d)
		require.ErrorContains(t, err, "29991231000000_future")
		_, _, err = db.Downgrade(t.Context(), d, "")
		require.ErrorContains(t, err, "29991231000000_future")
	})
}

func TestRefusesSQLiteOfDuffy3(t *testing.T) {
	t.Parallel()
	d := dbtest.SQLite(t)
	_, _, err := db.Downgrade(t.Context(), d, duffy3Head)
	require.NoError(t, err)
	exec(t, d, "DROP TABLE duffy_migrations")
	_, _, err = db.Migrate(t.Context(), d)
	require.ErrorContains(t, err, "SQLite database of Duffy 3")
}

func TestHasTables(t *testing.T) {
	t.Parallel()
	eachEmpty(t, func(t *testing.T, d *db.DB) {
		names, err := db.HasTables(t.Context(), d)
		require.NoError(t, err)
		require.Empty(t, names)
		exec(t, d, "CREATE TABLE nodes (x integer); CREATE TABLE unrelated (x integer)")
		names, err = db.HasTables(t.Context(), d)
		require.NoError(t, err)
		require.Equal(t, []string{"nodes"}, names)
	})
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		names, err := db.HasTables(t.Context(), d)
		require.NoError(t, err)
		require.Equal(t, []string{
			"api_keys", "installation", "nodes", "pools", "sessions", "sessions_nodes", "tenants", "write_probes",
		}, names)
	})
}

// What the schema promises to the packages that work with it.
func TestSchema(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		run(t, d, "rows.sql")
		for _, bad := range []string{
			"UPDATE nodes SET state = 'nonsense'",
			"UPDATE nodes SET data = 'nonsense'",
			"UPDATE nodes SET session_id = 99",
		} {
			_, err := d.ExecContext(t.Context(), bad)
			require.Error(t, err, bad)
		}
		exec(t, d, "UPDATE nodes SET session_id = 2 WHERE id = 1; DELETE FROM sessions_nodes; DELETE FROM sessions WHERE id = 2")
		n, err := d.NewSelect().TableExpr("nodes").Where("session_id IS NOT NULL").Count(t.Context())
		require.NoError(t, err)
		require.Zero(t, n, "a session that is gone holds no nodes")

		now := time.Now().UTC().Truncate(time.Microsecond)
		_, err = d.NewUpdate().Table("nodes").Set("lease_until = ?", now).Where("id = 1").Exec(t.Context())
		require.NoError(t, err)
		var until, created time.Time
		require.NoError(t, d.NewSelect().Table("nodes").Column("lease_until", "created_at").Where("id = 1").Scan(t.Context(), &until, &created))
		require.Equal(t, now, until.UTC())
		require.WithinDuration(t, now, created, time.Minute, "created_at is the time in UTC")
	})
}
