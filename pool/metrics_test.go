package pool_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/backend/fake"
	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/pool"
	"github.com/duffy-ci/duffy/queue"
)

// measure has the lab's pools keep metrics, and returns what reads one whose labels
// have these values.
func (l *lab) measure() (count func(name string, labels ...string) float64) {
	registry := prometheus.NewRegistry()
	l.pools = pool.New(l.db.DB, l.jobs, pool.ServiceConfig{
		Pools: l.pools.Pools(), Backends: l.backends, Contextualizer: l.machines,
		Now: func() time.Time { return l.now }, Elapsed: l.elapsed, Lease: time.Minute, Metrics: registry,
	})
	l.mux = queue.Mux{}
	l.pools.Handle(&l.mux)
	return func(name string, labels ...string) float64 {
		families, err := registry.Gather()
		require.NoError(l, err)
		for _, f := range families {
			for _, m := range f.GetMetric() {
				var values []string
				for _, label := range m.GetLabel() {
					values = append(values, label.GetValue())
				}
				if f.GetName() == name && slices.Equal(values, labels) {
					return m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
				}
			}
		}
		return 0
	}
}

func TestRunsAreCountedByResult(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		together := throwAway("together", 2)
		together.Together = true
		slow := throwAway("slow", 1)
		slow.ProvisionTimeout = time.Millisecond
		l := newLab(t, d, throwAway("a", 1), throwAway("failing", 1), together, slow, throwAway("stopped", 1))
		count := l.measure()
		runs := func(action, name, result string) float64 {
			return count("duffy_backend_run_duration_seconds", action, name, result)
		}
		fill := func(name string, fault fake.Fault) {
			t.Helper()
			fault.In = fake.Provision
			l.machines.Inject(fault)
			require.NoError(t, l.pools.Fill(t.Context(), name))
			l.work()
			l.machines.Heal()
		}
		require.NoError(t, l.pools.Fill(t.Context(), "a"))
		l.work()
		fill("failing", fake.Fault{Err: errNoCapacity})
		fill("together", fake.Fault{Missing: 1})
		fill("slow", fake.Fault{Hang: true})
		require.EqualValues(t, 1, runs("provision", "a", "ok"))
		require.EqualValues(t, 1, runs("provision", "failing", "failed"))
		require.EqualValues(t, 1, runs("provision", "together", "partial"))
		require.EqualValues(t, 1, runs("provision", "slow", "timeout"))
		require.EqualValues(t, 1, count("duffy_nodes_failed_total", "failing", "provisioning"))

		l.jobs.Lose()
		require.NoError(t, l.pools.Fill(t.Context(), "stopped"))
		l.machines.Inject(fake.Fault{In: fake.Provision, Hang: true})
		ctx, stop := context.WithCancelCause(t.Context())
		calls := len(l.machines.Calls())
		done := make(chan error, 1)
		go func() {
			job := l.jobs.Jobs()[0]
			done <- l.mux.Dispatch(ctx, job.Kind(), jsonOf(t, job))
		}()
		require.Eventually(t, func() bool { return len(l.machines.Calls()) > calls }, 10*time.Second, 10*time.Millisecond)
		stop(errors.New("the queue's own reason"))
		require.NoError(t, <-done)
		l.machines.Heal()
		require.EqualValues(t, 1, runs("provision", "stopped", "interrupted"))

		l.reclaim(pool.Ready, l.nodes(pool.Ready)[0].ID)
		l.work()
		require.EqualValues(t, 1, runs("deprovision", "a", "ok"))

		without := newLab(t, d, throwAway("b", 1))
		count = without.measure()
		without.reclaim(pool.Ready, l.nodes(pool.Ready)[0].ID)
		without.work()
		require.EqualValues(t, 1, runs("deprovision", "together", "no_pool"))
	})
}

func TestTakeOversAreCounted(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 1))
		count := l.measure()
		require.NoError(t, l.pools.Fill(t.Context(), "a"))
		l.set(l.nodes(pool.Provisioning)[0].ID, "lease_owner = 'dead'", until(l.now))
		l.later(time.Minute)
		require.EqualValues(t, 1, count("duffy_leases_taken_over_total", "provisioning"))
		require.Zero(t, count("duffy_leases_taken_over_total", "deprovisioning"))
	})
}
