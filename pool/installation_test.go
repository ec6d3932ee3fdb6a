package pool_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/backend/fake"
	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/internal/fault"
	"github.com/duffy-ci/duffy/pool"
)

// TestTwoDuffysOnOneCloud has two databases, whose nodes have the same ids, with
// machines of one provider.
func TestTwoDuffysOnOneCloud(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		one := newLab(t, d, throwAway("a", 2))
		other := newLab(t, dbtest.SQLite(t), throwAway("a", 2))
		other.machines = one.machines
		other.backends["fake"] = one.machines
		one.later(0)
		other.later(0)
		require.Equal(t, one.nodes(pool.Ready)[0].ID, other.nodes(pool.Ready)[0].ID)
		require.Len(t, one.machines.Machines(), 4)

		mine := map[string]bool{}
		for _, n := range one.nodes(pool.Ready) {
			mine[n.IPAddr] = true
		}
		for _, n := range other.nodes(pool.Ready) {
			require.False(t, mine[n.IPAddr], "both have a node at %s", n.IPAddr)
			other.set(n.ID, "state = 'deployed'")
			other.reclaim(pool.Deployed, n.ID)
		}
		other.work()
		for _, n := range one.nodes(pool.Ready) {
			m, ok := one.machines.Machine(n.ID)
			require.True(t, ok, "the other Duffy removed the machine of node %d", n.ID)
			require.Equal(t, n.IPAddr, m.IPAddr)
		}
	})
}

func TestNewInstallation(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 1))
		first := installation(l)
		require.Equal(t, first, installation(l))
		l.later(0)
		made := l.nodes(pool.Ready)[0]
		require.Equal(t, first, l.machines.Machines()[0].Installation)

		id, err := l.pools.NewInstallation(t.Context())
		require.NoError(t, err)
		require.NotEqual(t, first, id)
		require.Equal(t, id, installation(l))

		// The node that exists is known by what provisioning told.
		l.set(made.ID, "state = 'deployed'")
		l.reclaim(pool.Deployed, made.ID)
		l.later(0)
		require.Len(t, l.machines.Machines(), 1)
		require.Equal(t, id, l.machines.Machines()[0].Installation)
	})
}

func installation(l *lab) string {
	l.Helper()
	id, err := l.pools.Installation(l.Context())
	require.NoError(l, err)
	require.Regexp(l, "^[a-z]{8}$", id, "no number, however it is quoted")
	return id
}

// TestNoInstallation has nobody ask a backend for machines without a name.
func TestNoInstallation(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 1))
		_, err := d.ExecContext(t.Context(), "DELETE FROM installation")
		require.NoError(t, err)
		_, err = l.pools.Installation(t.Context())
		require.ErrorContains(t, err, "duffy admin new-installation")
		require.NoError(t, l.pools.Reconcile(t.Context()))
		job := l.jobs.Jobs()[0]
		require.ErrorContains(t, l.mux.Dispatch(t.Context(), job.Kind(), jsonOf(t, job)), "duffy admin new-installation")
		require.Empty(t, l.machines.Calls())
		require.Len(t, l.nodes(pool.Provisioning), 1, "it is no fault of the node")

		_, err = l.pools.NewInstallation(t.Context())
		require.NoError(t, err)
		l.later(time.Minute)
		require.Len(t, l.nodes(pool.Ready), 1)
	})
}

func TestForgetNodes(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 2))
		l.later(0)
		l.machines.Inject(fake.Fault{In: fake.Provision, Err: fake.ErrUnreachable})
		before := l.machines.Machines()
		nodes := l.nodes(pool.Ready)
		l.set(nodes[0].ID, "state = 'deprovisioning'", "lease_owner = 'a worker'", "lease_until = '2999-01-01'")
		forget := func() error {
			return d.RunInTx(t.Context(), nil, func(ctx context.Context, tx bun.Tx) error { return l.pools.ForgetNodesTx(ctx, tx) })
		}
		require.ErrorIs(t, forget(), fault.Conflict)
		require.Len(t, l.nodes(pool.Ready), 1)

		l.set(nodes[0].ID, "lease_until = '2001-01-01'")
		require.NoError(t, forget())
		active, err := l.pools.Nodes(t.Context())
		require.NoError(t, err)
		require.Empty(t, active)
		l.later(time.Minute)
		require.Equal(t, before, l.machines.Machines(), "machines are let be")
	})
}
