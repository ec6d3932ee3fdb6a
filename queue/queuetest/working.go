package queuetest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/queue"
)

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
		ended <- errors.Join(ctx.Err(), context.Cause(ctx))
		return ctx.Err()
	})
	q := newQueue()
	work(t, q, mux)
	insert(t, db, q, other{})
	err := <-ended
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, err, queue.ErrTimeout)
	insert(t, db, q, job{1})
	eventually(t, ran.has(1), "other jobs run")
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

// workEndsWithItsContext has the context of Work end in the ways that contexts may.
func workEndsWithItsContext(t *testing.T, db *bun.DB, newQueue func() queue.Queue) {
	for name, until := range map[string]func(context.Context) (ctx context.Context, end func()){
		"deadline": func(ctx context.Context) (context.Context, func()) {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			return ctx, func() { <-ctx.Done(); cancel() }
		},
		"deadline with a cause": func(ctx context.Context) (context.Context, func()) {
			ctx, cancel := context.WithTimeoutCause(ctx, time.Second, errors.New("enough"))
			return ctx, func() { <-ctx.Done(); cancel() }
		},
		"cancelled with a cause": func(ctx context.Context) (context.Context, func()) {
			ctx, cancel := context.WithCancelCause(ctx)
			return ctx, func() { cancel(errors.New("the program's own reason")) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, end := until(context.WithoutCancel(t.Context()))
			mux, ran := logs()
			ended := make(chan error, 100) // of what was interrupted, and runs again, too
			queue.Handle(mux, 10*patience, func(ctx context.Context, _ other) error {
				ran.add(1)
				<-ctx.Done()
				ended <- context.Cause(ctx)
				return ctx.Err()
			})
			q := newQueue()
			insert(t, db, q, other{})
			returned := make(chan error, 1)
			go func() { returned <- q.Work(ctx, mux) }()
			eventually(t, ran.has(1), "a handler runs")
			end()
			select {
			case err := <-returned:
				require.NoError(t, err)
			case <-time.After(patience):
				require.FailNow(t, "Work does not return")
			}
			require.NotErrorIs(t, <-ended, queue.ErrTimeout, "it was interrupted")
			insert(t, db, q, job{2})
			work(t, newQueue(), mux)
			eventually(t, ran.has(2), "another Queue works on")
		})
	}
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
