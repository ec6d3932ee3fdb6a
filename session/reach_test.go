package session_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/backend/fake"
	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/internal/fault"
	"github.com/duffy-ci/duffy/pool"
	"github.com/duffy-ci/duffy/tenant"
)

var errNoKey = backend.NotTried(errors.New("there is no SSH key"))

// refused sees that a request is answered with 503, and when to come back.
func (l *lab) refused(by *tenant.Tenant, quantity int, name string) {
	l.Helper()
	_, err := l.request(by, spec(quantity, name))
	require.ErrorIs(l, err, fault.Unavailable)
	var f *fault.Error
	require.ErrorAs(l, err, &f)
	require.Equal(l, 10*time.Second, f.RetryAfter)
	require.Equal(l, "contextualization of nodes failed: this server does not get at nodes, try again later", f.Detail)
}

// asked counts what nodes were asked to do.
func (l *lab) asked(op fake.Op) (n int) {
	for _, c := range l.machines.Calls() {
		if c.Op == op {
			n++
		}
	}
	return n
}

// TestOwnFaultTouchesNoNode has a server without a key, which serves again as soon as it
// has one.
func TestOwnFaultTouchesNoNode(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 10))
		l.fill()
		alice := l.tenant("alice")
		require.NoError(t, l.sessions.Ready(t.Context()))
		l.machines.Inject(fake.Fault{In: fake.Contextualize, Err: errNoKey})
		for range 20 {
			l.refused(alice, 3, "a")
		}
		require.Equal(t, map[pool.State]int{pool.Ready: 10}, l.levels("a"))
		require.LessOrEqual(t, l.asked(fake.Contextualize), 9, "it stops trying")
		require.ErrorIs(t, l.sessions.Ready(t.Context()), backend.ErrNotTried)
		require.Len(t, l.log.with(`level=ERROR msg="no node can be tried"`), 1)

		l.clock.advance(10 * time.Second)
		require.NoError(t, l.sessions.Ready(t.Context()), "for a request that may find out")
		before := l.asked(fake.Contextualize)
		l.refused(alice, 1, "a")
		l.refused(alice, 1, "a")
		require.Equal(t, before+1, l.asked(fake.Contextualize))

		l.machines.Heal()
		l.clock.advance(10 * time.Second)
		l.retire(alice, l.mustRequest(alice, spec(3, "a")))
		require.NoError(t, l.sessions.Ready(t.Context()))
		l.retire(alice, l.mustRequest(alice, spec(3, "a")))
		l.reconcile()
		require.Equal(t, map[pool.State]int{pool.Ready: 10}, l.levels("a"))
		l.accounted()
	})
}

// TestOwnFaultOfOneNode has only one of several nodes not be tried, which the others
// must not suffer for, unless somebody was let in to them.
func TestOwnFaultOfOneNode(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 3))
		l.fill()
		last := l.nodes("a", pool.Ready)[2].ID
		l.machines.Inject(fake.Fault{In: fake.Contextualize, Node: last, Delay: 50 * time.Millisecond, Err: errNoKey})
		l.refused(l.tenant("alice"), 3, "a")
		require.Equal(t, pool.Ready, l.node(last).State)
		require.Zero(t, l.levels("a")[pool.Failed])
		require.Zero(t, l.levels("a")[pool.Contextualizing])
		require.NoError(t, l.sessions.Ready(t.Context()), "once is not enough")
		l.machines.Heal()
		l.reconcile()
		require.Equal(t, map[pool.State]int{pool.Ready: 3}, l.levels("a"))
		l.accounted()
	})
}

// TestInspectionCannotBeKept has the database fail between a look at a node and its
// hand-out.
func TestInspectionCannotBeKept(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newInspectedLab(t, d, throwAway("a", 2))
		l.outside.Inject(fake.Fault{In: fake.Inspect, Times: 2, Err: fake.ErrUnreachable})
		l.fill()
		const full = "CREATE TRIGGER full_disk BEFORE UPDATE ON nodes FOR EACH ROW WHEN (CAST(NEW.data AS text) LIKE '%host_keys%') "
		if d.Postgres() {
			l.exec("CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'disk full'; END$$")
			l.exec(full + "EXECUTE FUNCTION full_disk()")
		} else {
			l.exec(full + "BEGIN SELECT RAISE(ABORT, 'disk full'); END")
		}
		l.refused(l.tenant("alice"), 1, "a")
		require.Equal(t, map[pool.State]int{pool.Ready: 2}, l.levels("a"))
	})
}

// TestLockingOutIsTriedAgain has a worker that cannot log in to a node that is reused.
func TestLockingOutIsTriedAgain(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newInspectedLab(t, d, reusing("metal", 1))
		l.outside.Kept = true
		id := l.known("rack1")
		l.fill()
		alice := l.tenant("alice")
		s := l.mustRequest(alice, spec(1, "metal"))
		l.outside.Inject(fake.Fault{In: fake.Decontextualize, Err: errNoKey})
		l.retire(alice, s)
		for range 3 {
			l.reconcile()
			require.Equal(t, pool.Deprovisioning, l.node(id).State, "neither is it to blame, nor may anybody have it")
			l.clock.advance(time.Minute)
		}
		l.outside.Heal()
		l.reconcile()
		l.fill()
		require.Equal(t, pool.Ready, l.node(id).State)
		l.accounted()
	})
}

// TestReplacementsEnd has a pool whose nodes do not answer, beside one that is well.
func TestReplacementsEnd(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("dead", 20), throwAway("well", 2))
		l.fill()
		alice := l.tenant("alice")
		l.silence("dead")
		_, err := l.request(alice, spec(1, "dead"))
		require.EqualError(t, err, "contextualization of nodes failed")
		require.Equal(t, 3, l.levels("dead")[pool.Failed])
		require.Equal(t, 17, l.levels("dead")[pool.Ready])
		l.retire(alice, l.mustRequest(alice, spec(1, "well")))
		_, err = l.request(alice, spec(1, "dead"))
		require.EqualError(t, err, "contextualization of nodes failed")
		require.Equal(t, 6, l.levels("dead")[pool.Failed], "others answer, so these are dead")
	})
}

// silence keeps the nodes that a pool has now from answering.
func (l *lab) silence(name string) {
	l.Helper()
	for _, n := range l.nodes(name, pool.Ready) {
		l.machines.Inject(fake.Fault{In: fake.Contextualize, Node: n.ID, Err: fake.ErrUnreachable})
	}
}

// TestNoNodeAnswersUs has a server that is cut off from all nodes. It does not take them
// for dead, and no longer than it lasts.
func TestNoNodeAnswersUs(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 20), throwAway("b", 20))
		l.fill()
		alice := l.tenant("alice")
		l.machines.Inject(fake.Fault{In: fake.Contextualize, Err: fake.ErrUnreachable})
		for range 5 {
			for _, name := range []string{"a", "b"} {
				_, err := l.request(alice, spec(4, name))
				require.ErrorIs(t, err, fault.Unavailable)
			}
		}
		failed := func() int { return l.levels("a")[pool.Failed] + l.levels("b")[pool.Failed] }
		require.Equal(t, 5, failed())
		require.Equal(t, 35, l.levels("a")[pool.Ready]+l.levels("b")[pool.Ready])
		require.Len(t, l.log.with(`level=ERROR msg="many nodes in a row do not answer`), 1)
		require.NoError(t, l.sessions.Ready(t.Context()), "it may be the nodes")

		for range 20 { // a bit more than three minutes
			l.clock.advance(10 * time.Second)
			before := l.asked(fake.Contextualize)
			l.refused(alice, 1, "a")
			l.refused(alice, 1, "a")
			require.Equal(t, before+1, l.asked(fake.Contextualize))
		}
		require.Equal(t, 5, failed())
		l.clock.advance(5 * time.Minute)
		for range 5 {
			_, err := l.request(alice, spec(1, "a"))
			require.ErrorIs(t, err, fault.Unavailable)
		}
		require.Equal(t, 6, failed(), "they may be dead, all of them")

		l.machines.Heal()
		l.clock.advance(10 * time.Second)
		l.retire(alice, l.mustRequest(alice, spec(4, "a")))
		l.retire(alice, l.mustRequest(alice, spec(4, "b")))
		l.reconcile()
		require.Equal(t, map[pool.State]int{pool.Ready: 20}, l.levels("a"))
		require.Equal(t, map[pool.State]int{pool.Ready: 20}, l.levels("b"))
		l.accounted()
	})
}

// TestAllNodesOfAPoolAreDead has nobody ask for any other pool. It recovers by the nodes
// that come in the place of the first few.
func TestAllNodesOfAPoolAreDead(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 30), throwAway("b", 3))
		l.fill()
		alice := l.tenant("alice")
		l.silence("a")
		for range 5 {
			_, err := l.request(alice, spec(1, "a"))
			require.ErrorIs(t, err, fault.Unavailable)
		}
		require.Equal(t, 5, l.levels("a")[pool.Failed])
		l.retire(alice, l.mustRequest(alice, spec(1, "b")))
		l.silence("b") // now both are
		for range 5 {
			_, err := l.request(alice, spec(1, "a"))
			require.ErrorIs(t, err, fault.Unavailable)
		}
		l.reconcile() // fresh ones are there
		l.clock.advance(10 * time.Second)
		for range 20 {
			l.clock.advance(time.Second)
			s, err := l.request(alice, spec(1, "a"))
			if err == nil {
				l.retire(alice, s)
			}
			l.reconcile()
		}
		l.retire(alice, l.mustRequest(alice, spec(5, "a")))
		l.reconcile()
		require.Equal(t, 30, l.levels("a")[pool.Ready])
	})
}

// An unready is a contextualizer that cannot try nodes, and knows it.
type unready struct{ *fake.Backend }

func (unready) Ready(context.Context) error { return errNoKey }

func TestUnready(t *testing.T) {
	t.Parallel()
	machines := fake.New()
	l := newLabOf(t, dbtest.SQLite(t), machines, unready{machines}, throwAway("a", 1))
	require.ErrorIs(t, l.sessions.Ready(t.Context()), backend.ErrNotTried)
	require.ErrorContains(t, l.sessions.Ready(t.Context()), "there is no SSH key")
}
