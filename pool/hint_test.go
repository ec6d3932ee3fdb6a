package pool_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/backend/fake"
	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/pool"
	"github.com/duffy-ci/duffy/queue"
	"github.com/duffy-ci/duffy/queue/queuetest"
)

// telling is a queue that tells how many jobs wait.
type telling struct{ *queuetest.Recorder }

func (q telling) Inspect(context.Context) (queue.Load, error) {
	var load queue.Load
	for _, job := range q.Jobs() {
		if _, long := job.(queue.Long); long {
			load.Long.Waiting++
		}
	}
	return load, nil
}

func (q telling) long() int {
	load, _ := q.Inspect(context.Background())
	return load.Long.Waiting
}

// TestJobsDoNotPileUp has nodes wait for workers that are busy.
func TestJobsDoNotPileUp(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 40))
		q := telling{l.jobs}
		l.pools = pool.New(d.DB, q, pool.ServiceConfig{
			Pools: l.pools.Pools(), Backends: l.backends, Now: func() time.Time { return l.now }, Elapsed: l.elapsed, Lease: time.Minute,
		})
		l.mux = queue.Mux{}
		l.pools.Handle(&l.mux)
		require.NoError(t, l.pools.Fill(t.Context(), "a"))
		for range 60 {
			l.now = l.now.Add(10 * time.Second)
			require.NoError(t, l.pools.Reconcile(t.Context()))
			require.Equal(t, 40, q.long())
		}
		l.jobs.Lose()
		l.now = l.now.Add(10 * time.Second)
		require.NoError(t, l.pools.Reconcile(t.Context()))
		require.Equal(t, 40, q.long(), "jobs that were lost come back")
		l.work()
		require.Equal(t, 40, l.levels("a")[pool.Ready])
	})
}

// TestLostJobsOfNodesThatRunTogether has nodes of a pool be provisioned together after their job
// was lost, or its worker has died.
func TestLostJobsOfNodesThatRunTogether(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := throwAway("a", 3)
		c.Together, c.OnInterrupted = true, pool.OnInterruptedRetry
		l := newLab(t, d, c)
		requireTogether := func(op fake.Op) {
			t.Helper()
			calls := l.machines.Calls()
			require.Equal(t, op, calls[len(calls)-1].Op)
			require.Len(t, calls[len(calls)-1].Nodes, 3)
		}
		require.NoError(t, l.pools.Fill(t.Context(), "a"))
		l.jobs.Lose()
		l.later(time.Minute)
		requireTogether(fake.Provision)

		nodes := l.nodes(pool.Ready)
		for _, n := range nodes {
			l.set(n.ID, "state = 'provisioning'", "data = '{}'", "lease_owner = 'dead'", until(l.now))
		}
		l.later(time.Minute)
		requireTogether(fake.Provision)
		for _, n := range nodes {
			l.set(n.ID, "state = 'deprovisioning'", "lease_owner = 'dead'", until(l.now))
		}
		l.jobs.Lose()
		deprovisioned := 0
		l.later(time.Minute)
		for _, call := range l.machines.Calls() {
			if call.Op == fake.Deprovision {
				deprovisioned++
				require.Len(t, call.Nodes, 3)
			}
		}
		require.Equal(t, 1, deprovisioned)
	})
}
