package riverqueue_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/queue"
	"github.com/duffy-ci/duffy/queue/queuetest"
	"github.com/duffy-ci/duffy/queue/riverqueue"
)

const patience = time.Minute

func newQueue(t testing.TB, d *db.DB, cfg riverqueue.Config) *riverqueue.Queue {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	q, err := riverqueue.NewSQLite(d.DB, cfg)
	if d.Postgres() {
		q, err = riverqueue.NewPostgres(d.DB, d.Pool, cfg)
	}
	require.NoError(t, err)
	return q
}

// work starts a Queue in a database that it migrates first. It stops with the test.
func work(t *testing.T, d *db.DB, cfg riverqueue.Config, mux *queue.Mux) *riverqueue.Queue {
	t.Helper()
	q := newQueue(t, d, cfg)
	require.NoError(t, q.Migrate(t.Context()))
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- q.Work(ctx, mux) }()
	t.Cleanup(func() { stop(); require.NoError(t, <-done) })
	return q
}

func insert(t *testing.T, d *db.DB, q *riverqueue.Queue, jobs ...queue.Job) {
	t.Helper()
	require.NoError(t, d.RunInTx(t.Context(), nil, func(ctx context.Context, tx bun.Tx) error {
		return q.Insert(ctx, tx, jobs...)
	}))
}

func TestPostgres(t *testing.T) {
	t.Parallel()
	queuetest.Run(t, suite(dbtest.Postgres))
}

func TestSQLite(t *testing.T) {
	t.Parallel()
	queuetest.Run(t, suite(dbtest.SQLite))
}

func TestSQLiteInMemory(t *testing.T) {
	t.Parallel()
	queuetest.Run(t, suite(func(t testing.TB) *db.DB {
		d, err := db.Open(t.Context(), "sqlite://", db.Config{})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, d.Close()) })
		return d
	}))
}

func suite(open func(testing.TB) *db.DB) func(*testing.T) (*bun.DB, func() queue.Queue) {
	return func(t *testing.T) (*bun.DB, func() queue.Queue) {
		d := open(t)
		require.NoError(t, newQueue(t, d, riverqueue.Config{}).Migrate(t.Context()))
		return d.DB, func() queue.Queue {
			return newQueue(t, d, riverqueue.Config{ShortWorkers: 4, LongWorkers: 2, ShutdownTimeout: 3 * time.Second})
		}
	}
}

func TestMigrate(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		require.ErrorContains(t, newQueue(t, d, riverqueue.Config{}).Current(t.Context()), "run duffy migration upgrade")
		var all sync.WaitGroup
		errs := make([]error, 3)
		for i := range errs {
			q := newQueue(t, d, riverqueue.Config{})
			all.Go(func() { errs[i] = q.Migrate(t.Context()) })
		}
		all.Wait()
		require.NoError(t, errors.Join(errs...))
		q := newQueue(t, d, riverqueue.Config{})
		require.NoError(t, q.Current(t.Context()))
		require.NoError(t, q.Migrate(t.Context()), "a second time")
	})
}

func TestDrop(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		objects := "SELECT count(*) FROM sqlite_master"
		if d.Postgres() {
			objects = "SELECT (SELECT count(*) FROM pg_class) + (SELECT count(*) FROM pg_proc) + (SELECT count(*) FROM pg_type)"
		}
		count := func() (n int) {
			require.NoError(t, d.QueryRowContext(t.Context(), objects).Scan(&n))
			return n
		}
		before := count()
		q := newQueue(t, d, riverqueue.Config{})
		require.NoError(t, q.Drop(t.Context()), "there is nothing")
		require.NoError(t, q.Migrate(t.Context()))
		require.NoError(t, d.RunInTx(t.Context(), nil, func(ctx context.Context, tx bun.Tx) error {
			return q.Insert(ctx, tx, job{})
		}))
		for range 2 {
			require.NoError(t, q.Drop(t.Context()))
			require.Equal(t, before, count(), "nothing is left")
			require.Error(t, q.Current(t.Context()))
		}
		require.NoError(t, q.Migrate(t.Context()))
		require.NoError(t, q.Current(t.Context()))
	})
}

func TestWorkNeedsTables(t *testing.T) {
	t.Parallel()
	d, err := db.Open(t.Context(), "sqlite:///"+filepath.Join(t.TempDir(), "empty.db"), db.Config{})
	require.NoError(t, err)
	defer d.Close()
	var mux queue.Mux
	queue.Handle(&mux, patience, func(context.Context, job) error { return nil })
	require.Error(t, newQueue(t, d, riverqueue.Config{}).Work(t.Context(), &mux))
}

type (
	job  struct{}
	tick struct{ At time.Time }
)

func (job) Kind() string            { return "riverqueue.job" }
func (tick) Kind() string           { return "riverqueue.tick" }
func (t tick) NotBefore() time.Time { return t.At }

// A failing job is tried a few times, and each time is logged once.
func TestFailuresAreLogged(t *testing.T) {
	t.Parallel()
	dbtest.EachEncoding(t, func(t *testing.T, d *db.DB) {
		var mux queue.Mux
		queue.Handle(&mux, patience, func(context.Context, job) error { return errors.New("no luck: \u65e5\u672c\x00\xff") })
		var out buffer
		q := work(t, d, riverqueue.Config{Logger: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))}, &mux)
		insert(t, d, q, job{})
		state := func() string {
			var state string
			require.NoError(t, d.NewSelect().Table("river_job").Column("state").Scan(t.Context(), &state))
			return state
		}
		require.Eventually(t, func() bool { return state() == "discarded" }, patience, 10*time.Millisecond)
		lines := out.lines()
		require.Len(t, lines, 3, "%s", lines)
		for i, line := range lines {
			require.Contains(t, line, `level=WARN msg="job failed" kind=riverqueue.job`)
			require.Contains(t, line, `error="no luck: 日本\x00\xff"`)
			require.Contains(t, line, []string{"attempt=1 of=3", "attempt=2 of=3", "attempt=3 of=3"}[i])
		}
	})
}

// A buffer can be written to and read at once.
type buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *buffer) lines() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var lines []string
	for line := range bytes.Lines(b.buf.Bytes()) {
		lines = append(lines, string(line))
	}
	return lines
}
