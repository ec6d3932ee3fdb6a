package queuetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/queue"
)

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

func jobsWaitForWork(t *testing.T, db *bun.DB, newQueue func() queue.Queue) {
	q := newQueue()
	insert(t, db, q, job{1})
	mux, ran := logs()
	work(t, q, mux)
	eventually(t, ran.has(1), "what was inserted before Work runs")
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
