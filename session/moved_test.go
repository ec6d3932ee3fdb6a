package session_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/pool"
)

// TestOthersMoveNodesOfSession has somebody's SQL move a node that a tenant has: its machine
// stays until the session is over, and goes then.
func TestOthersMoveNodesOfSession(t *testing.T) {
	t.Parallel()
	for _, state := range []pool.State{pool.Failed, pool.Deprovisioning, pool.Contextualizing} {
		t.Run(string(state), func(t *testing.T) {
			t.Parallel()
			dbtest.Each(t, func(t *testing.T, d *db.DB) {
				l := newLab(t, d, throwAway("a", 1))
				l.fill()
				by := l.tenant("tester")
				s := l.mustRequest(by, spec(1, "a"))
				_, err := d.ExecContext(t.Context(), "UPDATE nodes SET state = ? WHERE id = ?", string(state), s.Nodes[0].ID)
				require.NoError(t, err)
				l.reconcile()
				if state == pool.Failed {
					_, exists := l.machines.Machine(s.Nodes[0].ID)
					require.True(t, exists, "the tenant has it")
					l.retire(by, s)
				}
				for range 6 {
					l.clock.advance(time.Minute)
					l.reconcile()
				}
				require.Equal(t, 1, l.levels("a")[pool.Ready])
				require.Empty(t, l.levels("a")[pool.Failed])
				l.accounted()
			})
		})
	}
}
