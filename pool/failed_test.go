package pool_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/backend/fake"
	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/internal/fault"
	"github.com/duffy-ci/duffy/pool"
)

func TestFailedNodesAreRetriedAndRetired(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 3))
		l.machines.Inject(fake.Fault{In: fake.Provision, Err: errNoCapacity, Times: 2})
		l.later(0)
		failed, err := l.pools.Failed(t.Context())
		require.NoError(t, err)
		require.Len(t, failed, 2)
		require.Equal(t, errNoCapacity.Error(), failed[0].Reason())

		ready := l.nodes(pool.Ready)[0].ID
		err = l.pools.RetryNodes(t.Context(), true, failed[0].ID, ready)
		require.ErrorIs(t, err, fault.Invalid)
		require.ErrorContains(t, err, "is ready, not failed")
		require.ErrorIs(t, l.pools.RetireNodes(t.Context(), failed[0].ID, 4711), fault.NotFound)
		require.Len(t, l.nodes(pool.Failed), 2, "all or none")

		require.NoError(t, l.pools.RetryNodes(t.Context(), true, failed[0].ID))
		l.work()
		require.NoError(t, l.pools.RetireNodes(t.Context(), failed[1].ID))
		require.Empty(t, l.nodes(pool.Failed))
		require.Empty(t, l.nodes(pool.Deprovisioning))
		for _, n := range failed {
			n, err := l.pools.Node(t.Context(), n.ID)
			require.NoError(t, err)
			require.Equal(t, pool.Done, n.State)
			require.False(t, n.Active())
		}
		require.ErrorContains(t, l.pools.RetryNodes(t.Context(), false, failed[1].ID), "is done, not failed")
	})
}

// TestRetryOfNodeWhoseAddressIsTaken refuses what could remove the machine of another node.
func TestRetryOfNodeWhoseAddressIsTaken(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 3))
		l.later(0)
		nodes := l.nodes(pool.Ready)
		taken := []string{"state = 'failed'", "hostname = '" + nodes[1].Hostname + "'", "ipaddr = '" + nodes[1].IPAddr + "'"}
		l.set(nodes[0].ID, append(taken, "data = (SELECT data FROM nodes WHERE id = 2)")...)
		err := l.pools.RetryNodes(t.Context(), false, nodes[0].ID)
		require.ErrorIs(t, err, fault.Conflict)
		require.ErrorContains(t, err, "node 2, which is ready")
		require.NoError(t, l.pools.RetireNodes(t.Context(), nodes[0].ID))

		l.set(nodes[2].ID, taken...)
		require.NoError(t, l.pools.RetryNodes(t.Context(), false, nodes[2].ID), "its machine is another one")
		l.later(time.Minute)
		require.Len(t, l.nodes(pool.Ready), 3)
		_, exists := l.machines.Machine(nodes[2].ID)
		require.False(t, exists)
		_, exists = l.machines.Machine(nodes[1].ID)
		require.True(t, exists)
	})
}

// TestNothingKnown keeps a backend from being told nothing, which some take for everything,
// whichever way a node came to be deprovisioned.
func TestNothingKnown(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		byID, metal := throwAway("by-id", 1), throwAway("metal", 1)
		byID.OnInterrupted = pool.OnInterruptedRetry
		metal.ReuseNodes = map[string]any{"arch": "x86_64"}
		l := newLab(t, d, throwAway("a", 3), byID, metal)
		_, err := l.pools.CreateNode(t.Context(), pool.Node{Reusable: true, Data: pool.Data{"arch": "x86_64"}})
		require.NoError(t, err)
		l.later(0)
		byPool := map[string][]int64{}
		for _, n := range l.nodes(pool.Ready) {
			byPool[n.Pool] = append(byPool[n.Pool], n.ID)
		}
		interrupted := byPool["a"][0]
		l.set(interrupted, "state = 'failed'", "ipaddr = NULL", "hostname = NULL", `data = '{"error": {"interrupted": true}}'`)
		err = l.pools.RetryNodes(t.Context(), false, interrupted)
		require.ErrorIs(t, err, fault.Invalid)
		require.ErrorContains(t, err, "nothing is known of its machine")
		require.ErrorContains(t, err, "on-interrupted")

		for _, id := range byPool["a"][1:] {
			l.set(id, "data = '{}'")
		}
		l.reclaim(pool.Ready, byPool["a"][1])
		l.set(byPool["a"][2], "state = 'deprovisioning'", "state_since = NULL")
		before := len(l.machines.Calls())
		l.later(time.Minute)
		for _, call := range l.machines.Calls()[before:] {
			require.NotEqual(t, fake.Deprovision, call.Op, "%v", call.Nodes)
		}
		for _, id := range byPool["a"][1:] {
			n, err := l.pools.Node(t.Context(), id)
			require.NoError(t, err)
			require.Equal(t, pool.Failed, n.State)
			require.Contains(t, n.Reason(), "nothing is known of its machine")
		}

		require.NoError(t, l.pools.RetryNodes(t.Context(), true, byPool["a"]...))
		for _, id := range []int64{byPool["by-id"][0], byPool["metal"][0]} {
			l.set(id, "state = 'failed'", `data = '{"arch": "x86_64"}'`)
			require.NoError(t, l.pools.RetryNodes(t.Context(), false, id))
		}
		l.machines.Inject(fake.Fault{In: fake.Deprovision, Times: 1, Err: errNoCapacity})
		for range 3 {
			l.later(time.Minute)
		}
		require.Empty(t, l.nodes(pool.Failed))
		for _, id := range byPool["a"] {
			_, exists := l.machines.Machine(id)
			require.False(t, exists, "node %d was forced", id)
		}
	})
}
