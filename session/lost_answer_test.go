package session_test

import (
	"context"
	"database/sql/driver"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/pool"
	"github.com/duffy-ci/duffy/queue"
	"github.com/duffy-ci/duffy/queue/queuetest"
	"github.com/duffy-ci/duffy/session"
)

// newBreakableLab returns a lab on PostgreSQL, with its way there.
func newBreakableLab(t *testing.T) (*lab, *dbtest.Proxy) {
	p := dbtest.NewProxy(t)
	d, err := db.Open(t.Context(), p.URL(), db.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	_, _, err = db.Migrate(t.Context(), d)
	require.NoError(t, err)
	l := newLab(t, d, throwAway("a", 2))
	l.fill()
	return l, p
}

// TestAnswerOfDatabaseIsLost breaks the connection right after a commit of a request: its
// session is answered, or does not exist.
func TestAnswerOfDatabaseIsLost(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		statement string
		specs     []session.Spec
		answered  bool
	}{
		"deployed":          {"SET state = 'deployed'", []session.Spec{spec(2, "a")}, true},
		"reserved":          {"commit", []session.Spec{spec(2, "a")}, false},
		"without nodes":     {"commit", nil, false},
		"nothing to deploy": {"SET state = 'deployed'", nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, p := newBreakableLab(t)
			by := l.tenant("tester")
			p.LoseAnswer(tt.statement)
			go func() {
				for !p.Broken() {
					time.Sleep(time.Millisecond)
				}
				p.Mend()
			}()
			s, err := l.request(by, tt.specs...)
			require.Equal(t, tt.answered, err == nil, "%v", err)
			var active []*session.Session
			require.Eventually(t, func() bool {
				active, err = l.sessions.List(t.Context(), nil)
				return err == nil && (len(active) > 0) == tt.answered
			}, 20*time.Second, 10*time.Millisecond, "a session that was not answered is gone")
			if tt.answered {
				require.Equal(t, s.ID, active[0].ID)
				require.Len(t, active[0].Nodes, 2*len(tt.specs))
				l.retire(by, s)
			}
			l.work()
			l.fill()
			require.Equal(t, map[pool.State]int{pool.Ready: 2}, l.levels("a"))
			l.accounted()
		})
	}
}

// TestDatabaseStaysAway has the database stay away for longer than a tenant is kept waiting.
func TestDatabaseStaysAway(t *testing.T) {
	t.Parallel()
	l, p := newBreakableLab(t)
	by := l.tenant("tester")
	p.LoseAnswer("SET state = 'deployed'")
	_, err := l.request(by, spec(1, "a"))
	require.Error(t, err)
	p.Mend()
	active, err := l.sessions.List(t.Context(), nil)
	require.NoError(t, err)
	require.LessOrEqual(t, len(active), 1)
	require.Eventually(t, func() bool {
		active, err := l.sessions.List(t.Context(), nil)
		return err == nil && len(active) == 0
	}, 20*time.Second, 10*time.Millisecond, "a session that was not answered is gone")
	l.work()
	l.fill()
	require.Equal(t, map[pool.State]int{pool.Ready: 2}, l.levels("a"))
	l.accounted()
}

// brokenQueue fails to insert jobs for so many times as a database does that is full.
type brokenQueue struct {
	*queuetest.Recorder
	times atomic.Int32
}

func (q *brokenQueue) Insert(ctx context.Context, tx bun.Tx, jobs ...queue.Job) error {
	if q.times.Add(-1) >= 0 {
		return driver.ErrBadConn
	}
	return q.Recorder.Insert(ctx, tx, jobs...)
}

// TestIDIsUsedAgain has a request fail whose session never was. SQLite gives its id to the
// next one, which nobody may take back.
func TestIDIsUsedAgain(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 2))
		l.fill()
		by := l.tenant("tester")
		broken := &brokenQueue{Recorder: l.jobs}
		broken.times.Store(2)
		failing := session.New(d.DB, broken, l.tenants, l.pools, session.Config{
			Contextualizer: l.machines, Now: l.clock.Now, Logger: slog.New(slog.NewTextHandler(&l.log, nil)),
		})
		_, err := failing.Request(t.Context(), by, session.Request{Specs: []session.Spec{spec(1, "a")}})
		require.ErrorIs(t, err, driver.ErrBadConn)
		ours, err := l.request(by, spec(1, "a"))
		require.NoError(t, err)
		if len(l.log.with("going on to try")) > 0 {
			require.Eventually(t, func() bool { return len(l.log.with("session undone")) > 0 }, 20*time.Second, 10*time.Millisecond)
		}
		got, err := l.sessions.Get(t.Context(), by, ours.ID)
		require.NoError(t, err)
		require.True(t, got.Active())
		require.Len(t, got.Nodes, 1)
		require.Equal(t, pool.Deployed, got.Nodes[0].State)
	})
}
