// Package queuetest has the suite that every [queue.Queue] passes, and a
// [Recorder] for tests of what works with queues.
package queuetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/queue"
)

// patience is how long to wait for what has to happen.
const patience = time.Minute

// Run has an engine pass the suite. open returns a new database and makes Queues
// in it, each as another process would. They should have less than 50 slots for
// jobs, and a shutdown timeout of a few seconds.
func Run(t *testing.T, open func(t *testing.T) (db *bun.DB, newQueue func() queue.Queue)) {
	for name, test := range map[string]func(*testing.T, *bun.DB, func() queue.Queue){
		"CommittedJobsRun":          committedJobsRun,
		"RolledBackJobNeverRuns":    rolledBackJobNeverRuns,
		"JobWaitsForCommit":         jobWaitsForCommit,
		"DelayedJobWaits":           delayedJobWaits,
		"LongJobsHoldUpNoOthers":    longJobsHoldUpNoOthers,
		"FailuresHoldUpNoOthers":    failuresHoldUpNoOthers,
		"TimeoutEndsContext":        timeoutEndsContext,
		"PeriodicJobRunsAgain":      periodicJobRunsAgain,
		"WorkWaitsForHandlers":      workWaitsForHandlers,
		"WorkInterruptsHandlers":    workInterruptsHandlers,
		"WorkAfterItsContextEnded":  workAfterItsContextEnded,
		"QueuesShareWork":           queuesShareWork,
		"JobsWaitForWork":           jobsWaitForWork,
		"InsertWithoutJobsIsNoJob":  insertWithoutJobs,
		"InsertTellsOfClosedTx":     insertTellsOfClosedTx,
		"ManyTransactionsAtOnceRun": manyTransactionsAtOnce,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, newQueue := open(t)
			test(t, db, newQueue)
		})
	}
}

// The jobs of the suite. What they do is up to the mux of the test.
type (
	job     struct{ N int }
	other   struct{ N int }
	tick    struct{}
	unknown struct{}
	delayed struct {
		N  int
		At time.Time
	}
	long struct{ N int }
)

func (job) Kind() string               { return "queuetest.job" }
func (other) Kind() string             { return "queuetest.other" }
func (tick) Kind() string              { return "queuetest.tick" }
func (unknown) Kind() string           { return "queuetest.unknown" }
func (delayed) Kind() string           { return "queuetest.delayed" }
func (d delayed) NotBefore() time.Time { return d.At }
func (long) Kind() string              { return "queuetest.long" }
func (long) Long()                     {}

// insert inserts jobs and commits.
func insert(t *testing.T, db *bun.DB, q queue.Inserter, jobs ...queue.Job) {
	t.Helper()
	require.NoError(t, db.RunInTx(t.Context(), nil, func(ctx context.Context, tx bun.Tx) error {
		return q.Insert(ctx, tx, jobs...)
	}))
}

// work starts a Queue and returns what stops it and waits until Work has
// returned, which happens at the end of the test at the latest.
func work(t *testing.T, q queue.Queue, mux *queue.Mux) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- q.Work(ctx, mux) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			require.NoError(t, err)
		case <-time.After(patience):
			require.Fail(t, "Work does not return")
		}
	})
	t.Cleanup(stop)
	return stop
}

func eventually(t *testing.T, condition func() bool, message string) {
	t.Helper()
	require.Eventually(t, condition, patience, 10*time.Millisecond, message)
}

// A log remembers which jobs ran.
type log struct {
	mu   sync.Mutex
	runs []int
}

func (l *log) add(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.runs = append(l.runs, n)
}

func (l *log) sorted() []int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(slices.Values(l.runs))
}

func (l *log) has(n int) func() bool {
	return func() bool { return slices.Contains(l.sorted(), n) }
}

// logs returns a mux with a handler that only notes which job ran.
func logs() (*queue.Mux, *log) {
	var mux queue.Mux
	var l log
	queue.Handle(&mux, patience, func(_ context.Context, j job) error { l.add(j.N); return nil })
	return &mux, &l
}

func committedJobsRun(t *testing.T, db *bun.DB, newQueue func() queue.Queue) {
	mux, ran := logs()
	work(t, newQueue(), mux)
	inserter := newQueue() // in another process
	insert(t, db, inserter, job{1}, job{2})
	insert(t, db, inserter, job{3})
	eventually(t, func() bool { return len(ran.sorted()) == 3 }, "committed jobs run")
	require.Equal(t, []int{1, 2, 3}, ran.sorted())
}

func rolledBackJobNeverRuns(t *testing.T, db *bun.DB, newQueue func() queue.Queue) {
	mux, ran := logs()
	q := newQueue()
	work(t, q, mux)
	boom := errors.New("boom")
	err := db.RunInTx(t.Context(), nil, func(ctx context.Context, tx bun.Tx) error {
		require.NoError(t, q.Insert(ctx, tx, job{1}))
		return boom
	})
	require.ErrorIs(t, err, boom)
	insert(t, db, q, job{2})
	eventually(t, ran.has(2), "later jobs run")
	require.Equal(t, []int{2}, ran.sorted())
}

func jobWaitsForCommit(t *testing.T, db *bun.DB, newQueue func() queue.Queue) {
	mux, ran := logs()
	q := newQueue()
	work(t, q, mux)
	insert(t, db, q, job{1})
	eventually(t, ran.has(1), "the queue works")
	require.NoError(t, db.RunInTx(t.Context(), nil, func(ctx context.Context, tx bun.Tx) error {
		require.NoError(t, q.Insert(ctx, tx, job{2}))
		require.Never(t, ran.has(2), time.Second, 10*time.Millisecond)
		return nil
	}))
	eventually(t, ran.has(2), "the job runs once it is committed")
}

func delayedJobWaits(t *testing.T, db *bun.DB, newQueue func() queue.Queue) {
	var mux queue.Mux
	early := make(chan time.Duration, 10)
	var ran log
	queue.Handle(&mux, patience, func(_ context.Context, d delayed) error {
		early <- time.Until(d.At)
		ran.add(d.N)
		return nil
	})
	q := newQueue()
	work(t, q, &mux)
	insert(t, db, q,
		delayed{1, time.Now().Add(3 * time.Second).Truncate(time.Second)},
		delayed{2, time.Time{}}, delayed{3, time.Now().Add(-time.Hour)})
	eventually(t, func() bool { return len(ran.sorted()) == 3 }, "delayed jobs run in the end")
	close(early)
	for by := range early {
		require.LessOrEqual(t, by, time.Duration(0), "no job runs before its time")
	}
}

func longJobsHoldUpNoOthers(t *testing.T, db *bun.DB, newQueue func() queue.Queue) {
	mux, ran := logs()
	started := make(chan struct{}, 1)
	release := make(chan struct{})
	queue.Handle(mux, patience, func(ctx context.Context, _ long) error {
		select {
		case started <- struct{}{}:
		default:
		}
		select {
		case <-release:
		case <-ctx.Done():
		}
		return nil
	})
	q := newQueue()
	work(t, q, mux)
	for i := range 50 {
		insert(t, db, q, long{i})
	}
	<-started
	insert(t, db, q, job{1})
	eventually(t, ran.has(1), "a short job runs beside long ones")
	close(release)
}

func failuresHoldUpNoOthers(t *testing.T, db *bun.DB, newQueue func() queue.Queue) {
	mux, ran := logs()
	queue.Handle(mux, patience, func(_ context.Context, o other) error {
		ran.add(-o.N)
		if o.N == 1 {
			panic("a handler's mistake")
		}
		return errors.New("does not work out")
	})
	q := newQueue()
	work(t, q, mux)
	insert(t, db, q, other{1}, other{2}, unknown{})
	eventually(t, func() bool { return ran.has(-1)() && ran.has(-2)() }, "the handlers that fail run")
	insert(t, db, q, job{1})
	eventually(t, ran.has(1), "other jobs run")
}

func timeoutEndsContext(t *testing.T, db *bun.DB, newQueue func() queue.Queue) {
	mux, ran := logs()
	ended := make(chan error, 10)
	queue.Handle(mux, 100*time.Millisecond, func(ctx context.Context, _ other) error {
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	})
	q := newQueue()
	work(t, q, mux)
	insert(t, db, q, other{})
	require.ErrorIs(t, <-ended, context.DeadlineExceeded)
	insert(t, db, q, job{1})
	eventually(t, ran.has(1), "other jobs run")
}

func periodicJobRunsAgain(t *testing.T, _ *bun.DB, newQueue func() queue.Queue) {
	var mux queue.Mux
	var ran log
	queue.Handle(&mux, patience, func(context.Context, tick) error { ran.add(1); return nil })
	mux.Every(time.Second, tick{})
	queue.Handle(&mux, patience, func(_ context.Context, o other) error { ran.add(o.N); return nil })
	mux.Every(time.Hour, other{2})
	mux.Every(time.Hour, other{3})
	work(t, newQueue(), &mux)
	eventually(t, func() bool {
		runs := ran.sorted()
		return slices.Contains(runs, 2) && slices.Contains(runs, 3) && len(runs) >= 5
	}, "periodic jobs run at the start and then again")
	require.Equal(t, []int{2, 3}, ran.sorted()[len(ran.sorted())-2:], "those that are not due again do not run again")
}

func workWaitsForHandlers(t *testing.T, db *bun.DB, newQueue func() queue.Queue) {
	var mux queue.Mux
	started := make(chan struct{})
	release := make(chan struct{})
	finished := make(chan error, 1)
	queue.Handle(&mux, patience, func(ctx context.Context, _ job) error {
		close(started)
		<-release
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
		finished <- ctx.Err()
		return nil
	})
	q := newQueue()
	stop := work(t, q, &mux)
	insert(t, db, q, job{})
	<-started
	time.AfterFunc(100*time.Millisecond, func() { close(release) }) // after stop has begun
	stop()
	select {
	case err := <-finished:
		require.NoError(t, err, "a handler that ends soon is not interrupted")
	default:
		require.Fail(t, "Work returned before its handler")
	}
}

func workInterruptsHandlers(t *testing.T, db *bun.DB, newQueue func() queue.Queue) {
	var mux queue.Mux
	started := make(chan struct{}, 10)
	queue.Handle(&mux, 10*patience, func(ctx context.Context, _ job) error {
		started <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	})
	q := newQueue()
	stop := work(t, q, &mux)
	insert(t, db, q, job{})
	<-started
	stop()
}

func workAfterItsContextEnded(t *testing.T, db *bun.DB, newQueue func() queue.Queue) {
	mux, ran := logs()
	q := newQueue()
	insert(t, db, q, job{1})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, q.Work(ctx, mux))
	require.Empty(t, ran.sorted())
}

func queuesShareWork(t *testing.T, db *bun.DB, newQueue func() queue.Queue) {
	const jobs = 100
	var ran log
	var busy sync.WaitGroup // until each queue has something to do
	queues := []queue.Queue{newQueue(), newQueue()}
	for _, q := range queues {
		var mux queue.Mux
		busy.Add(1)
		first := sync.OnceFunc(busy.Done)
		queue.Handle(&mux, patience, func(_ context.Context, j job) error {
			first()
			busy.Wait()
			ran.add(j.N)
			return nil
		})
		work(t, q, &mux)
	}
	var all []queue.Job
	var want []int
	for i := range jobs {
		all, want = append(all, job{i}), append(want, i)
	}
	insert(t, db, queues[0], all...)
	eventually(t, func() bool { return len(ran.sorted()) >= jobs }, "all jobs run")
	require.Equal(t, want, ran.sorted(), "each job runs once")
}

func jobsWaitForWork(t *testing.T, db *bun.DB, newQueue func() queue.Queue) {
	q := newQueue()
	insert(t, db, q, job{1})
	mux, ran := logs()
	work(t, q, mux)
	eventually(t, ran.has(1), "what was inserted before Work runs")
}

func insertWithoutJobs(t *testing.T, db *bun.DB, newQueue func() queue.Queue) {
	insert(t, db, newQueue())
}

func insertTellsOfClosedTx(t *testing.T, db *bun.DB, newQueue func() queue.Queue) {
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	require.NoError(t, tx.Rollback())
	require.Error(t, newQueue().Insert(t.Context(), tx, job{1}))
}

func manyTransactionsAtOnce(t *testing.T, db *bun.DB, newQueue func() queue.Queue) {
	const transactions = 40
	mux, ran := logs()
	q := newQueue()
	work(t, q, mux)
	var all sync.WaitGroup
	errs := make([]error, transactions)
	for i := range transactions {
		all.Go(func() {
			errs[i] = db.RunInTx(t.Context(), nil, func(ctx context.Context, tx bun.Tx) error {
				err := q.Insert(ctx, tx, job{i})
				if i%2 == 1 && err == nil {
					err = context.Canceled
				}
				return err
			})
		})
	}
	all.Wait()
	var want []int
	for i, err := range errs {
		if i%2 == 0 {
			require.NoError(t, err)
			want = append(want, i)
		}
	}
	eventually(t, func() bool { return len(ran.sorted()) >= len(want) }, "what was committed runs")
	require.Equal(t, want, ran.sorted(), fmt.Sprintf("and only that: %d of %d", len(want), transactions))
}
