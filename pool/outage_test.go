package pool_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/backend/fake"
	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/pool"
)

// TestDatabaseIsAwayWhenRunsEnd has PostgreSQL be away just when backends tell what they
// made, or removed: that is written down once it is back.
func TestDatabaseIsAwayWhenRunsEnd(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(n *backend.Node){
		"whole": func(*backend.Node) {}, "half-made": func(n *backend.Node) { n.IPAddr = "" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, p := newBreakableLab(t)
			l.machines.Inject(fake.Fault{In: fake.Provision, Times: 1, Change: func(n *backend.Node) {
				p.Break()
				change(n)
			}})
			l.machines.Inject(fake.Fault{In: fake.Deprovision, Times: 1, Change: func(*backend.Node) { p.Break() }})
			require.NoError(t, l.pools.Fill(t.Context(), "a"))
			l.mendLater(p, 3*time.Second)
			l.work()
			require.Equal(t, name == "whole", l.levels("a")[pool.Ready] == 1)
			l.mendLater(p, time.Second)
			l.later(10 * time.Second)
			for _, n := range l.nodes(pool.Ready) {
				l.reclaim(pool.Ready, n.ID)
			}
			l.work()
			l.later(time.Minute)
			require.Equal(t, map[pool.State]int{pool.Ready: 1}, l.levels("a"))
			require.Len(t, l.machines.Machines(), 1, "nothing leaks")
		})
	}
}

// TestAnswerOfDatabaseIsLost breaks the connection after commits of a worker.
func TestAnswerOfDatabaseIsLost(t *testing.T) {
	t.Parallel()
	for name, statement := range map[string]string{
		"a lease": "SET lease_owner = ", "a ready node": "state = 'ready'", "a failed node": "state = 'failed'",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, p := newBreakableLab(t)
			if name == "a failed node" {
				l.machines.Inject(fake.Fault{In: fake.Provision, Times: 1, Change: func(n *backend.Node) { n.IPAddr = "" }})
			}
			require.NoError(t, l.pools.Fill(t.Context(), "a"))
			p.LoseAnswerAfter(statement, "commit")
			l.mendLater(p, 0)
			l.work()
			require.False(t, p.Broken())
			require.Equal(t, name == "a failed node", l.trouble("a").Failures == 1)
			l.later(time.Minute)
			require.Equal(t, map[pool.State]int{pool.Ready: 1}, l.levels("a"))
			require.Len(t, l.machines.Machines(), 1)
		})
	}
}

// TestWorkerStopsWhileDatabaseIsAway writes down what a run told after its worker was told to
// stop, as long as that may take.
func TestWorkerStopsWhileDatabaseIsAway(t *testing.T) {
	t.Parallel()
	l, p := newBreakableLab(t)
	require.NoError(t, l.pools.Fill(t.Context(), "a"))
	ctx, stop := context.WithCancel(t.Context())
	l.machines.Inject(fake.Fault{In: fake.Provision, Times: 1, Change: func(*backend.Node) {
		p.Break()
		stop()
	}})
	l.mendLater(p, time.Second)
	job := l.jobs.Jobs()[0]
	require.NoError(t, l.mux.Dispatch(ctx, job.Kind(), jsonOf(t, job)))
	require.Equal(t, 1, l.levels("a")[pool.Ready])
}

// newBreakableLab returns a lab on PostgreSQL with a pool of one node, and its way there.
func newBreakableLab(t *testing.T) (*lab, *dbtest.Proxy) {
	p := dbtest.NewProxy(t)
	d, err := db.Open(t.Context(), p.URL(), db.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	_, _, err = db.Migrate(t.Context(), d)
	require.NoError(t, err)
	return newLab(t, d, throwAway("a", 1)), p
}

// mendLater mends a way to the database a while after it breaks.
func (l *lab) mendLater(p *dbtest.Proxy, after time.Duration) {
	go func() {
		for !p.Broken() && l.Context().Err() == nil {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(after)
		p.Mend()
	}()
}
