package session_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/pool"
	"github.com/duffy-ci/duffy/session"
	"github.com/duffy-ci/duffy/tenant"
)

// exec runs SQL of Duffy 3, which knows nothing of what we added to its tables.
func (l *lab) exec(sql string, args ...any) {
	l.Helper()
	_, err := l.db.ExecContext(l.Context(), sql, args...)
	require.NoError(l, err)
}

// duffy3HandsOut does what Duffy 3 does to hand nodes out, and leaves them in a
// state.
func (l *lab) duffy3HandsOut(to *tenant.Tenant, state pool.State, nodes ...*pool.Node) (sessionID int64) {
	l.Helper()
	require.NoError(l, l.db.QueryRowContext(l.Context(),
		"INSERT INTO sessions (tenant_id, expires_at) VALUES (?, ?) RETURNING id",
		to.ID, l.clock.Now().Add(time.Hour)).Scan(&sessionID))
	for _, n := range nodes {
		l.exec("UPDATE nodes SET state = ? WHERE id = ?", state, n.ID)
		l.exec("INSERT INTO sessions_nodes (session_id, node_id, pool) VALUES (?, ?, ?)", sessionID, n.ID, n.Pool)
		require.NoError(l, l.machines.Contextualize(l.Context(), n.ForBackend(), to.SSHKey))
	}
	return sessionID
}

// duffy3Retires does what Duffy 3 does to end a session, up to the playbook.
func (l *lab) duffy3Retires(sessionID int64) {
	l.Helper()
	l.exec("UPDATE sessions SET retired_at = ? WHERE id = ?", l.clock.Now(), sessionID)
	l.exec(`UPDATE nodes SET state = 'deprovisioning', pool = NULL
		WHERE id IN (SELECT node_id FROM sessions_nodes WHERE session_id = ?)`, sessionID)
}

// nodes returns the nodes of a pool in a state.
func (l *lab) nodes(name string, state pool.State) (nodes []*pool.Node) {
	l.Helper()
	all, err := l.pools.Nodes(l.Context())
	require.NoError(l, err)
	for _, n := range all {
		if n.Pool == name && n.State == state {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

func (l *lab) requireRetired(id int64) {
	l.Helper()
	s, err := l.sessions.Get(l.Context(), &tenant.Tenant{IsAdmin: true}, id)
	require.NoError(l, err)
	require.False(l, s.Active())
}

// TestDuffy3HandedOut has Duffy 3 hand out nodes on our database: they are its
// tenants' until their sessions end.
func TestDuffy3HandedOut(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 2), reusing("b", 1))
		_, err := l.pools.CreateNode(t.Context(), pool.Node{
			Hostname: "m", IPAddr: "192.0.2.1", Reusable: true, Data: pool.Data{"arch": "x86_64"},
		})
		require.NoError(t, err)
		l.fill()
		alice := l.tenant("alice")

		// The machine of pool b was in a session of ours before: its row names that.
		machine := l.nodes("b", pool.Ready)[0]
		before := l.mustRequest(alice, spec(1, "b"))
		l.exec("UPDATE sessions SET retired_at = ? WHERE id = ?", l.clock.Now(), before.ID)
		l.exec("UPDATE nodes SET state = 'ready' WHERE id = ?", machine.ID)

		fresh := l.nodes("a", pool.Ready)
		retired := l.duffy3HandsOut(alice, pool.Deployed, fresh[0])
		expires := l.duffy3HandsOut(alice, pool.Deployed, fresh[1], machine)
		for range 2 {
			l.reconcile()
			for _, n := range []*pool.Node{fresh[0], fresh[1], machine} {
				require.Equal(t, pool.Deployed, l.node(n.ID).State)
			}
			l.accounted()
		}

		_, err = l.sessions.Update(t.Context(), alice, retired, session.Update{Retire: true})
		require.NoError(t, err)
		l.work()
		require.Equal(t, pool.Done, l.node(fresh[0].ID).State)
		l.clock.advance(2 * time.Hour)
		l.reconcile()
		l.requireRetired(expires)
		require.Equal(t, pool.Done, l.node(fresh[1].ID).State)
		require.Equal(t, pool.Ready, l.node(machine.ID).State, "it is in its pool again")
		l.accounted()
	})
}

// A session of Duffy 3 may end before anybody noticed which nodes it holds.
func TestDuffy3HandedOutAndRetiredAtOnce(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 1))
		l.fill()
		alice := l.tenant("alice")
		id := l.duffy3HandsOut(alice, pool.Deployed, l.nodes("a", pool.Ready)...)
		_, err := l.sessions.Update(t.Context(), alice, id, session.Update{Retire: true})
		require.NoError(t, err)
		l.reconcile()
		require.Equal(t, map[pool.State]int{pool.Ready: 1}, l.levels("a"))
		l.accounted()
	})
}

func TestDuffy3WasContextualizing(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 2))
		l.fill()
		id := l.duffy3HandsOut(l.tenant("alice"), pool.Contextualizing, l.nodes("a", pool.Ready)...)
		require.NoError(t, l.sessions.Reconcile(t.Context()))
		require.Equal(t, 2, l.levels("a")[pool.Contextualizing])
		l.clock.advance(time.Minute)
		l.reconcile()
		l.requireRetired(id)
		require.Equal(t, map[pool.State]int{pool.Ready: 2}, l.levels("a"))
		l.accounted()
	})
}

func TestDuffy3WasDeprovisioning(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 3))
		l.fill()
		alice, nodes := l.tenant("alice"), l.nodes("a", pool.Ready)
		l.duffy3Retires(l.duffy3HandsOut(alice, pool.Deployed, nodes[0]))

		// With this one the playbook failed.
		l.duffy3Retires(l.duffy3HandsOut(alice, pool.Deployed, nodes[1]))
		l.exec("UPDATE nodes SET state = 'failed' WHERE id = ?", nodes[1].ID)

		// Nobody knows where this one is from.
		l.exec("UPDATE nodes SET state = 'deprovisioning', pool = NULL WHERE id = ?", nodes[2].ID)

		l.clock.advance(time.Minute)
		l.reconcile()
		require.Equal(t, pool.Done, l.node(nodes[0].ID).State)
		require.Equal(t, pool.Failed, l.node(nodes[1].ID).State)
		require.Equal(t, "a", l.node(nodes[1].ID).Pool)
		require.Equal(t, pool.Failed, l.node(nodes[2].ID).State)
		require.Equal(t, "deprovisioning failed: it is not known which pool the node is of",
			l.node(nodes[2].ID).Data["error"].(map[string]any)["detail"])

		l.exec("UPDATE nodes SET retry_at = created_at WHERE id = ?", nodes[1].ID)
		l.exec("UPDATE nodes SET pool = 'a' WHERE id = ?", nodes[2].ID)
		l.reconcile()
		require.Equal(t, pool.Done, l.node(nodes[1].ID).State, "an operator wants it so")
		require.Equal(t, pool.Done, l.node(nodes[2].ID).State, "somebody has found out")
		l.accounted()
	})
}

// Two sessions of Duffy 3 could get hold of the same node.
func TestDuffy3HandedOutTwice(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 1))
		l.fill()
		alice, bob := l.tenant("alice"), l.tenant("bob")
		node := l.nodes("a", pool.Ready)[0]
		first := l.duffy3HandsOut(alice, pool.Deployed, node)
		second := l.duffy3HandsOut(bob, pool.Deployed, node)
		l.reconcile()
		require.Equal(t, second, *l.node(node.ID).SessionID)
		_, err := l.sessions.Update(t.Context(), alice, first, session.Update{Retire: true})
		require.NoError(t, err)
		l.reconcile()
		require.Equal(t, pool.Deployed, l.node(node.ID).State, "bob still has it")
		_, err = l.sessions.Update(t.Context(), bob, second, session.Update{Retire: true})
		require.NoError(t, err)
		l.reconcile()
		require.Equal(t, pool.Done, l.node(node.ID).State)
		l.accounted()
	})
}
