package duffy

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/duffy-ci/duffy/pool"
	"github.com/duffy-ci/duffy/queue"
)

// state is the [prometheus.Collector] of what the database and the queue say of nodes
// and jobs when they are asked, so that every process says the same, from its start on.
type state struct{ *Duffy }

// tenants is the [prometheus.Collector] of what the database says of tenants, by name.
type tenants struct{ *Duffy }

func gauge(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// scrapeSuccess describes whether a part of the state could be read. Each collector
// has its own parts.
func scrapeSuccess(part string) *prometheus.Desc {
	return prometheus.NewDesc("duffy_scrape_collector_success", "Whether this part of the state could be read.",
		nil, prometheus.Labels{"collector": part})
}

var (
	poolNodes     = gauge("duffy_nodes", "Active nodes.", "pool", "state")
	poolFillLevel = gauge("duffy_pool_fill_level", "How many nodes the configuration wants ready.", "pool")
	poolFailures  = gauge("duffy_pool_consecutive_failures", "Failed attempts at provisioning since the last that worked.", "pool")
	poolRetry     = gauge("duffy_pool_retry_timestamp_seconds", "When a pool in trouble is tried again.", "pool")

	tenantSessions = gauge("duffy_tenant_sessions", "Active sessions.", "tenant")
	tenantNodes    = gauge("duffy_tenant_nodes", "Nodes in active sessions, as they count towards the quota.", "tenant")
	tenantQuota    = gauge("duffy_tenant_node_quota", "How many nodes a tenant can have at a time. Administrators have no quota.", "tenant")

	clockSkew    = gauge("duffy_clock_skew_seconds", "How far the clock of this machine is ahead of the database's.")
	reconcileAge = gauge("duffy_reconcile_age_seconds", "How long ago this process, if it works, has looked for what stands still.")

	queueWaiting = gauge("duffy_queue_waiting_jobs", "Jobs that could run now.", "workers")
	queueRunning = gauge("duffy_queue_running_jobs", "Jobs that workers have begun.", "workers")
	queueLatency = gauge("duffy_queue_latency_seconds", "How long the oldest job that could run now has been waiting.", "workers")
)

// Describe implements [prometheus.Collector].
func (state) Describe(out chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{
		scrapeSuccess("pools"), scrapeSuccess("queue"), poolNodes, poolFillLevel, poolFailures, poolRetry,
		clockSkew, reconcileAge, queueWaiting, queueRunning, queueLatency,
	} {
		out <- desc
	}
}

// Describe implements [prometheus.Collector].
func (tenants) Describe(out chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{scrapeSuccess("tenants"), tenantSessions, tenantNodes, tenantQuota} {
		out <- desc
	}
}

// scrapeTimeout limits how long the state is waited for, which is less than the 10
// seconds that Prometheus waits by default.
const scrapeTimeout = 5 * time.Second

// Collect implements [prometheus.Collector]. Parts that cannot be read are left
// out.
func (s state) Collect(out chan<- prometheus.Metric) {
	for _, c := range s.cfg.Pools.Concrete() {
		if c.FillLevel != nil {
			send(out, poolFillLevel, float64(*c.FillLevel), c.Name)
		}
	}
	send(out, clockSkew, s.db.Clock.Skew().Seconds())
	if age, ok := s.passes.age(); ok {
		send(out, reconcileAge, age.Seconds())
	}
	var all sync.WaitGroup
	all.Go(func() { s.collect(out, "pools", s.pools) })
	all.Go(func() { s.collect(out, "queue", s.inspect) })
	all.Wait()
}

// Collect implements [prometheus.Collector].
func (t tenants) Collect(out chan<- prometheus.Metric) { t.collect(out, "tenants", t.usage) }

// collect sends a part of the state, and whether it could be read.
func (d *Duffy) collect(out chan<- prometheus.Metric, part string,
	read func(context.Context, chan<- prometheus.Metric) error,
) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	success := 1.0
	if err := read(ctx, out); err != nil {
		success = 0
		d.log.WarnContext(ctx, "cannot read the state for metrics", "collector", part, "err", err)
	}
	send(out, scrapeSuccess(part), success)
}

// send sends a metric. What labels say, SQLite may have in any encoding.
func send(out chan<- prometheus.Metric, desc *prometheus.Desc, value float64, labels ...string) {
	for i := range labels {
		labels[i] = strings.ToValidUTF8(labels[i], "?")
	}
	out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
}

// The states that are shown for every pool, also where no node is in them.
var shownStates = []pool.State{
	pool.Provisioning, pool.Ready, pool.Contextualizing, pool.Deployed, pool.Deprovisioning, pool.Failed,
}

func (s state) pools(ctx context.Context, out chan<- prometheus.Metric) error {
	census, err := s.Pools.Census(ctx)
	if err != nil {
		return err
	}
	failures := map[string]int{}
	for _, t := range census.Troubles {
		failures[t.Pool] = t.Failures
		if t.RetryAt != nil {
			send(out, poolRetry, float64(t.RetryAt.UnixMilli())/1000, t.Pool)
		}
	}
	for _, c := range s.cfg.Pools.Concrete() {
		send(out, poolFailures, float64(failures[c.Name]), c.Name)
		for _, shown := range shownStates {
			if census.Levels[c.Name][shown] == 0 {
				send(out, poolNodes, 0, c.Name, string(shown))
			}
		}
	}
	for name, levels := range census.Levels {
		for in, nodes := range levels {
			send(out, poolNodes, float64(nodes), name, string(in))
		}
	}
	return nil
}

func (t tenants) usage(ctx context.Context, out chan<- prometheus.Metric) error {
	usages, err := t.Sessions.Usage(ctx)
	for _, u := range usages {
		send(out, tenantSessions, float64(u.Sessions), u.Tenant)
		send(out, tenantNodes, float64(u.Nodes), u.Tenant)
		if u.Quota > 0 {
			send(out, tenantQuota, float64(u.Quota), u.Tenant)
		}
	}
	return err
}

func (s state) inspect(ctx context.Context, out chan<- prometheus.Metric) error {
	inspector, ok := s.queue.(queue.Inspector)
	if !ok {
		return nil
	}
	load, err := inspector.Inspect(ctx)
	if err != nil {
		return err
	}
	for workers, b := range map[string]queue.Backlog{"long": load.Long, "short": load.Short} {
		send(out, queueWaiting, float64(b.Waiting), workers)
		send(out, queueRunning, float64(b.Running), workers)
		send(out, queueLatency, b.Latency.Seconds(), workers)
	}
	return nil
}
