package session_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/backend/fake"
	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/pool"
	"github.com/duffy-ci/duffy/tenant"
)

// TestProcessDiesWhileContextualizing leaves nodes as a process does that was
// killed between reserving them and answering.
func TestProcessDiesWhileContextualizing(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 2))
		l.fill()
		alice := l.tenant("alice")
		s := l.mustRequest(alice, spec(2, "a"))
		_, err := d.NewUpdate().Model((*pool.Node)(nil)).
			Set("state = ?", pool.Contextualizing).Set("lease_owner = 'dead'").
			Set("lease_until = ?", l.clock.Now().Add(time.Minute)).
			Where("session_id = ?", s.ID).Exec(t.Context())
		require.NoError(t, err)

		l.reconcile()
		l.clock.advance(59 * time.Second)
		l.reconcile()
		require.Equal(t, 2, l.levels("a")[pool.Contextualizing], "a lease that lasts is respected")
		l.clock.advance(time.Second)
		l.reconcile()
		require.Equal(t, map[pool.State]int{pool.Ready: 2}, l.levels("a"))
		got, err := l.sessions.Get(t.Context(), alice, s.ID)
		require.NoError(t, err)
		require.False(t, got.Active())
		l.accounted()
	})
}

func TestStrayNodesAreTakenBack(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 2))
		l.fill()
		alice := l.tenant("alice")
		kept, stray := l.mustRequest(alice, spec(1, "a")), l.mustRequest(alice, spec(1, "a"))
		_, err := d.NewUpdate().Model(stray).WherePK().Set("retired_at = ?", l.clock.Now()).Exec(t.Context())
		require.NoError(t, err)
		l.reconcile()
		require.Equal(t, map[pool.State]int{pool.Ready: 2, pool.Deployed: 1}, l.levels("a"))
		require.Equal(t, pool.Deployed, l.node(kept.Nodes[0].ID).State)
		l.accounted()
	})
}

func TestLostJobsCostOnlyTime(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 2))
		require.NoError(t, l.pools.Fill(t.Context(), "a"))
		l.jobs.Lose()
		l.clock.advance(time.Minute)
		l.reconcile()
		require.Equal(t, 2, l.levels("a")[pool.Ready])
		alice := l.tenant("alice")
		s := l.mustRequest(alice, spec(2, "a"))
		l.retire(alice, s)
		l.jobs.Lose()
		l.clock.advance(time.Minute)
		l.reconcile()
		require.Equal(t, map[pool.State]int{pool.Ready: 2}, l.levels("a"))
		l.accounted()
	})
}

// TestRetireDuringRequest retires a session that is still being made: the
// request fails, the nodes come back.
func TestRetireDuringRequest(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 1))
		l.fill()
		release := make(chan struct{})
		l.machines.Inject(fake.Fault{In: fake.Contextualize, Change: func(*backend.Node) { <-release }})
		alice := l.tenant("alice")
		failed := make(chan error, 1)
		go func() {
			_, err := l.request(alice, spec(1, "a"))
			failed <- err
		}()
		var id int64
		require.Eventually(t, func() bool {
			sessions, err := l.sessions.List(t.Context(), nil)
			if err != nil || len(sessions) != 1 {
				return false
			}
			id = sessions[0].ID
			return true
		}, 10*time.Second, 10*time.Millisecond)
		s, err := l.sessions.Get(t.Context(), &tenant.Tenant{IsAdmin: true}, id)
		require.NoError(t, err)
		l.retire(alice, s)
		close(release)
		require.ErrorContains(t, <-failed, "taken away")
		l.reconcile()
		require.Equal(t, map[pool.State]int{pool.Ready: 1}, l.levels("a"))
		l.accounted()
	})
}
