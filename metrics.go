package duffy

import (
	"fmt"
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"golang.org/x/sync/singleflight"

	"github.com/duffy-ci/duffy/httpapi"
)

// exportMetrics completes the metrics that services keep and hands all of them to
// another registerer, if there is one. Metrics that name tenants join d.metrics only.
func (d *Duffy) exportMetrics(to prometheus.Registerer) error {
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "duffy_build_info",
		Help:        "What this process was built from; always 1.",
		ConstLabels: prometheus.Labels{"version": Version(), "goversion": runtime.Version()},
	})
	build.Set(1)
	d.public.MustRegister(build, state{d})
	if to == nil {
		d.public.MustRegister(
			collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	}
	d.metrics.MustRegister(d.public, tenants{d}) // last: a registry describes itself once
	if to == nil {
		return nil
	}
	if err := to.Register(d.metrics); err != nil {
		return fmt.Errorf("register metrics: %w: register each Duffy with labels of its own, see prometheus.WrapRegistererWith", err)
	}
	d.unregister = func() { to.Unregister(d.metrics) }
	return nil
}

// publicScrape returns the handler of /metrics beside the API, nil if there is none.
func (d *Duffy) publicScrape() http.Handler {
	if d.cfg.AnonymousRead == httpapi.ReadNone || d.cfg.HideMetrics {
		return nil
	}
	return scrape(d.public)
}

func scrape(metrics prometheus.Gatherer) http.Handler {
	return promhttp.HandlerFor(&together{Gatherer: metrics}, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError,
	})
}

// together is a gatherer that gathers once for all who ask meanwhile, and then rests
// for as long as that took: anybody may ask, and what is gathered is read from the
// database.
type together struct {
	prometheus.Gatherer
	group  singleflight.Group
	rested time.Time // for the one who gathers
}

// longestRest is how long a scrape waits at most for the one before it.
const longestRest = time.Second

func (t *together) Gather() ([]*dto.MetricFamily, error) {
	families, err, _ := t.group.Do("", func() (any, error) {
		time.Sleep(time.Until(t.rested))
		began := time.Now()
		families, err := t.Gatherer.Gather()
		t.rested = time.Now().Add(min(time.Since(began), longestRest))
		return families, err
	})
	return families.([]*dto.MetricFamily), err
}
