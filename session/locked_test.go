package session_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/pool"
)

// TestLockedRowsHoldUpNothingElse has somebody lock one row of each kind, and the fill
// of a pool: reconcile and jobs do everything else, and the rest once it is over.
func TestLockedRowsHoldUpNothingElse(t *testing.T) {
	t.Parallel()
	d := dbtest.Postgres(t)
	l := newLab(t, d, throwAway("a", 6), throwAway("b", 1), throwAway("c", 1))
	l.fill()
	alice := l.tenant("alice")
	kept, other := l.mustRequest(alice, spec(1, "a")), l.mustRequest(alice, spec(1, "a"))
	ofLocked, ofLockedNode := l.mustRequest(alice, spec(1, "a")), l.mustRequest(alice, spec(1, "a"))
	abandoned, alsoAbandoned := l.mustRequest(alice, spec(1, "a")), l.mustRequest(alice, spec(1, "a"))
	l.work()
	for _, s := range []int64{abandoned.ID, alsoAbandoned.ID} {
		l.exec(`UPDATE nodes SET state = 'contextualizing', lease_owner = 'dead', lease_until = now() WHERE session_id = ?`, s)
	}
	l.exec("UPDATE sessions SET expires_at = ? WHERE id IN (?, ?, ?)", l.clock.Now().Add(time.Second), other.ID, ofLocked.ID, ofLockedNode.ID)
	lost, lockedLost := l.lose("b"), l.lose("a") // whose job was lost
	dead, lockedDead := l.provisionedBy("dead", "a"), l.provisionedBy("dead", "a")
	require.NoError(t, l.sessions.Reconcile(t.Context()), "which sees the leases for the first time")
	require.NoError(t, l.pools.Reconcile(t.Context()))
	l.jobs.Lose()
	l.clock.advance(time.Minute)

	require.NoError(t, d.RunInTx(t.Context(), nil, func(ctx context.Context, tx bun.Tx) error {
		for _, q := range []struct {
			query string
			args  []any
		}{
			{"SELECT FROM sessions WHERE id IN (?, ?) FOR UPDATE", []any{ofLocked.ID, abandoned.ID}},
			{"SELECT FROM nodes WHERE session_id = ? FOR UPDATE", []any{ofLockedNode.ID}},
			{"SELECT FROM nodes WHERE id IN (?, ?) FOR UPDATE", []any{lockedLost, lockedDead}},
			{"SELECT FROM tenants FOR UPDATE", nil},
			{"SELECT FROM pools FOR UPDATE", nil},
			{"SELECT pg_advisory_xact_lock(hashtextextended('duffy:fill:c', 0))", nil},
		} {
			_, err := tx.ExecContext(ctx, q.query, q.args...)
			require.NoError(t, err)
		}
		l.exec("UPDATE nodes SET state = 'done', retired_at = now() WHERE pool = 'c'")

		within, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		require.NoError(t, l.sessions.Reconcile(within))
		require.NoError(t, l.pools.Reconcile(within))
		l.work()
		require.Equal(t, map[int64]bool{kept.ID: true, ofLocked.ID: true, ofLockedNode.ID: true, abandoned.ID: true}, l.active(alice.ID))
		require.Equal(t, pool.Ready, l.node(lost).State)
		require.Equal(t, pool.Failed, l.node(dead).State)
		require.Equal(t, pool.Provisioning, l.node(lockedLost).State)
		require.Equal(t, pool.Provisioning, l.node(lockedDead).State)
		require.Zero(t, l.levels("c")[pool.Ready])
		return nil
	}))
	l.clock.advance(time.Minute)
	l.reconcile()
	require.Equal(t, map[int64]bool{kept.ID: true}, l.active(alice.ID))
	require.Equal(t, pool.Ready, l.node(lockedLost).State)
	require.Equal(t, pool.Failed, l.node(lockedDead).State)
	require.Equal(t, 1, l.levels("c")[pool.Ready])
}

func (l *lab) active(tenantID int64) map[int64]bool {
	l.Helper()
	ids, err := l.sessions.ActiveIDs(l.Context(), tenantID)
	require.NoError(l, err)
	return ids
}

// lose returns a new node of a pool that waits for its first worker.
func (l *lab) lose(name string) int64 {
	l.Helper()
	n := &pool.Node{State: pool.Provisioning, Pool: name, StateSince: ptr(l.clock.Now())}
	_, err := l.db.NewInsert().Model(n).Returning("id").Exec(l.Context())
	require.NoError(l, err)
	return n.ID
}

// provisionedBy returns a new node of a pool that a worker provisions.
func (l *lab) provisionedBy(owner, name string) int64 {
	l.Helper()
	id := l.lose(name)
	l.exec("UPDATE nodes SET lease_owner = ?, lease_until = now() WHERE id = ?", owner, id)
	return id
}
