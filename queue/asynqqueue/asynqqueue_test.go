package asynqqueue_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/internal/redistest"
	"github.com/duffy-ci/duffy/queue"
	"github.com/duffy-ci/duffy/queue/asynqqueue"
	"github.com/duffy-ci/duffy/queue/queuetest"
)

const patience = time.Minute

type job struct{ N int }

func (job) Kind() string { return "asynqqueue.job" }

type long job

func (long) Kind() string { return "asynqqueue.long" }
func (long) Long()        {}

type later struct{ At time.Time }

func (later) Kind() string           { return "asynqqueue.later" }
func (l later) NotBefore() time.Time { return l.At }

func newQueue(t *testing.T, d *db.DB, redis string, cfg asynqqueue.Config) *asynqqueue.Queue {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	opt, err := asynqqueue.ParseRedis(redis)
	require.NoError(t, err)
	return asynqqueue.New(d.DB, opt, cfg)
}

// work migrates and starts a Queue, which stops with the test at the latest.
func work(t *testing.T, q *asynqqueue.Queue, mux *queue.Mux) (stop func()) {
	t.Helper()
	require.NoError(t, q.Migrate(t.Context()))
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- q.Work(ctx, mux) }()
	stop = sync.OnceFunc(func() { cancel(); require.NoError(t, <-done) })
	t.Cleanup(stop)
	return stop
}

func insert(t *testing.T, d *db.DB, q queue.Inserter, jobs ...queue.Job) {
	t.Helper()
	require.NoError(t, d.RunInTx(t.Context(), nil, func(ctx context.Context, tx bun.Tx) error {
		return q.Insert(ctx, tx, jobs...)
	}))
}

// counts returns a mux that counts how often each job ran.
func counts() (*queue.Mux, func(n int) int) {
	var mu sync.Mutex
	runs := map[int]int{}
	count := func(_ context.Context, j job) error {
		mu.Lock()
		defer mu.Unlock()
		runs[j.N]++
		return nil
	}
	var mux queue.Mux
	queue.Handle(&mux, patience, count)
	queue.Handle(&mux, patience, func(ctx context.Context, l long) error { return count(ctx, job(l)) })
	return &mux, func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return runs[n]
	}
}

func outbox(t *testing.T, d *db.DB) int64 {
	t.Helper()
	n, err := d.NewSelect().Table("queue_outbox").Count(t.Context())
	require.NoError(t, err)
	return n
}

func TestPostgres(t *testing.T) {
	t.Parallel()
	queuetest.Run(t, suite(dbtest.Postgres))
}

func TestSQLite(t *testing.T) {
	t.Parallel()
	queuetest.Run(t, suite(dbtest.SQLite))
}

func suite(open func(testing.TB) *db.DB) func(*testing.T) (*bun.DB, func() queue.Queue) {
	return func(t *testing.T) (*bun.DB, func() queue.Queue) {
		redis, d := redistest.URL(t), open(t)
		newQueue := func() queue.Queue {
			return newQueue(t, d, redis, asynqqueue.Config{ShortWorkers: 4, LongWorkers: 2, ShutdownTimeout: 3 * time.Second})
		}
		require.NoError(t, newQueue().(*asynqqueue.Queue).Migrate(t.Context()))
		return d.DB, newQueue
	}
}

func TestMigrate(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		q := newQueue(t, d, "redis://localhost", asynqqueue.Config{})
		require.ErrorContains(t, q.Current(t.Context()), "run duffy migration upgrade")
		require.ErrorContains(t, q.Work(t.Context(), &queue.Mux{}), "run duffy migration upgrade")
		require.NoError(t, q.Drop(t.Context()), "there is nothing")
		var all sync.WaitGroup
		errs := make([]error, 4)
		for i := range errs {
			all.Go(func() { errs[i] = q.Migrate(t.Context()) })
		}
		all.Wait()
		require.NoError(t, errors.Join(errs...))
		require.NoError(t, q.Current(t.Context()))
		insert(t, d, q, job{1})
		require.NoError(t, q.Migrate(t.Context()), "a second time")
		require.EqualValues(t, 1, outbox(t, d))
		require.NoError(t, q.Drop(t.Context()))
		require.Error(t, q.Current(t.Context()))
	})
}

// What a process enqueued that died before it could delete it is not run twice.
func TestEnqueuedTwice(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		q := newQueue(t, d, redistest.URL(t), asynqqueue.Config{})
		require.NoError(t, q.Migrate(t.Context()))
		insert(t, d, q, job{1})
		_, err := d.ExecContext(t.Context(), "CREATE TABLE copy AS SELECT * FROM queue_outbox")
		require.NoError(t, err)
		mux, runs := counts()
		work(t, q, mux)
		require.Eventually(t, func() bool { return runs(1) == 1 && outbox(t, d) == 0 }, patience, 10*time.Millisecond)

		_, err = d.ExecContext(t.Context(), "INSERT INTO queue_outbox SELECT * FROM copy")
		require.NoError(t, err)
		insert(t, d, q, job{2})
		require.Eventually(t, func() bool { return runs(2) == 1 && outbox(t, d) == 0 }, patience, 10*time.Millisecond)
		require.Equal(t, 1, runs(1))
	})
}

// Redis losing everything loses no delayed jobs, and no later ones.
func TestRedisForgets(t *testing.T) {
	t.Parallel()
	server := redistest.New(t)
	server.Start(t)
	d := dbtest.SQLite(t)
	q := newQueue(t, d, server.URL(), asynqqueue.Config{})
	mux, runs := counts()
	ran := make(chan struct{}, 1)
	queue.Handle(mux, patience, func(context.Context, later) error { ran <- struct{}{}; return nil })
	work(t, q, mux)
	insert(t, d, q, job{1}, later{time.Now().Add(3 * time.Second)})
	require.Eventually(t, func() bool { return runs(1) == 1 }, patience, 10*time.Millisecond)
	server.Do(t, "FLUSHALL")
	insert(t, d, q, job{2})
	require.Eventually(t, func() bool { return runs(2) == 1 }, patience, 10*time.Millisecond)
	<-ran
}

// While Redis is away, jobs can be inserted, and what runs goes on.
func TestRedisAway(t *testing.T) {
	t.Parallel()
	server := redistest.New(t)
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		var out buffer
		q := newQueue(t, d, server.URL(), asynqqueue.Config{Logger: slog.New(slog.NewTextHandler(&out, nil))})
		mux, runs := counts()
		started, release := make(chan struct{}, 10), make(chan struct{})
		ended := make(chan error, 10)
		queue.Handle(mux, patience, func(ctx context.Context, _ later) error {
			started <- struct{}{}
			<-release
			ended <- ctx.Err()
			return nil
		})
		stop := work(t, q, mux)
		insert(t, d, q, job{1})
		require.Eventually(t, out.has("cannot reach Redis", 1), patience, 10*time.Millisecond)
		require.EqualValues(t, 1, outbox(t, d))
		server.Start(t)
		require.Eventually(t, func() bool { return runs(1) == 1 }, patience, 10*time.Millisecond)
		require.Eventually(t, out.has("cannot reach Redis: over", 1), patience, 10*time.Millisecond)

		insert(t, d, q, later{})
		<-started
		server.Stop()
		insert(t, d, q, job{2})
		require.Eventually(t, out.has("cannot reach Redis", 3), patience, 10*time.Millisecond)
		server.Start(t)
		require.Eventually(t, func() bool { return runs(2) == 1 }, patience, 10*time.Millisecond)
		close(release)
		require.NoError(t, <-ended)
		server.Stop()
		stop()
		require.NotContains(t, out.String(), "level=ERROR")
		require.NotContains(t, out.String(), "job failed")
	})
}

// A failing job is tried a few times, and each time is logged once.
func TestFailuresAreLogged(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		var mux queue.Mux
		queue.Handle(&mux, patience, func(_ context.Context, j job) error {
			if j.N == 1 {
				panic("a mistake")
			}
			return errors.New("no luck")
		})
		var out buffer
		q := newQueue(t, d, redistest.URL(t), asynqqueue.Config{Logger: slog.New(slog.NewTextHandler(&out, nil))})
		stop := work(t, q, &mux)
		insert(t, d, q, job{1}, job{2})
		require.Eventually(t, out.has("attempt=3 of=3", 2), patience, 10*time.Millisecond)
		stop()
		require.True(t, out.has(`level=WARN msg="job failed" kind=asynqqueue.job`, 6)())
		require.True(t, out.has(`error="no luck"`, 3)())
		require.True(t, out.has(`error="panic: a mistake`, 3)())
		require.Equal(t, 6, strings.Count(out.String(), "\n"), out.String())
	})
}

// A job that is interrupted is put back, and run by the next process at once.
func TestInterruptedJobRunsAgain(t *testing.T) {
	t.Parallel()
	d, redis := dbtest.SQLite(t), redistest.URL(t)
	var first queue.Mux
	started := make(chan struct{}, 10)
	queue.Handle(&first, patience, func(ctx context.Context, _ job) error {
		started <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	})
	var out buffer
	q := newQueue(t, d, redis, asynqqueue.Config{
		ShutdownTimeout: 100 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(&out, nil)),
	})
	stop := work(t, q, &first)
	insert(t, d, q, job{1})
	<-started
	stop()
	require.NotContains(t, out.String(), "job failed")
	second, runs := counts()
	work(t, newQueue(t, d, redis, asynqqueue.Config{}), second)
	require.Eventually(t, func() bool { return runs(1) == 1 }, patience, 10*time.Millisecond)
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

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// has tells whether a text is in it that many times.
func (b *buffer) has(text string, times int) func() bool {
	return func() bool { return strings.Count(b.String(), text) == times }
}
