package pool_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/backend/fake"
	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/pool"
	"github.com/duffy-ci/duffy/queue"
	"github.com/duffy-ci/duffy/queue/queuetest"
)

// A lab is pools with fake machines, whose jobs run when the test says so and
// whose clock stands still.
type lab struct {
	*testing.T
	db       *db.DB
	machines *fake.Backend
	backends map[string]backend.Backend
	pools    *pool.Service
	jobs     *queuetest.Recorder
	mux      queue.Mux
	began    time.Time
	now      time.Time
}

func newLab(t *testing.T, d *db.DB, pools ...pool.Config) *lab {
	l := &lab{T: t, db: d, machines: fake.New(), now: time.Now().UTC()}
	l.began = l.now
	clock := func() time.Time { return l.now }
	l.jobs = &queuetest.Recorder{Now: clock}
	set, err := pool.NewSet(pools...)
	require.NoError(t, err)
	l.backends = map[string]backend.Backend{"fake": l.machines}
	l.pools = pool.New(d.DB, l.jobs, pool.ServiceConfig{
		Pools: set, Backends: l.backends,
		Contextualizer: l.machines, Now: clock, Elapsed: l.elapsed, Lease: time.Minute,
	})
	l.pools.Handle(&l.mux)
	return l
}

func throwAway(name string, level int) pool.Config {
	return pool.Config{Name: name, FillLevel: &level, Backend: "fake"}
}

// work runs the jobs that are due.
func (l *lab) work() {
	l.Helper()
	l.jobs.Run(l.T, &l.mux)
}

func (l *lab) elapsed() time.Duration { return l.now.Sub(l.began) }

// later lets time pass and workers do what there is to do. They look at what there is
// before, too, as they do all the time.
func (l *lab) later(d time.Duration) {
	l.Helper()
	require.NoError(l, l.pools.Reconcile(l.Context()))
	l.now = l.now.Add(d)
	require.NoError(l, l.pools.Reconcile(l.Context()))
	l.work()
}

func (l *lab) levels(name string) map[pool.State]int {
	l.Helper()
	levels, err := l.pools.Levels(l.Context(), name)
	require.NoError(l, err)
	return levels
}

// nodes returns the active nodes in a state.
func (l *lab) nodes(state pool.State) []*pool.Node {
	l.Helper()
	all, err := l.pools.Nodes(l.Context())
	require.NoError(l, err)
	var nodes []*pool.Node
	for _, n := range all {
		if n.State == state {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

func (l *lab) trouble(name string) pool.Trouble {
	l.Helper()
	trouble, err := l.pools.Trouble(l.Context(), name)
	require.NoError(l, err)
	return trouble
}

// reclaim takes back nodes as if they had been handed out.
func (l *lab) reclaim(state pool.State, ids ...int64) {
	l.Helper()
	require.NoError(l, l.db.RunInTx(l.Context(), nil, func(ctx context.Context, tx bun.Tx) error {
		return l.pools.ReclaimNodesTx(ctx, tx, state, ids...)
	}))
}

// set changes columns of a node behind the pools' back, as a dead process leaves
// them.
func (l *lab) set(id int64, assignments ...string) {
	l.Helper()
	q := l.db.NewUpdate().Model((*pool.Node)(nil)).Where("id = ?", id)
	for _, a := range assignments {
		q = q.Set(a)
	}
	_, err := q.Exec(l.Context())
	require.NoError(l, err)
}

// until assigns when a lease ends, in the form that Duffy writes.
func until(at time.Time) string {
	return "lease_until = '" + at.UTC().Format("2006-01-02 15:04:05.999999-07:00") + "'"
}

func jsonOf(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return b
}

func newMux(pools *pool.Service) (mux queue.Mux) {
	pools.Handle(&mux)
	return mux
}
