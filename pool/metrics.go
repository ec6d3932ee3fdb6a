package pool

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics count what happens in this process.
type metrics struct {
	runs      *prometheus.HistogramVec
	failed    *prometheus.CounterVec
	takenOver *prometheus.CounterVec
}

// runBuckets are in seconds, for machines that take from seconds to an hour.
var runBuckets = []float64{1, 5, 10, 30, 60, 120, 180, 300, 600, 900, 1200, 1800, 3600}

func newMetrics(registerer prometheus.Registerer, pools *Set) *metrics {
	with := promauto.With(registerer)
	m := &metrics{
		runs: with.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "duffy_backend_run_duration_seconds",
			Help:    "How long runs of the pools' backends took, by what became of them.",
			Buckets: runBuckets,
		}, []string{"pool", "action", "result"}),
		failed: with.NewCounterVec(prometheus.CounterOpts{
			Name: "duffy_nodes_failed_total",
			Help: "Nodes that failed, by the state that they were in; contextualizing ones did not answer.",
		}, []string{"pool", "while"}),
		takenOver: with.NewCounterVec(prometheus.CounterOpts{
			Name: "duffy_leases_taken_over_total",
			Help: "Nodes taken over from a process that was gone, by their state.",
		}, []string{"state"}),
	}
	// What never happened is 0, so that the first time is an increase.
	for _, state := range []State{Provisioning, Contextualizing, Deprovisioning} {
		m.takenOver.WithLabelValues(string(state))
		for _, c := range pools.Concrete() {
			m.failed.WithLabelValues(c.Name, string(state))
		}
	}
	return m
}

// ran counts a run for nodes in a state, that began at a time and succeeded for some.
func (m *metrics) ran(r *run, state State, began time.Time, done int) {
	action := "provision"
	if state == Deprovisioning {
		action = "deprovision"
	}
	m.runs.WithLabelValues(r.pool, action, r.result(done)).Observe(time.Since(began).Seconds())
}
