package main

import (
	"io"
	"net/http"
	"sync/atomic"
)

// leaving is a handler that, once that has begun, has load balancers look for
// another server: it is not ready, and keeps no connection open that a request
// could come in on while the server closes it.
type leaving struct {
	http.Handler
	begun atomic.Bool
}

func (l *leaving) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if l.begun.Load() {
		w.Header().Set("Connection", "close")
		if r.URL.Path == "/readyz" {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, `{"status":"stopping"}`+"\n")
			return
		}
	}
	l.Handler.ServeHTTP(w, r)
}
