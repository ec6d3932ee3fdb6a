package httpapi

import (
	"context"
	"io"
	"net/http"
	"time"
)

// readyTimeout limits how long /readyz waits, in which nobody is told to come.
const readyTimeout = 5 * time.Second

func (a *api) healthy(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"status":"ok"}`+"\n")
}

// ready tells the log why the process is not ready, and the caller, who may be
// anybody, only that.
func (a *api) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	if a.Ready != nil {
		if err := a.Ready(ctx); err != nil {
			a.log.WarnContext(ctx, "not ready", "err", err)
			writeProblem(w, http.StatusServiceUnavailable)
			return
		}
	}
	a.healthy(w, r)
}
