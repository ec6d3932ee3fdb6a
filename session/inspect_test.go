package session_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/backend/fake"
	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/pool"
)

// An inspectedLab is a lab whose nodes are inspected.
type inspectedLab struct {
	*lab
	outside *fake.Inspector
}

func newInspectedLab(t *testing.T, d *db.DB, pools ...pool.Config) inspectedLab {
	outside := fake.NewInspector()
	return inspectedLab{newLabOf(t, d, outside.Backend, outside, pools...), outside}
}

// seen returns what is kept of a node's inspection.
func (l inspectedLab) seen(id int64) (i backend.Inspection) {
	l.Helper()
	text, err := json.Marshal(l.node(id).Data["ssh"])
	require.NoError(l, err)
	require.NoError(l, json.Unmarshal(text, &i))
	return i
}

// known adds a machine that can be reused.
func (l inspectedLab) known(name string) (id int64) {
	l.Helper()
	n, err := l.pools.CreateNode(l.Context(), pool.Node{
		Hostname: name, IPAddr: "192.0.2.1", Reusable: true, Data: pool.Data{"arch": "x86_64"},
	})
	require.NoError(l, err)
	return n.ID
}

func TestInspectedBeforeReady(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		together := throwAway("a", 3)
		together.Together = true
		l := newInspectedLab(t, d, together)
		l.fill()
		for _, n := range l.nodes("a", pool.Ready) {
			looks, err := l.outside.Inspect(t.Context(), n.ForBackend())
			require.NoError(t, err)
			require.Equal(t, looks, l.seen(n.ID))
			require.Contains(t, n.Data, "provision")
		}
		before := len(l.machines.Calls())
		alice := l.tenant("alice")
		s := l.mustRequest(alice, spec(3, "a"))
		for _, c := range l.machines.Calls()[before:] {
			require.Equal(t, fake.Contextualize, c.Op, "they need no second look")
		}
		require.NotEmpty(t, l.seen(s.Nodes[0].ID).HostKeys, "tenants may see it")
		l.retire(alice, s)
		l.work()
		require.Empty(t, l.log.with("cannot lock the tenant out"))
		l.accounted()
	})
}

// TestNotReadyToBeInspected has nodes that do not answer in time after they were
// provisioned. They are looked at when they are handed out.
func TestNotReadyToBeInspected(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]fake.Fault{
		"fails": {In: fake.Inspect, Times: 3, Err: fake.ErrUnreachable},
		"hangs": {In: fake.Inspect, Times: 3, Hang: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dbtest.Each(t, func(t *testing.T, d *db.DB) {
				l := newInspectedLab(t, d, throwAway("a", 3))
				l.outside.Inject(f)
				l.fill()
				require.Equal(t, 3, l.levels("a")[pool.Ready])
				require.Len(t, l.log.with(`level=INFO msg="node cannot be inspected yet`), 3)
				for _, n := range l.nodes("a", pool.Ready) {
					require.NotContains(t, n.Data, "ssh")
				}

				dead := l.nodes("a", pool.Ready)[0].ID
				l.outside.Inject(fake.Fault{In: fake.Inspect, Node: dead, Err: fake.ErrUnreachable})
				alice := l.tenant("alice")
				s := l.mustRequest(alice, spec(2, "a"))
				require.Equal(t, pool.Failed, l.node(dead).State)
				for _, n := range s.Nodes {
					require.Equal(t, []string{l.seen(n.ID).HostKeys[0]}, l.seen(n.ID).HostKeys)
					require.Equal(t, pool.Deployed, n.State)
				}
				l.outside.ChangeHostKey(s.Nodes[0].ID)
				l.retire(alice, s)
				l.work()
				require.Len(t, l.log.with(`level=WARN msg="cannot lock the tenant out of a node" node=`), 1)
				require.Equal(t, pool.Done, l.node(s.Nodes[0].ID).State, "it goes all the same")
			})
		})
	}
}

// TestAnotherNodeAnswers has something else answer in the place of ready nodes.
func TestAnotherNodeAnswers(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		lax := throwAway("rebooted", 1)
		lax.HostKeys = backend.AnyHostKey
		l := newInspectedLab(t, d, throwAway("a", 2), lax)
		l.fill()
		for _, n := range append(l.nodes("a", pool.Ready)[:1], l.nodes("rebooted", pool.Ready)...) {
			l.outside.ChangeHostKey(n.ID)
		}
		replaced := l.nodes("a", pool.Ready)[0].ID
		s := l.mustRequest(l.tenant("alice"), spec(1, "a"), spec(1, "rebooted"))
		require.Len(t, s.Nodes, 2)
		require.Equal(t, pool.Failed, l.node(replaced).State)
		require.Contains(t, l.node(replaced).Reason(), "its host key is another one")
	})
}

// TestReusedNodes has tenants leave something behind on nodes that are reused, or
// Duffy not know whether they do.
func TestReusedNodes(t *testing.T) {
	t.Parallel()
	leave := map[string]func(inspectedLab, int64){
		"nothing":     func(inspectedLab, int64) {},
		"its own key": func(l inspectedLab, id int64) { l.outside.LetIn(id, "key of alice's laptop") },
		"another key": func(l inspectedLab, id int64) { l.outside.ChangeHostKey(id) },
		"no answer": func(l inspectedLab, id int64) {
			l.outside.Inject(fake.Fault{In: fake.Decontextualize, Node: id, Err: fake.ErrUnreachable})
		},
	}
	for what, leave := range leave {
		for _, p := range []struct {
			name       string
			kept       bool // by the backend
			reinstalls *bool
			failed     bool
		}{
			{"backend reinstalls", false, nil, false},
			{"nothing does", true, nil, true},
			{"provisioning does", true, ptr(true), false},
			{"backend does not", false, ptr(false), true},
		} {
			t.Run(what+", "+p.name, func(t *testing.T) {
				t.Parallel()
				dbtest.Each(t, func(t *testing.T, d *db.DB) {
					c := reusing("metal", 1)
					c.Reinstalls = p.reinstalls
					l := newInspectedLab(t, d, c)
					l.outside.Kept = p.kept
					id := l.known("rack1")
					l.fill()
					require.Equal(t, pool.Ready, l.node(id).State)
					alice := l.tenant("alice")
					s := l.mustRequest(alice, spec(1, "metal"))
					leave(l, id)
					l.retire(alice, s)
					l.work()

					clean := what == "nothing"
					require.Equal(t, clean, len(l.log.with(`level=WARN msg="cannot lock the tenant out of a node" node=1 pool=metal`)) == 0)
					if clean || !p.failed {
						l.fill()
						require.Equal(t, pool.Ready, l.node(id).State)
						return
					}
					n := l.node(id)
					require.Equal(t, pool.Failed, n.State)
					require.Contains(t, n.Reason(), "the last tenant may still have access, and nothing reinstalls the node: ")
					require.Equal(t, "metal", n.Pool)
					require.NotEmpty(t, l.seen(id).HostKeys)
					l.comesBack(id, what == "no answer" && p.kept)
				})
			})
		}
	}
}

// comesBack sees that a failed node is tried again by itself, which helps if it only
// did not answer and still runs, and by an operator, which helps in any case.
func (l inspectedLab) comesBack(id int64, byItself bool) {
	l.Helper()
	l.reconcile()
	require.Equal(l, pool.Failed, l.node(id).State, "not before a pause")
	l.outside.Heal()
	l.clock.advance(11 * time.Minute)
	l.reconcile()
	require.Equal(l, byItself, l.node(id).State != pool.Failed)
	if !byItself {
		require.NoError(l, l.pools.RetryNodes(l.Context(), false, id))
		l.work()
	}
	l.fill()
	require.Equal(l, pool.Ready, l.node(id).State)
	require.Empty(l, l.node(id).Reason())
	looks, err := l.outside.Inspect(l.Context(), l.node(id).ForBackend())
	require.NoError(l, err)
	require.Equal(l, looks, l.seen(id), "as it is now")
}

// TestReusedNodesWithoutTenant are those that nobody can have left anything on.
func TestReusedNodesWithoutTenant(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newInspectedLab(t, d, reusing("metal", 1))
		l.outside.Kept = true
		id := l.known("rack1")
		l.fill()
		l.outside.Inject(fake.Fault{In: fake.Decontextualize, Err: fake.ErrUnreachable})
		l.exec("UPDATE nodes SET state = 'failed', retry_at = state_since WHERE id = ?", id)
		l.reconcile()
		require.NotEqual(t, pool.Failed, l.node(id).State)

		// A node of before: nothing is known of how it was.
		l.fill()
		alice := l.tenant("alice")
		s := l.mustRequest(alice, spec(1, "metal"))
		l.exec("UPDATE nodes SET data = ? WHERE id = ?", `{"arch": "x86_64", "nodes_spec": {}, "provision": {}, "ssh": "192.0.2.1"}`, id)
		l.retire(alice, s)
		l.work()
		require.NotEqual(t, pool.Failed, l.node(id).State)
	})
}
