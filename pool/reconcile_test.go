package pool_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/backend/fake"
	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/pool"
)

// TestWorkerDies leaves nodes the way a worker does that is killed while a
// backend runs.
func TestWorkerDies(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		retry := throwAway("retry", 1)
		retry.OnInterrupted = pool.OnInterruptedRetry
		l := newLab(t, d, throwAway("fail", 1), retry, throwAway("gone", 1))
		l.later(0)
		byPool := map[string]*pool.Node{}
		for _, n := range l.nodes(pool.Ready) {
			byPool[n.Pool] = n
		}
		lease := []string{"lease_owner = 'dead'", until(l.now.Add(time.Minute))}
		fresh := []string{"state = 'provisioning'", "ipaddr = NULL", "hostname = NULL", "data = '{}'"}
		l.set(byPool["fail"].ID, append(lease, fresh...)...)
		l.set(byPool["retry"].ID, append(lease, fresh...)...)
		l.set(byPool["gone"].ID, append(lease, "state = 'deprovisioning'")...)

		l.later(30 * time.Second)
		require.Len(t, l.nodes(pool.Provisioning), 2, "a lease that lasts is respected")
		l.later(45 * time.Second)
		require.Empty(t, l.nodes(pool.Provisioning))
		require.Empty(t, l.nodes(pool.Deprovisioning))
		failed := l.nodes(pool.Failed)
		require.Len(t, failed, 1)
		require.Equal(t, byPool["fail"].ID, failed[0].ID)
		require.Contains(t, failed[0].Reason(), "interrupted")
		for _, name := range []string{"fail", "retry", "gone"} {
			require.Equal(t, 1, l.levels(name)[pool.Ready], name)
		}
		n, err := l.pools.Node(t.Context(), byPool["retry"].ID)
		require.NoError(t, err)
		require.Equal(t, pool.Ready, n.State, "the same node was tried again")
		n, err = l.pools.Node(t.Context(), byPool["gone"].ID)
		require.NoError(t, err)
		require.Equal(t, pool.Done, n.State)
	})
}

// TestInterruptedAndThenFailed keeps a node of which an instance may exist visible,
// whatever becomes of later attempts at it and of other nodes.
func TestInterruptedAndThenFailed(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		retry := throwAway("retry", 1)
		retry.OnInterrupted = pool.OnInterruptedRetry
		l := newLab(t, d, retry)
		l.later(0)
		interrupted := l.nodes(pool.Ready)[0].ID
		l.set(interrupted, "state = 'provisioning'", "ipaddr = NULL", "hostname = NULL", "data = '{}'",
			"lease_owner = 'dead'", until(l.now))
		l.machines.Inject(fake.Fault{In: fake.Provision, Err: errNoCapacity})
		for range 30 {
			l.later(time.Minute)
		}
		n, err := l.pools.Node(t.Context(), interrupted)
		require.NoError(t, err)
		require.Equal(t, pool.Failed, n.State)
		require.Equal(t, "provisioning was interrupted, an instance of it may exist: "+errNoCapacity.Error(), n.Reason())
	})
}

// TestDuffy3WasProvisioning leaves nodes the way Duffy 3 does when it is stopped.
func TestDuffy3WasProvisioning(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		retry := throwAway("retry", 1)
		retry.OnInterrupted = pool.OnInterruptedRetry
		reuse := throwAway("reuse", 1)
		reuse.ReuseNodes = map[string]any{"arch": "x86_64"}
		l := newLab(t, d, throwAway("fail", 1), retry, reuse)
		for _, name := range []string{"fail", "retry", "reuse", "unknown"} {
			_, err := d.ExecContext(t.Context(), `INSERT INTO nodes (state, pool, reusable, data)
				VALUES ('provisioning', ?, ?, '{"arch": "x86_64"}')`, name, name == "reuse")
			require.NoError(t, err)
		}
		ids := map[string]int64{}
		for _, n := range l.nodes(pool.Provisioning) {
			ids[n.Pool] = n.ID
		}
		require.NoError(t, l.pools.Reconcile(t.Context()))
		l.work()
		require.Empty(t, l.machines.Machines(), "none is provisioned as if it were new")

		l.later(time.Minute)
		for name, want := range map[string]pool.State{
			"fail": pool.Failed, "retry": pool.Ready, "reuse": pool.Ready, "unknown": pool.Failed,
		} {
			n, err := l.pools.Node(t.Context(), ids[name])
			require.NoError(t, err)
			require.Equal(t, want, n.State, name)
			if want == pool.Failed {
				require.Contains(t, n.Reason(), "provisioning was interrupted", name)
			}
		}
		require.Equal(t, 1, l.levels("fail")[pool.Ready], "another one takes its place")
	})
}

// TestLateResult has a worker come back after its node was given up: what it
// brings is cleaned up.
func TestLateResult(t *testing.T) {
	t.Parallel()
	t.Run("whole", func(t *testing.T) {
		t.Parallel()
		testLateResult(t, func(*backend.Node) {})
	})
	t.Run("half-made", func(t *testing.T) {
		t.Parallel()
		testLateResult(t, func(n *backend.Node) { n.IPAddr, n.Hostname = "", "" })
	})
}

func testLateResult(t *testing.T, change func(*backend.Node)) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 1))
		release := make(chan struct{})
		l.machines.Inject(fake.Fault{In: fake.Provision, Times: 1, Change: func(n *backend.Node) {
			<-release
			change(n)
		}})
		require.NoError(t, l.pools.Fill(t.Context(), "a"))
		done := make(chan struct{})
		go func() {
			defer close(done)
			l.work()
		}()
		require.Eventually(t, func() bool { return len(l.machines.Machines()) == 1 }, 10*time.Second, 10*time.Millisecond)
		lost := l.machines.Machines()[0].ID
		require.NoError(t, l.pools.Reconcile(t.Context()))
		l.now = l.now.Add(time.Minute) // in which the lease is not renewed, by the clock of this test
		require.NoError(t, l.pools.Reconcile(t.Context()))
		require.Len(t, l.nodes(pool.Failed), 1)
		close(release)
		<-done

		l.later(time.Minute)
		_, exists := l.machines.Machine(lost)
		require.False(t, exists, "the machine that nobody waited for is gone")
		require.Empty(t, l.nodes(pool.Failed))
		require.Len(t, l.nodes(pool.Ready), 1)
	})
}

// TestShutdownHandsBack ends a worker's context while a backend runs, in whatever way
// contexts end.
func TestShutdownHandsBack(t *testing.T) {
	t.Parallel()
	for name, until := range map[string]func(context.Context) (ctx context.Context, shutDown func()){
		"cause": func(ctx context.Context) (context.Context, func()) {
			ctx, cancel := context.WithCancelCause(ctx)
			return ctx, func() { cancel(errors.New("the queue's own reason")) }
		},
		"deadline": func(ctx context.Context) (context.Context, func()) {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			return ctx, func() { <-ctx.Done(); cancel() }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dbtest.Each(t, func(t *testing.T, d *db.DB) {
				c := throwAway("a", 1)
				c.OnInterrupted = pool.OnInterruptedRetry
				l := newLab(t, d, c)
				l.machines.Inject(fake.Fault{In: fake.Provision, Hang: true, Times: 1})
				require.NoError(t, l.pools.Fill(t.Context(), "a"))
				ctx, shutDown := until(t.Context())
				done := make(chan error, 1)
				go func() {
					job := l.jobs.Jobs()[0]
					payload := jsonOf(t, job)
					done <- l.mux.Dispatch(ctx, job.Kind(), payload)
				}()
				require.Eventually(t, func() bool { return len(l.machines.Calls()) == 1 }, 10*time.Second, 10*time.Millisecond)
				shutDown()
				require.NoError(t, <-done)
				require.Empty(t, l.nodes(pool.Failed))
				require.Zero(t, l.trouble("a").Failures, "it is not the pool's fault")
				l.work()
				require.Len(t, l.nodes(pool.Ready), 1)
			})
		})
	}
}

// TestJobIsLate has a node come to another pool before a job is run that was for
// the pool that it was in.
func TestJobIsLate(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 1), throwAway("b", 1))
		require.NoError(t, l.pools.Fill(t.Context(), "a"))
		n := l.nodes(pool.Provisioning)[0]
		l.set(n.ID, "pool = 'b'")
		l.work()
		require.Empty(t, l.machines.Machines(), "it is not provisioned as one of the other pool")
		l.later(time.Minute)
		n, err := l.pools.Node(t.Context(), n.ID)
		require.NoError(t, err)
		require.Equal(t, pool.Ready, n.State)
	})
}

// slow is a backend that makes a machine and is stopped before it can be used.
type slow struct{ *fake.Backend }

func (s slow) Provision(ctx context.Context, req backend.Request) ([]backend.Node, error) {
	nodes, err := s.Backend.Provision(ctx, req)
	if err != nil {
		return nil, err
	}
	<-ctx.Done()
	for i := range nodes {
		nodes[i].IPAddr = ""
	}
	return nodes, ctx.Err()
}

// TestShutdownKeepsWhatIsKnown has the machine that a stopped backend told of
// cleaned up.
func TestShutdownKeepsWhatIsKnown(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 1))
		l.backends["fake"] = slow{l.machines}
		require.NoError(t, l.pools.Fill(t.Context(), "a"))
		job := l.jobs.Jobs()[0]
		payload := jsonOf(t, job)
		ctx, shutDown := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- l.mux.Dispatch(ctx, job.Kind(), payload) }()
		require.Eventually(t, func() bool { return len(l.machines.Machines()) == 1 }, 10*time.Second, 10*time.Millisecond)
		made := l.machines.Machines()[0].ID
		shutDown()
		require.NoError(t, <-done)
		require.Len(t, l.nodes(pool.Failed), 1)

		l.backends["fake"] = l.machines
		l.later(time.Minute)
		_, exists := l.machines.Machine(made)
		require.False(t, exists, "nothing leaks")
		require.Empty(t, l.nodes(pool.Failed))
		require.Len(t, l.nodes(pool.Ready), 1)
	})
}

func TestLostJobs(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 2))
		require.NoError(t, l.pools.Fill(t.Context(), "a"))
		l.jobs.Lose()
		l.later(10 * time.Second)
		require.Len(t, l.nodes(pool.Provisioning), 2, "the workers may just be busy")
		l.later(30 * time.Second)
		require.Len(t, l.nodes(pool.Ready), 2)
	})
}

// TestDatabaseClockGoesBack has the clock of the database be set back while pools and
// nodes rest after failures and jobs wait: nobody rests until it is that late again.
func TestDatabaseClockGoesBack(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		again := throwAway("again", 1)
		again.ReuseNodes = map[string]any{"arch": "x86_64"}
		l := newLab(t, d, throwAway("a", 1), throwAway("b", 1), again)
		_, err := l.pools.CreateNode(t.Context(), pool.Node{Reusable: true, Data: pool.Data{"arch": "x86_64"}})
		require.NoError(t, err)
		l.machines.Inject(fake.Fault{In: fake.Provision, Change: func(n *backend.Node) { n.IPAddr, n.Hostname = "", "" }, Times: 1})
		require.NoError(t, l.pools.Fill(t.Context(), "a")) // of which one is left that has to be cleaned up
		l.work()
		require.NoError(t, l.pools.Fill(t.Context(), "b"))
		l.work()
		l.machines.Inject(fake.Fault{In: fake.Deprovision, Err: fake.ErrUnreachable})
		l.reclaim(pool.Ready, l.nodes(pool.Ready)[0].ID)
		l.work()
		l.machines.Inject(fake.Fault{In: fake.Provision, Err: errNoCapacity})
		l.later(time.Minute)
		l.later(time.Minute)
		require.NoError(t, l.pools.Fill(t.Context(), "again"))
		l.jobs.Lose()

		l.machines.Heal()
		l.now = l.now.Add(-24 * time.Hour)
		for range 12 {
			l.later(10 * time.Second)
		}
		for _, name := range []string{"a", "b", "again"} {
			require.Equal(t, map[pool.State]int{pool.Ready: 1}, l.working(name), name)
		}
		require.Len(t, l.machines.Machines(), 3)
	})
}

// working counts the nodes of a pool that are not failed.
func (l *lab) working(name string) map[pool.State]int {
	l.Helper()
	levels := l.levels(name)
	delete(levels, pool.Failed)
	return levels
}
