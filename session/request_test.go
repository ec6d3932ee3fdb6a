package session_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/backend/fake"
	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/internal/fault"
	"github.com/duffy-ci/duffy/pool"
	"github.com/duffy-ci/duffy/session"
	"github.com/duffy-ci/duffy/tenant"
)

func TestSessionFromRequestToReuse(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 3), throwAway("b", 2))
		l.fill()
		require.Equal(t, map[pool.State]int{pool.Ready: 3}, l.levels("a"))
		alice := l.tenant("alice")

		s := l.mustRequest(alice, spec(1, "b"), spec(2, "a"))
		require.Len(t, s.Nodes, 3)
		require.Equal(t, []string{"b", "a", "a"}, []string{s.Nodes[0].Pool, s.Nodes[1].Pool, s.Nodes[2].Pool})
		for _, n := range s.Nodes {
			require.Equal(t, pool.Deployed, n.State)
			require.NotEmpty(t, n.IPAddr)
			require.Contains(t, n.Data, "provision")
			require.Contains(t, n.Data, "nodes_spec")
		}
		l.accounted()

		again, err := l.sessions.Get(t.Context(), alice, s.ID)
		require.NoError(t, err)
		require.Equal(t, len(s.Nodes), len(again.Nodes))
		for i := range s.Nodes {
			require.Equal(t, s.Nodes[i].ID, again.Nodes[i].ID)
		}

		l.work()
		require.Equal(t, map[pool.State]int{pool.Ready: 3, pool.Deployed: 2}, l.levels("a"), "pools are filled again at once")

		l.retire(alice, s)
		require.Equal(t, pool.Deprovisioning, l.node(s.Nodes[0].ID).State)
		l.work()
		n := l.node(s.Nodes[0].ID)
		require.Equal(t, pool.Done, n.State)
		require.False(t, n.Active())
		require.Equal(t, map[pool.State]int{pool.Ready: 3}, l.levels("a"))
		l.accounted()

		retired, err := l.sessions.Get(t.Context(), alice, s.ID)
		require.NoError(t, err)
		require.False(t, retired.Active())
		require.Len(t, retired.Nodes, 3, "a retired session still tells its nodes")
	})
}

func TestReusableNodesComeBack(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, reusing("metal", 2))
		for _, name := range []string{"m1", "m2", "m3"} {
			_, err := l.pools.CreateNode(t.Context(), pool.Node{
				Hostname: name, IPAddr: "192.0.2." + name[1:], Reusable: true, Data: pool.Data{"arch": "x86_64", "rack": name},
			})
			require.NoError(t, err)
		}
		_, err := l.pools.CreateNode(t.Context(), pool.Node{
			Hostname: "other", IPAddr: "192.0.2.9", Reusable: true, Data: pool.Data{"arch": "ppc64le"},
		})
		require.NoError(t, err)
		l.fill()
		require.Equal(t, 2, l.levels("metal")[pool.Ready], "no more than the fill level, none that does not match")

		alice := l.tenant("alice")
		s := l.mustRequest(alice, spec(2, "metal"))
		l.work()
		require.Equal(t, 1, l.levels("metal")[pool.Ready])
		l.retire(alice, s)
		l.work()
		require.Equal(t, map[pool.State]int{pool.Ready: 2}, l.levels("metal"))

		nodes, err := l.pools.Nodes(t.Context())
		require.NoError(t, err)
		require.Len(t, nodes, 4)
		for _, n := range nodes {
			require.NotContains(t, n.Data, "nodes_spec", "nothing of the last session stays")
			if n.State == pool.Unused {
				require.Empty(t, n.Pool)
				require.NotContains(t, n.Data, "provision")
			}
		}
		l.accounted()
	})
}

func TestAllNodesOrNone(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 2), throwAway("b", 1))
		l.fill()
		alice := l.tenant("alice")
		_, err := l.request(alice, spec(2, "a"), spec(2, "b"))
		require.ErrorIs(t, err, fault.Invalid)
		require.EqualError(t, err, "can't reserve nodes: quantity=2 pool='b'")
		_, err = l.request(alice, spec(1, "it's"))
		require.EqualError(t, err, `can't reserve nodes: quantity=1 pool="it's"`)
		_, err = l.request(alice, spec(0, "a"))
		require.ErrorIs(t, err, fault.Invalid)

		require.Equal(t, map[pool.State]int{pool.Ready: 2}, l.levels("a"))
		sessions, err := l.sessions.List(t.Context(), nil)
		require.NoError(t, err)
		require.Empty(t, sessions)
		l.accounted()

		empty := l.mustRequest(alice)
		require.Empty(t, empty.Nodes)
	})
}

func TestQuota(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 30))
		l.fill()
		alice := l.tenant("alice")
		first := l.mustRequest(alice, spec(4, "a"))
		_, err := l.request(alice, spec(8, "a"))
		require.ErrorIs(t, err, fault.Forbidden)
		require.EqualError(t, err, "quota exceeded: requested nodes (8) + current allocation (4) = 12 > 10")
		l.retire(alice, first)
		l.mustRequest(alice, spec(8, "a"))
		l.mustRequest(l.admin(), spec(11, "a"))
	})
}

// TestQuotaHoldsAgainstRaces has one tenant ask many times at once.
func TestQuotaHoldsAgainstRaces(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 30))
		l.fill()
		alice := l.tenant("alice")
		var wg sync.WaitGroup
		granted := make(chan int64, 30)
		for range 30 {
			wg.Go(func() {
				s, err := l.request(alice, spec(1, "a"))
				if err == nil {
					granted <- s.ID
				} else if !errors.Is(err, fault.Forbidden) {
					t.Errorf("unexpected: %v", err)
				}
			})
		}
		wg.Wait()
		require.Len(t, granted, 10)
		l.accounted()
	})
}

// TestNoNodeTwice has many tenants race for all nodes: each gets its own.
func TestNoNodeTwice(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		const tenants = 40
		l := newLab(t, d, throwAway("a", tenants), throwAway("b", tenants))
		l.fill()
		var wg sync.WaitGroup
		var mu sync.Mutex
		owner := map[int64]string{}
		for i := range tenants {
			by := l.tenant("t" + string(rune('0'+i/10)) + string(rune('0'+i%10)))
			specs := []session.Spec{spec(1, "a"), spec(1, "b")}
			if i%2 == 1 {
				specs[0], specs[1] = specs[1], specs[0]
			}
			wg.Go(func() {
				s, err := l.request(by, specs...)
				if err != nil {
					t.Errorf("%s: %v", by.Name, err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				for _, n := range s.Nodes {
					if other, taken := owner[n.ID]; taken {
						t.Errorf("node %d went to %s and %s", n.ID, other, by.Name)
					}
					owner[n.ID] = by.Name
				}
			})
		}
		wg.Wait()
		require.Len(t, owner, 2*tenants)
		l.accounted()
	})
}

func TestDeadNodeIsReplaced(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 3))
		l.fill()
		nodes, err := l.pools.Nodes(t.Context())
		require.NoError(t, err)
		dead := nodes[0].ID
		l.machines.Inject(fake.Fault{In: fake.Contextualize, Node: dead, Err: fake.ErrUnreachable})
		s := l.mustRequest(l.tenant("alice"), spec(2, "a"))
		require.Len(t, s.Nodes, 2)
		for _, n := range s.Nodes {
			require.NotEqual(t, dead, n.ID)
		}
		n := l.node(dead)
		require.Equal(t, pool.Failed, n.State)
		require.Contains(t, n.Data["error"].(map[string]any)["detail"], "no route to host")
		require.Equal(t, "a", n.Pool, "what it takes to clean up is kept")

		l.reconcile()
		require.Equal(t, pool.Done, l.node(dead).State)
		require.Equal(t, 3, l.levels("a")[pool.Ready])
		l.accounted()
	})
}

func TestNoNodeAnswers(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("good", 2), throwAway("bad", 2))
		l.fill()
		for _, m := range l.machines.Machines() {
			if l.node(m.ID).Pool == "bad" {
				l.machines.Inject(fake.Fault{In: fake.Contextualize, Node: m.ID, Err: fake.ErrUnreachable})
			}
		}
		alice := l.tenant("alice")
		_, err := l.request(alice, spec(1, "good"), spec(1, "bad"))
		require.ErrorIs(t, err, fault.Unavailable)
		require.EqualError(t, err, "contextualization of nodes failed")
		sessions, err := l.sessions.List(t.Context(), nil)
		require.NoError(t, err)
		require.Empty(t, sessions)
		require.Zero(t, l.levels("good")[pool.Deployed])
		require.Zero(t, l.levels("good")[pool.Contextualizing])

		l.machines.Heal()
		l.reconcile()
		require.Equal(t, map[pool.State]int{pool.Ready: 2}, l.levels("good"), "no key stays behind, nothing is lost")
		l.accounted()
	})
}

// TestClientGoesAway gives up while nodes are contextualized: nobody would know
// of the session.
func TestClientGoesAway(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 2))
		l.fill()
		l.machines.Inject(fake.Fault{In: fake.Contextualize, Hang: true, Late: true})
		ctx, cancel := context.WithCancel(t.Context())
		alice := l.tenant("alice")
		failed := make(chan error, 1)
		go func() {
			_, err := l.sessions.Request(ctx, alice, session.Request{Specs: []session.Spec{spec(2, "a")}})
			failed <- err
		}()
		require.Eventually(t, func() bool { return l.levels("a")[pool.Contextualizing] == 2 }, 10*time.Second, 10*time.Millisecond)
		cancel()
		require.Error(t, <-failed)
		require.Zero(t, l.levels("a")[pool.Failed], "the nodes are not to blame")
		require.Zero(t, l.levels("a")[pool.Contextualizing])
		l.machines.Heal()
		l.reconcile()
		require.Equal(t, map[pool.State]int{pool.Ready: 2}, l.levels("a"))
		l.accounted()
	})
}

func TestSessionsForOthers(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 5))
		l.fill()
		alice, bob, admin := l.tenant("alice"), l.tenant("bob"), l.admin()
		ask := func(by *tenant.Tenant, id int64) (*session.Session, error) {
			return l.sessions.Request(t.Context(), by, session.Request{TenantID: &id, Specs: []session.Spec{spec(1, "a")}})
		}
		_, err := ask(alice, bob.ID)
		require.ErrorIs(t, err, fault.Forbidden)
		require.EqualError(t, err, "can't create session for other tenant")
		_, err = ask(admin, 99)
		require.ErrorIs(t, err, fault.Invalid)
		require.EqualError(t, err, "can't find tenant with id 99")
		own, err := ask(alice, alice.ID)
		require.NoError(t, err)
		require.Equal(t, alice.ID, own.TenantID)
		theirs, err := ask(admin, bob.ID)
		require.NoError(t, err)
		require.Equal(t, "bob", theirs.Tenant.Name)

		_, err = l.sessions.Get(t.Context(), alice, theirs.ID)
		require.ErrorIs(t, err, fault.Forbidden)
		_, err = l.sessions.Update(t.Context(), alice, theirs.ID, session.Update{Retire: true})
		require.ErrorIs(t, err, fault.Forbidden)
		mine, err := l.sessions.List(t.Context(), alice)
		require.NoError(t, err)
		require.Len(t, mine, 1)
		all, err := l.sessions.List(t.Context(), nil)
		require.NoError(t, err)
		require.Len(t, all, 2)

		_, err = l.sessions.RetireTenant(t.Context(), bob.ID)
		require.NoError(t, err)
		_, err = ask(admin, bob.ID)
		require.EqualError(t, err, "tenant 'bob' isn't active")
		l.work()
		gone, err := l.sessions.Get(t.Context(), admin, theirs.ID)
		require.NoError(t, err)
		require.False(t, gone.Active(), "sessions of a retired tenant expire at once")
		l.accounted()
	})
}

func TestNodeThatHangs(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 1))
		l.fill()
		l.machines.Inject(fake.Fault{In: fake.Contextualize, Hang: true})
		impatient := session.New(d.DB, l.jobs, l.tenants, l.pools, session.Config{
			Contextualizer: l.machines, NodeTimeout: 50 * time.Millisecond,
		})
		_, err := impatient.Request(t.Context(), l.tenant("alice"), session.Request{Specs: []session.Spec{spec(1, "a")}})
		require.ErrorIs(t, err, fault.Unavailable)
		nodes, err := l.pools.Nodes(t.Context())
		require.NoError(t, err)
		require.Equal(t, pool.Failed, nodes[0].State)
		failure, _ := nodes[0].Data["error"].(map[string]any)
		require.Contains(t, failure["detail"], "no answer within 50ms")
	})
}
