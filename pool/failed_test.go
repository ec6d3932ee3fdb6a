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
		err = l.pools.RetryNodes(t.Context(), failed[0].ID, ready)
		require.ErrorIs(t, err, fault.Invalid)
		require.ErrorContains(t, err, "is ready, not failed")
		require.ErrorIs(t, l.pools.RetireNodes(t.Context(), failed[0].ID, 4711), fault.NotFound)
		require.Len(t, l.nodes(pool.Failed), 2, "all or none")

		require.NoError(t, l.pools.RetryNodes(t.Context(), failed[0].ID))
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
		require.ErrorContains(t, l.pools.RetryNodes(t.Context(), failed[1].ID), "is done, not failed")
	})
}

// TestRetryOfNodeWhoseAddressIsTaken leaves it to the operator: to remove it could
// hit the other node.
func TestRetryOfNodeWhoseAddressIsTaken(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 2))
		l.later(0)
		nodes := l.nodes(pool.Ready)
		l.set(nodes[0].ID, "state = 'failed'", "hostname = '"+nodes[1].Hostname+"'")
		require.ErrorIs(t, l.pools.RetryNodes(t.Context(), nodes[0].ID), fault.Conflict)
		require.NoError(t, l.pools.RetireNodes(t.Context(), nodes[0].ID))
		l.later(time.Minute)
		require.Len(t, l.nodes(pool.Ready), 2)
	})
}
