// Package queuetest has the suite that every [queue.Queue] passes, and a
// [Recorder] for tests of what works with queues.
package queuetest

import (
	"context"
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

// Run has an engine pass the suite, and what is asked of a [queue.Inspector] if it
// is one. open returns a new database and makes Queues in it, each as another
// process would. They should have less than 50 slots for jobs, and a shutdown
// timeout of a few seconds.
func Run(t *testing.T, open func(t *testing.T) (db *bun.DB, newQueue func() queue.Queue)) {
	for name, test := range map[string]func(*testing.T, *bun.DB, func() queue.Queue){
		"CommittedJobsRun":          committedJobsRun,
		"RolledBackJobNeverRuns":    rolledBackJobNeverRuns,
		"JobWaitsForCommit":         jobWaitsForCommit,
		"DelayedJobWaits":           delayedJobWaits,
		"LongJobsHoldUpNoOthers":    longJobsHoldUpNoOthers,
		"FailuresHoldUpNoOthers":    failuresHoldUpNoOthers,
		"TimeoutEndsContext":        timeoutEndsContext,
		"WorkWaitsForHandlers":      workWaitsForHandlers,
		"WorkInterruptsHandlers":    workInterruptsHandlers,
		"WorkAfterItsContextEnded":  workAfterItsContextEnded,
		"WorkEndsWithItsContext":    workEndsWithItsContext,
		"QueuesShareWork":           queuesShareWork,
		"JobsWaitForWork":           jobsWaitForWork,
		"InsertWithoutJobsIsNoJob":  insertWithoutJobs,
		"InsertTellsOfClosedTx":     insertTellsOfClosedTx,
		"ManyTransactionsAtOnceRun": manyTransactionsAtOnce,
		"InspectTellsWhatWaits":     inspectTellsWhatWaits,
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
	unknown struct{}
	delayed struct {
		N  int
		At time.Time
	}
	long struct{ N int }
)

func (job) Kind() string               { return "queuetest.job" }
func (other) Kind() string             { return "queuetest.other" }
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
