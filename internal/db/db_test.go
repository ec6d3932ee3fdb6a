package db_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
)

func open(t *testing.T, url string) *db.DB {
	t.Helper()
	d, err := db.Open(t.Context(), url, db.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d
}

func TestOpenPostgres(t *testing.T) {
	t.Parallel()
	url := dbtest.PostgresURL(t)
	var log bytes.Buffer
	url = strings.Replace(url, "postgresql://", "postgresql+asyncpg://", 1) + "&prepared_statement_cache_size=0"
	d, err := db.Open(t.Context(), url, db.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	defer d.Close()
	require.True(t, d.Postgres())
	require.EqualValues(t, db.DefaultMaxConns, d.Pool.Config().MaxConns)
	require.Contains(t, log.String(), "prepared_statement_cache_size")

	var name, zone string
	require.NoError(t, d.QueryRowContext(t.Context(),
		"SELECT current_setting('application_name'), current_setting('TimeZone')").Scan(&name, &zone))
	require.Equal(t, "duffy", name)
	require.Equal(t, "UTC", zone)

	d = open(t, url+"&application_name=other&pool_max_conns=3")
	require.NoError(t, d.QueryRowContext(t.Context(), "SELECT current_setting('application_name')").Scan(&name))
	require.Equal(t, "other", name)
	require.EqualValues(t, 3, d.Pool.Config().MaxConns)
}

// bun writes values into the SQL text, so that prepared statements would pile up.
func TestNoPreparedStatements(t *testing.T) {
	t.Parallel()
	d := open(t, dbtest.PostgresURL(t)+"&pool_max_conns=1")
	for i := range 20 {
		var n int
		require.NoError(t, d.NewSelect().ColumnExpr("?", i).Scan(t.Context(), &n))
	}
	var statements int
	require.NoError(t, d.NewSelect().ColumnExpr("count(*)").TableExpr("pg_prepared_statements").Scan(t.Context(), &statements))
	require.Zero(t, statements)
}

func TestOpenFails(t *testing.T) {
	t.Parallel()
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, dead.Close())
	dir := t.TempDir()
	for url, want := range map[string]string{
		"postgresql://u:secret@" + dead.Addr().String() + "/d": "PostgreSQL does not answer",
		"postgresql://u:secret@h/d?sslmode=secret":             "sslmode",
		"postgresql://u:secret@h/d?sslrootcert=/nowhere":       "/nowhere",
		"sqlite:///" + dir + "/missing/duffy.db":               "its directory must exist",
		"sqlite:///" + dir:                                     "unable to open database file",
	} {
		_, err := db.Open(t.Context(), url, db.Config{})
		require.ErrorContains(t, err, want, url)
		require.NotContains(t, strings.ReplaceAll(err.Error(), "sslmode=secret", ""), "u:secret", url)
		require.NotContains(t, err.Error(), "password=secret", url)
	}
}

// A server that accepts connections and says nothing must not hold us for ever.
func TestOpenGivesUp(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = db.Open(ctx, "postgresql://u@"+silent.Addr().String()+"/d?sslmode=disable", db.Config{})
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestOpenSQLiteFile(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	require.NoError(t, os.Mkdir("a?b%20#c", 0o700))
	for _, url := range []string{"sqlite:///relative.db", "sqlite+aiosqlite:///" + dir + "/a#b%20.db"} {
		d := open(t, url)
		require.False(t, d.Postgres())
		require.Nil(t, d.Pool)
		_, err := d.ExecContext(t.Context(), "CREATE TABLE t (x)")
		require.NoError(t, err)
	}
	require.FileExists(t, filepath.Join(dir, "relative.db"))
	require.FileExists(t, filepath.Join(dir, "a#b%20.db"))
}

func TestSQLiteWaitsForWriters(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"sqlite:///" + filepath.Join(t.TempDir(), "duffy.db"), "sqlite://"} {
		d := open(t, url)
		_, err := d.ExecContext(t.Context(), "CREATE TABLE counter AS SELECT 0 AS n")
		require.NoError(t, err)
		var writers sync.WaitGroup
		errs := make([]error, 30)
		for i := range errs {
			writers.Go(func() {
				errs[i] = d.RunInTx(t.Context(), nil, func(ctx context.Context, tx bun.Tx) error {
					var n int
					if err := tx.NewSelect().Table("counter").Column("n").Scan(ctx, &n); err != nil {
						return err
					}
					_, err := tx.NewUpdate().Table("counter").Set("n = ?", n+1).Where("TRUE").Exec(ctx)
					return err
				})
			})
		}
		writers.Wait()
		for _, err := range errs {
			require.NoError(t, err)
		}
		var n int
		require.NoError(t, d.NewSelect().Table("counter").Column("n").Scan(t.Context(), &n))
		require.Equal(t, len(errs), n)
	}
}

func TestSQLiteMemory(t *testing.T) {
	t.Parallel()
	d := open(t, "sqlite://")
	other := open(t, "sqlite:///:memory:")
	_, err := d.ExecContext(t.Context(), "CREATE TABLE t (x)")
	require.NoError(t, err)
	_, err = other.ExecContext(t.Context(), "CREATE TABLE t (x)")
	require.NoError(t, err, "every database in memory is private")

	for range 3 { // every connection of the pool sees the table
		conn, err := d.Conn(t.Context())
		require.NoError(t, err)
		defer conn.Close()
		_, err = conn.ExecContext(t.Context(), "INSERT INTO t VALUES (1)")
		require.NoError(t, err)
	}
	var n int
	require.NoError(t, d.NewSelect().ColumnExpr("count(*)").TableExpr("t").Scan(t.Context(), &n))
	require.Equal(t, 3, n)
}

func TestSQLiteForeignKeys(t *testing.T) {
	t.Parallel()
	d := dbtest.SQLite(t)
	_, err := d.ExecContext(t.Context(), "INSERT INTO sessions (tenant_id) VALUES (1)")
	require.ErrorContains(t, err, "FOREIGN KEY")
}

func TestUniqueViolation(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for constraint, insert := range map[string]string{
			"tenants_name_key":      "INSERT INTO tenants (name, ssh_key, api_key) VALUES ('t', 'k', 'a')",
			"active_hostname_index": "INSERT INTO nodes (hostname) VALUES ('h')",
			"active_ipaddr_index":   "INSERT INTO nodes (ipaddr) VALUES ('192.0.2.1')",
		} {
			_, err := d.ExecContext(t.Context(), insert)
			require.NoError(t, err)
			_, err = d.ExecContext(t.Context(), insert)
			got, ok := db.UniqueViolation(err)
			require.True(t, ok, "%v", err)
			require.Equal(t, constraint, got)
		}
		_, err := d.ExecContext(t.Context(), "INSERT INTO tenants (name) VALUES ('u')")
		require.Error(t, err)
		_, ok := db.UniqueViolation(err)
		require.False(t, ok)
	})
	_, ok := db.UniqueViolation(nil)
	require.False(t, ok)
}
