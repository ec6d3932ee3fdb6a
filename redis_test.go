package duffy_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy"
	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/backend/fake"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/internal/redistest"
	"github.com/duffy-ci/duffy/pool"
	"github.com/duffy-ci/duffy/queue"
	"github.com/duffy-ci/duffy/queue/asynqqueue"
	"github.com/duffy-ci/duffy/session"
	"github.com/duffy-ci/duffy/tenant"
)

// TestRedisLosesEverything has Redis lose all jobs while pools are to be filled,
// nodes to be taken back and sessions to end: all of that happens nevertheless.
func TestRedisLosesEverything(t *testing.T) {
	t.Parallel()
	t.Run("flushed", func(t *testing.T) {
		t.Parallel()
		url := "sqlite:///" + filepath.Join(t.TempDir(), "duffy.db")
		loseJobs(t, url, func(redis *redistest.Server) { redis.Do(t, "FLUSHALL") })
	})
	t.Run("killed", func(t *testing.T) {
		t.Parallel()
		loseJobs(t, dbtest.PostgresURL(t), func(redis *redistest.Server) { redis.Stop(); redis.Start(t) })
	})
}

func loseJobs(t *testing.T, url string, lose func(*redistest.Server)) {
	redis := redistest.New(t)
	redis.Start(t)
	machines := fake.New()
	d := newOnRedis(t, url, redis.URL(), machines)
	stop := work(t, d)
	defer stop()
	alice, _, err := d.Tenants.Create(t.Context(), tenant.Tenant{Name: "alice", SSHKey: "k"})
	require.NoError(t, err)
	untilReady(t, d, 3)
	request := func() *session.Session {
		s, err := d.Sessions.Request(t.Context(), alice, session.Request{Specs: []session.Spec{{Quantity: 1, Pool: "a"}}})
		require.NoError(t, err)
		return s
	}
	kept, expiring, retired := request(), request(), request()
	soon := time.Now().Add(2 * time.Second)
	_, err = d.Sessions.Update(t.Context(), alice, expiring.ID, session.Update{ExpiresAt: &soon})
	require.NoError(t, err)
	untilReady(t, d, 3)

	// The only worker for playbooks has got one that hangs, and the others wait.
	machines.Inject(fake.Fault{In: fake.Provision, Hang: true})
	last := request()
	require.Eventually(t, func() bool { return calls(machines, fake.Provision) == 7 }, patience, glance)
	_, err = d.Sessions.Update(t.Context(), alice, retired.ID, session.Update{Retire: true})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		n, err := d.DB().NewSelect().Table("queue_outbox").Where("not_before = 0").Count(t.Context())
		return err == nil && n == 0
	}, patience, glance, "Redis has the jobs")
	lose(redis)
	machines.Heal()

	require.EventuallyWithT(t, func(c *assert.CollectT) {
		active, err := d.Sessions.List(t.Context(), nil)
		require.NoError(c, err)
		var ids []int64
		for _, s := range active {
			ids = append(ids, s.ID)
		}
		require.Equal(c, []int64{kept.ID, last.ID}, ids)
		for _, s := range []*session.Session{expiring, retired} {
			_, exists := machines.Machine(s.Nodes[0].ID)
			require.False(c, exists, "it was deprovisioned")
		}
	}, patience, glance)
	untilReady(t, d, 3)
	for _, s := range []*session.Session{kept, last} {
		m, exists := machines.Machine(s.Nodes[0].ID)
		require.True(t, exists)
		require.Equal(t, "k", m.SSHKey)
	}
}

// newOnRedis returns Duffy with a pool of three and one worker for playbooks, which
// end after seconds.
func newOnRedis(t *testing.T, url, redis string, machines *fake.Backend) *duffy.Duffy {
	pools, err := pool.NewSet(pool.Config{
		Name: "a", Backend: "fake", FillLevel: new(3), ProvisionTimeout: 5 * time.Second,
	})
	require.NoError(t, err)
	opt, err := asynqqueue.ParseRedis(redis)
	require.NoError(t, err)
	d, err := duffy.New(t.Context(), duffy.Config{Database: url, Pools: pools}, duffy.Options{
		Backends: map[string]backend.Backend{"fake": machines}, Contextualizer: machines,
		NewQueue: func(db *bun.DB) (queue.Queue, error) {
			return asynqqueue.New(db, opt, asynqqueue.Config{LongWorkers: 1, ShutdownTimeout: time.Second}), nil
		},
	})
	require.NoError(t, err)
	t.Cleanup(func() { d.Close() })
	require.NoError(t, d.Migrate(t.Context()))
	return d
}

// work has Duffy work until stop is called.
func work(t *testing.T, d *duffy.Duffy) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- d.Work(ctx) }()
	return func() {
		cancel()
		require.NoError(t, <-ended)
	}
}

func untilReady(t *testing.T, d *duffy.Duffy, n int) {
	t.Helper()
	require.Eventually(t, func() bool {
		ready, err := d.DB().NewSelect().Model((*pool.Node)(nil)).Where("state = ?", pool.Ready).Count(t.Context())
		return err == nil && int(ready) == n
	}, patience, glance)
}

func calls(machines *fake.Backend, op fake.Op) (n int) {
	for _, call := range machines.Calls() {
		if call.Op == op {
			n++
		}
	}
	return n
}
