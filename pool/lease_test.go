package pool_test

import (
	"context"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/backend/fake"
	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/pool"
	"github.com/duffy-ci/duffy/queue"
	"github.com/duffy-ci/duffy/queue/queuetest"
)

// TestLeaseIsLostInTime has the database go away: work ends no later than others
// may take it over.
func TestLeaseIsLostInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d, err := db.Open(t.Context(), "sqlite://", db.Config{})
		require.NoError(t, err)
		require.NoError(t, d.Close())
		pools := pool.New(d.DB, nil, pool.ServiceConfig{Lease: 30 * time.Second})
		began := time.Now()
		held, release := pools.HoldLease(t.Context(), pool.NewOwner())
		defer release()
		<-held.Done()
		require.Equal(t, 30*time.Second, time.Since(began))
		require.ErrorIs(t, context.Cause(held), pool.ErrLeaseLost)
	})
}

// A worker is a process with a clock of its own, on a database that others use too.
type worker struct {
	db    *db.DB
	busy  atomic.Bool // the backend is at work
	pools *pool.Service
	mux   queue.Mux
	ahead atomic.Int64 // nanoseconds
}

func newWorker(t *testing.T, url string, jobs queue.Inserter, machines *fake.Backend) *worker {
	d, err := db.Open(t.Context(), url, db.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { d.Close() })
	_, _, err = db.Migrate(t.Context(), d)
	require.NoError(t, err)
	again := throwAway("a", 1)
	again.OnInterrupted = pool.OnInterruptedRetry
	set, err := pool.NewSet(again)
	require.NoError(t, err)
	w := &worker{db: d}
	w.pools = pool.New(d.DB, jobs, pool.ServiceConfig{
		Pools: set, Backends: map[string]backend.Backend{"fake": watched{machines, w}}, Contextualizer: machines,
		Now: func() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) },
	})
	w.pools.Handle(&w.mux)
	return w
}

// watched is a backend that tells whether it is at work for a worker.
type watched struct {
	*fake.Backend
	of *worker
}

func (w watched) Provision(ctx context.Context, req backend.Request) ([]backend.Node, error) {
	w.of.busy.Store(true)
	defer w.of.busy.Store(false)
	return w.Backend.Provision(ctx, req)
}

// TestClocksEndNoLease has a worker be at work on a node, and another one at hand, whose
// clocks are wrong and set: only when the first one is cut off does the other take over.
func TestClocksEndNoLease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		url := "sqlite:///" + filepath.Join(t.TempDir(), "duffy.db")
		jobs, machines := &queuetest.Recorder{}, fake.New()
		first, other := newWorker(t, url, jobs, machines), newWorker(t, url, jobs, machines)
		machines.Inject(fake.Fault{In: fake.Provision, Hang: true, Times: 1})
		require.NoError(t, first.pools.Fill(t.Context(), "a"))
		job := jobs.Jobs()[0]
		jobs.Lose()
		ctx, stop := context.WithCancel(t.Context())
		var work sync.WaitGroup
		defer work.Wait()
		defer stop() // or else it waits for its database
		work.Go(func() { _ = first.mux.Dispatch(ctx, job.Kind(), jsonOf(t, job)) })
		holder := func() string {
			nodes, err := other.pools.Nodes(t.Context())
			require.NoError(t, err)
			require.Len(t, nodes, 1)
			return nodes[0].LeaseOwner
		}
		synctest.Wait()
		owner := holder()
		require.NotEmpty(t, owner)
		require.True(t, first.busy.Load())
		for _, ahead := range []time.Duration{40 * time.Second, 5 * time.Minute, -5 * time.Minute, 24 * time.Hour, 0} {
			for _, w := range []*worker{other, first} {
				w.ahead.Store(int64(ahead))
				for range 6 {
					require.NoError(t, first.pools.Reconcile(t.Context()))
					require.NoError(t, other.pools.Reconcile(t.Context()))
					require.Equal(t, owner, holder(), "%s ahead", ahead)
					time.Sleep(10 * time.Second)
				}
			}
		}

		require.NoError(t, first.db.Close())
		cut := time.Now()
		for holder() == owner {
			require.NoError(t, other.pools.Reconcile(t.Context()))
			time.Sleep(min(10*time.Second, max(time.Millisecond, other.pools.NextAbandoned())))
			require.Less(t, time.Since(cut), 45*time.Second, "there is time left within a minute")
		}
		require.False(t, first.busy.Load(), "two are at work on the node")
		jobs.Run(t, &other.mux)
		require.Len(t, machines.Machines(), 1)
	})
}

// TestLockedNodeTakesNoWorker has somebody lock one of two nodes: the job for it does not
// wait, and it is provisioned later.
func TestLockedNodeTakesNoWorker(t *testing.T) {
	t.Parallel()
	d := dbtest.Postgres(t)
	l := newLab(t, d, throwAway("a", 2))
	require.NoError(t, l.pools.Fill(t.Context(), "a"))
	require.NoError(t, d.RunInTx(t.Context(), nil, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.ExecContext(ctx, "SELECT FROM nodes WHERE id = ? FOR UPDATE", l.nodes(pool.Provisioning)[0].ID)
		require.NoError(t, err)
		l.work() // which would wait for the end of this, or fail
		require.Len(t, l.nodes(pool.Ready), 1)
		return nil
	}))
	l.later(time.Minute)
	require.Len(t, l.nodes(pool.Ready), 2)
}
