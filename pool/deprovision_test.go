package pool_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/backend/fake"
	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/pool"
)

func TestDeprovisioningIsRetried(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 1))
		l.later(0)
		n := l.nodes(pool.Ready)[0]
		l.machines.Inject(fake.Fault{In: fake.Deprovision, Err: errNoCapacity, Times: 3})
		l.reclaim(pool.Ready, n.ID)
		l.work()
		waiting := l.nodes(pool.Deprovisioning)
		require.Len(t, waiting, 1)
		require.Equal(t, "a", waiting[0].Pool, "what it takes to try again is kept")
		require.Contains(t, waiting[0].Data, "provision")
		require.Equal(t, errNoCapacity.Error(), waiting[0].Reason())
		for range 12 {
			l.later(10 * time.Second)
		}
		require.Empty(t, l.nodes(pool.Deprovisioning))
		_, exists := l.machines.Machine(n.ID)
		require.False(t, exists)
		require.Len(t, l.nodes(pool.Ready), 1)
	})
}

func TestDeprovisioningIsGivenUpForAWhile(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 1))
		l.later(0)
		n := l.nodes(pool.Ready)[0]
		l.machines.Inject(fake.Fault{In: fake.Deprovision, Missing: 1})
		l.reclaim(pool.Ready, n.ID)
		for len(l.nodes(pool.Failed)) == 0 {
			l.later(time.Minute)
		}
		failed := l.nodes(pool.Failed)
		require.Equal(t, "deprovisioning failed 60 times, the last time: the backend deprovisioned 0 of 1 nodes", failed[0].Reason())
		require.Equal(t, "a", failed[0].Pool)
		require.Equal(t, n.IPAddr, failed[0].IPAddr)
		require.Contains(t, failed[0].Data, "provision")

		l.later(11 * time.Minute)
		l.later(time.Minute)
		require.Len(t, l.nodes(pool.Failed), 1, "it was tried once more")
		l.machines.Heal()
		l.later(11 * time.Minute)
		require.Empty(t, l.nodes(pool.Failed))
		_, exists := l.machines.Machine(n.ID)
		require.False(t, exists)
	})
}

func TestDeprovisionWithoutItsPool(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 1))
		l.later(0)
		id := l.nodes(pool.Ready)[0].ID
		without := newLab(t, d, throwAway("b", 1))
		without.reclaim(pool.Ready, id)
		without.work()
		failed := without.nodes(pool.Failed)
		require.Len(t, failed, 1)
		require.Equal(t, "a", failed[0].Pool)
		require.Equal(t, "deprovisioning failed: pool 'a' not found", failed[0].Reason())
		without.later(time.Hour)
		require.Equal(t, failed, without.nodes(pool.Failed), "who does not know the pool leaves it")
		l.later(time.Hour)
		require.Empty(t, l.nodes(pool.Failed), "who knows the pool cleans up")
		_, exists := l.machines.Machine(id)
		require.False(t, exists)
	})
}
