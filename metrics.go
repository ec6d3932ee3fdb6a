package duffy

import (
	"fmt"
	"net/http"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// scrapesMax limits how many scrapes are answered at once.
const scrapesMax = 3

// exportMetrics completes the metrics that services keep and hands all of them to
// another registerer, if there is one.
func (d *Duffy) exportMetrics(to prometheus.Registerer) error {
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "duffy_build_info",
		Help:        "What this process was built from; always 1.",
		ConstLabels: prometheus.Labels{"version": Version(), "goversion": runtime.Version()},
	})
	build.Set(1)
	d.metrics.MustRegister(build, state{d})
	if to == nil {
		d.metrics.MustRegister(
			collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
		return nil
	}
	if err := to.Register(d.metrics); err != nil {
		return fmt.Errorf("register metrics: %w: register each Duffy with labels of its own, see prometheus.WrapRegistererWith", err)
	}
	d.unregister = func() { to.Unregister(d.metrics) }
	return nil
}

// scrape returns the handler of /metrics.
func (d *Duffy) scrape() http.Handler {
	return promhttp.HandlerFor(d.metrics, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: scrapesMax,
	})
}
