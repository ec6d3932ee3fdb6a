package session

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/duffy-ci/duffy/internal/fault"
	"github.com/duffy-ci/duffy/pool"
)

// metrics count what happens in this process.
type metrics struct {
	requests  *prometheus.HistogramVec
	handedOut *prometheus.CounterVec
	shortages *prometheus.CounterVec
}

// What becomes of a request.
const (
	outcomeOK          = "ok"
	outcomeEmpty       = "empty"       // a pool has not enough ready nodes
	outcomeQuota       = "quota"       // the tenant's is used up
	outcomeUnreachable = "unreachable" // nodes do not answer, and there are no others
	outcomeLost        = "lost"        // somebody else took the nodes or the session
	outcomeInvalid     = "invalid"     // makes no sense, or is not allowed
	outcomeCanceled    = "canceled"    // who asked has gone
	outcomeError       = "error"
)

// requestBuckets are in seconds.
var requestBuckets = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20, 30, 60}

func newMetrics(registerer prometheus.Registerer, pools *pool.Set) *metrics {
	with := promauto.With(registerer)
	m := &metrics{
		requests: with.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "duffy_session_request_duration_seconds",
			Help:    "How long requests for sessions took, by what became of them.",
			Buckets: requestBuckets,
		}, []string{"outcome"}),
		handedOut: with.NewCounterVec(prometheus.CounterOpts{
			Name: "duffy_nodes_handed_out_total",
			Help: "Nodes handed out in sessions.",
		}, []string{"pool"}),
		shortages: with.NewCounterVec(prometheus.CounterOpts{
			Name: "duffy_pool_shortages_total",
			Help: "Requests for sessions refused because the pool had not enough ready nodes.",
		}, []string{"pool"}),
	}
	// What never happened is 0, so that the first time is an increase.
	for _, outcome := range []string{
		outcomeOK, outcomeEmpty, outcomeQuota, outcomeUnreachable, outcomeLost, outcomeInvalid, outcomeCanceled, outcomeError,
	} {
		m.requests.WithLabelValues(outcome)
	}
	for _, c := range pools.Concrete() {
		m.handedOut.WithLabelValues(c.Name)
		m.shortages.WithLabelValues(c.Name)
	}
	return m
}

// requested counts a request, made with ctx, and what it returned.
func (m *metrics) requested(ctx context.Context, took time.Duration, ses *Session, err error) {
	m.requests.WithLabelValues(outcome(ctx, err)).Observe(took.Seconds())
	if err != nil {
		return
	}
	for _, n := range ses.Nodes {
		m.handedOut.WithLabelValues(n.Pool).Inc()
	}
}

// A refusal is an error that is counted as an outcome of its own.
type refusal struct {
	error
	outcome string
}

func (r refusal) Unwrap() error { return r.error }

func outcome(ctx context.Context, err error) string {
	var refused refusal
	switch {
	case err == nil:
		return outcomeOK
	case errors.As(err, &refused):
		return refused.outcome
	case errors.Is(ctx.Err(), context.Canceled):
		return outcomeCanceled
	case errors.Is(err, pool.ErrLeaseLost), errors.Is(err, errTakenAway):
		return outcomeLost
	case errors.Is(err, errContextualize):
		return outcomeUnreachable
	case errors.Is(err, fault.Invalid), errors.Is(err, fault.Forbidden):
		return outcomeInvalid
	}
	return outcomeError
}
