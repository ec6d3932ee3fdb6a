package pool_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/backend/fake"
	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/pool"
)

// requireOwned requires that each machine is one of an active node, and that nodes which
// failed are to be cleaned up.
func (l *lab) requireOwned() {
	l.Helper()
	for _, m := range l.machines.Machines() {
		n, err := l.pools.Node(l.Context(), m.ID)
		require.NoError(l, err)
		require.True(l, n.Active(), "node %d is %s", n.ID, n.State)
		require.False(l, n.State == pool.Failed && n.RetryAt == nil, "node %d: %s", n.ID, n.Reason())
	}
}

// TestOneAddressForAll has a backend tell the same address of each of its machines.
func TestOneAddressForAll(t *testing.T) {
	t.Parallel()
	const address = "192.0.2.1"
	for name, change := range map[string]func(n *backend.Node){
		"and different data": func(n *backend.Node) { n.IPAddr = address },
		"and the same data": func(n *backend.Node) {
			n.IPAddr, n.Provision = address, map[string]any{"ipaddr": address}
		},
		"and no data": func(n *backend.Node) { n.IPAddr, n.Provision = address, nil },
	} {
		for _, together := range []bool{false, true} {
			if together {
				name += ", together"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				dbtest.Each(t, func(t *testing.T, d *db.DB) {
					c := throwAway("a", 2)
					c.Together = together
					l := newLab(t, d, c)
					count := l.measure()
					l.machines.Inject(fake.Fault{In: fake.Provision, Change: change})
					for range 60 {
						l.later(10 * time.Second)
						l.requireOwned()
						require.LessOrEqual(t, len(l.machines.Machines()), 3)
					}
					require.Equal(t, 1, l.levels("a")[pool.Ready])
					provisioned := 0
					for _, call := range l.machines.Calls() {
						if call.Op == fake.Provision {
							provisioned++
						}
					}
					require.Less(t, provisioned, 25, "one try in 30 s")
					trouble := l.trouble("a")
					require.NotZero(t, trouble.Failures)
					require.Contains(t, trouble.LastError, "ipaddr "+address+" is the one of node ")
					require.NotZero(t, count("duffy_nodes_failed_total", "a", "provisioning"))

					l.machines.Heal()
					l.reclaim(pool.Ready, l.nodes(pool.Ready)[0].ID)
					for range 12 {
						l.later(10 * time.Second)
					}
					require.Equal(t, 2, l.levels("a")[pool.Ready])
					require.Zero(t, l.levels("a")[pool.Failed])
					require.Len(t, l.machines.Machines(), 2, "nothing leaks")
				})
			})
		}
	}
}

// TestOneNameForAll has a backend call all machines the same, which is no failure.
func TestOneNameForAll(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := throwAway("a", 3)
		c.Together = true
		l := newLab(t, d, c)
		l.machines.Inject(fake.Fault{In: fake.Provision, Change: func(n *backend.Node) { n.Hostname = "localhost.test" }})
		l.later(0)
		nodes := l.nodes(pool.Ready)
		require.Len(t, nodes, 3)
		require.Equal(t, "localhost.test", nodes[0].Hostname)
		for _, n := range nodes[1:] {
			require.Equal(t, n.IPAddr, n.Hostname)
		}
		for _, n := range nodes {
			l.reclaim(pool.Ready, n.ID)
		}
		l.work()
		l.later(time.Minute)
		require.Equal(t, map[pool.State]int{pool.Ready: 3}, l.levels("a"))
		require.Len(t, l.machines.Machines(), 3)
	})
}

// TestAddressIsGivenOutAgain has a cloud give an address to a new machine while Duffy still
// tries to remove the last one that had it.
func TestAddressIsGivenOutAgain(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 1))
		l.later(0)
		old := l.nodes(pool.Ready)[0]
		l.machines.Inject(fake.Fault{In: fake.Deprovision, Node: old.ID, Err: errNoCapacity})
		l.machines.Inject(fake.Fault{In: fake.Provision, Change: func(n *backend.Node) { n.IPAddr = old.IPAddr }})
		l.reclaim(pool.Ready, old.ID)
		l.later(10 * time.Second)
		for range 6 {
			l.later(10 * time.Second)
			waiting := l.nodes(pool.Provisioning)
			require.Len(t, waiting, 1)
			require.Contains(t, waiting[0].Reason(), "waiting for its machine to be removed")
			require.Len(t, l.machines.Machines(), 2, "no more are made meanwhile")
		}
		l.machines.Heal()
		for range 6 {
			l.later(10 * time.Second)
		}
		ready := l.nodes(pool.Ready)
		require.Len(t, ready, 1)
		require.Equal(t, old.IPAddr, ready[0].IPAddr)
		require.NotEqual(t, old.ID, ready[0].ID)
		require.Empty(t, ready[0].Reason())
		require.Len(t, l.machines.Machines(), 1)
	})
}

// TestOthersMoveNodeThatWaits has somebody's SQL fail a node that waits for its address.
func TestOthersMoveNodeThatWaits(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 1))
		l.later(0)
		old := l.nodes(pool.Ready)[0]
		l.machines.Inject(fake.Fault{In: fake.Deprovision, Node: old.ID, Times: 3, Err: errNoCapacity})
		l.machines.Inject(fake.Fault{In: fake.Provision, Times: 1, Change: func(n *backend.Node) { n.IPAddr = old.IPAddr }})
		l.reclaim(pool.Ready, old.ID)
		l.later(10 * time.Second)
		l.set(l.nodes(pool.Provisioning)[0].ID, "state = 'failed'")
		for range 30 {
			l.later(10 * time.Second)
		}
		require.Equal(t, map[pool.State]int{pool.Ready: 1}, l.levels("a"))
		require.Len(t, l.machines.Machines(), 1)
	})
}

// TestAddressIsNeverGivenBack does not wait for ever.
func TestAddressIsNeverGivenBack(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 1))
		l.later(0)
		old := l.nodes(pool.Ready)[0]
		l.machines.Inject(fake.Fault{In: fake.Deprovision, Node: old.ID, Err: errNoCapacity})
		l.machines.Inject(fake.Fault{In: fake.Provision, Times: 1, Change: func(n *backend.Node) { n.IPAddr = old.IPAddr }})
		l.reclaim(pool.Ready, old.ID)
		for range 200 {
			l.later(10 * time.Second)
			l.requireOwned()
		}
		require.Equal(t, 1, l.levels("a")[pool.Ready], "another one was made")
		require.Len(t, l.machines.Machines(), 2, "the one that waited was removed")
	})
}

// TestCleanUpMeetsTakenAddress removes the machine of a failed node although another node has
// its address, but not while a tenant is on it.
func TestCleanUpMeetsTakenAddress(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 2))
		l.later(0)
		nodes := l.nodes(pool.Ready)
		bad, holder := nodes[0], nodes[1]
		l.set(holder.ID, "state = 'deployed'")
		l.set(bad.ID, "state = 'failed'", "retry_at = '2001-01-01 00:00:00'", "ipaddr = '"+holder.IPAddr+"'")
		l.later(time.Minute)
		_, exists := l.machines.Machine(bad.ID)
		require.True(t, exists, "the tenant's machine could be meant")
		for _, call := range l.machines.Calls() {
			require.NotContains(t, []fake.Op{fake.Deprovision, fake.Decontextualize}, call.Op)
		}

		l.reclaim(pool.Deployed, holder.ID)
		for range 3 {
			l.later(10 * time.Second)
		}
		_, exists = l.machines.Machine(bad.ID)
		require.False(t, exists)
		_, exists = l.machines.Machine(holder.ID)
		require.False(t, exists)
		require.Empty(t, l.nodes(pool.Failed))
	})
}
