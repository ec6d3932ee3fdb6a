package httpapi

import (
	"context"
	"io"
	"net/http"
	"time"
)

// readyTimeout limits how long /readyz waits, in which nobody is told to come.
const readyTimeout = 5 * time.Second

// NewMonitor returns a handler for those who look after the process, without the
// API: of /healthz, which tells that it lives, of /readyz, which tells that it can
// answer requests, and of /metrics. Of cfg, Ready, Scrape and Logger count.
func NewMonitor(cfg Config) http.Handler {
	cfg.Metrics = nil // which are about the API
	a := newAPI(cfg)
	mux := http.NewServeMux()
	a.monitor(mux)
	return a.observe(routed(mux))
}

func (a *api) monitor(mux *http.ServeMux) {
	mux.HandleFunc("GET /healthz", a.healthy)
	mux.HandleFunc("GET /readyz", a.ready)
	if a.Scrape != nil {
		mux.Handle("GET /metrics", a.Scrape)
	}
}

func (a *api) healthy(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"status":"ok"}`+"\n")
}

// ready tells the log why the process is not ready, and the caller, who may be
// anybody, only that. Those who ask at once get one answer, and the next one comes
// after as long as that took: a balancer that asks now and then does not notice.
func (a *api) ready(w http.ResponseWriter, r *http.Request) {
	if a.Ready != nil {
		_, err, _ := a.readiness.Do("", func() (any, error) {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), readyTimeout)
			defer cancel()
			time.Sleep(time.Until(a.rested))
			began := time.Now()
			err := a.Ready(ctx)
			a.rested = time.Now().Add(min(time.Since(began), longestRest))
			return nil, err
		})
		if err != nil {
			a.log.WarnContext(r.Context(), "not ready", "err", err)
			writeProblem(w, http.StatusServiceUnavailable)
			return
		}
	}
	a.healthy(w, r)
}
