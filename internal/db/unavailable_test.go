package db_test

import (
	"context"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
)

// An outage passes, whatever it catches somebody at.
func TestUnavailable(t *testing.T) {
	t.Parallel()
	s := dbtest.NewServer(t)
	d := open(t, s.URL())
	require.False(t, db.Unavailable(nil))
	for name, end := range map[string]func(testing.TB){"stopped": s.Stop, "killed": s.Kill} {
		sleeping := make(chan error, 1)
		go func() {
			_, err := d.ExecContext(context.WithoutCancel(t.Context()), "SELECT pg_sleep(600)")
			sleeping <- err
		}()
		require.Eventually(t, func() bool {
			n, err := d.NewSelect().Table("pg_stat_activity").Where("wait_event = 'PgSleep'").Count(t.Context())
			return err == nil && n == 1
		}, time.Minute, 10*time.Millisecond)
		tx, err := d.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		end(t)
		for where, err := range map[string]error{
			"in a statement": <-sleeping, "in a transaction": ask(t, tx), "on a connection": ask(t, d), "out of reach": ask(t, d),
		} {
			require.True(t, db.Unavailable(err), "%s, %s: %v", name, where, err)
		}
		_ = tx.Rollback()
		_, err = db.Open(t.Context(), s.URL(), db.Config{})
		require.True(t, db.Unavailable(err), "%s: %v", name, err)
		s.Start(t)
		require.NoError(t, ask(t, d), "it is over at once")
	}
}

func ask(t *testing.T, d bun.IDB) error {
	_, err := d.ExecContext(t.Context(), "SELECT 1")
	return err
}

// What nobody but people can help is no outage.
func TestNotUnavailable(t *testing.T) {
	t.Parallel()
	url := dbtest.PostgresURL(t)
	d := open(t, url)
	_, err := d.ExecContext(t.Context(), "SELECT nonsense")
	require.Error(t, err)
	require.False(t, db.Unavailable(err), err)
	_, err = db.Open(t.Context(), url+"&dbname=missing", db.Config{})
	require.ErrorContains(t, err, "missing")
	require.False(t, db.Unavailable(err), err)
	_, err = db.Open(t.Context(), url+"&user=nobody", db.Config{})
	require.ErrorContains(t, err, "nobody")
	require.False(t, db.Unavailable(err), err)
	_, err = db.Open(t.Context(), "sqlite:///"+t.TempDir()+"/missing/duffy.db", db.Config{})
	require.Error(t, err)
	require.False(t, db.Unavailable(err), err)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = d.ExecContext(ctx, "SELECT 1")
	require.ErrorIs(t, err, context.Canceled)
	require.False(t, db.Unavailable(err), "it is us who do not wait: %v", err)
}

// A server that accepts connections and says nothing is as good as away.
func TestSilenceIsUnavailable(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	_, err = db.Open(t.Context(), "postgresql://u@"+silent.Addr().String()+"/d?sslmode=disable&connect_timeout=1", db.Config{})
	require.True(t, db.Unavailable(err), err)
}

// A writer that waited in vain for another can try again.
func TestBusySQLiteIsUnavailable(t *testing.T) {
	t.Parallel()
	url := "sqlite:///" + filepath.Join(t.TempDir(), "duffy.db")
	d, other := open(t, url), open(t, url)
	_, err := d.ExecContext(t.Context(), "CREATE TABLE t (x)")
	require.NoError(t, err)
	tx, err := d.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	conn, err := other.Conn(t.Context())
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.ExecContext(t.Context(), "PRAGMA busy_timeout = 10; INSERT INTO t VALUES (1)")
	require.Error(t, err)
	require.True(t, db.Unavailable(err), err)
	require.NoError(t, tx.Rollback())
}

// TestWritesRefused has databases that answer take no writes for a while.
func TestWritesRefused(t *testing.T) {
	t.Parallel()
	for name, refuse := range map[string]struct{ begin, end string }{
		"full":      {"PRAGMA max_page_count = 1", "PRAGMA max_page_count = 1000000"},
		"read-only": {"PRAGMA query_only = 1", "PRAGMA query_only = 0"},
	} {
		t.Run("sqlite "+name, func(t *testing.T) {
			t.Parallel()
			d := dbtest.SQLite(t)
			exec(t, d, "CREATE TABLE t (x)")
			d.SetMaxOpenConns(1) // which is the one that is told
			require.NoError(t, d.CanWrite(t.Context()))
			exec(t, d, refuse.begin)
			require.NoError(t, ask(t, d))
			_, err := d.ExecContext(t.Context(), "INSERT INTO t SELECT randomblob(100000)")
			require.True(t, db.Unavailable(err), err)
			exec(t, d, refuse.end)
			require.NoError(t, d.CanWrite(t.Context()))
		})
	}
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		s := dbtest.NewServer(t)
		d := open(t, s.URL())
		_, _, err := db.Migrate(t.Context(), d)
		require.NoError(t, err)
		require.NoError(t, d.CanWrite(t.Context()))
		s.SetReadOnly(t, true)
		require.NoError(t, ask(t, d))
		require.Eventually(t, func() bool { return d.CanWrite(t.Context()) != nil }, time.Minute, 10*time.Millisecond)
		require.True(t, db.Unavailable(d.CanWrite(t.Context())))
		s.SetReadOnly(t, false)
		require.NoError(t, d.CanWrite(t.Context()), "it is over at once")
		var left int
		require.NoError(t, d.NewRaw("SELECT count(*) FROM write_probes").Scan(t.Context(), &left))
		require.Zero(t, left)
	})
}
