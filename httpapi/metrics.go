package httpapi

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics count requests.
type metrics struct {
	requests  *prometheus.CounterVec
	durations *prometheus.HistogramVec
}

// durationBuckets are in seconds. A request for a session may take a minute.
var durationBuckets = append(slices.Clone(prometheus.DefBuckets), 30, 60)

func newMetrics(registerer prometheus.Registerer) *metrics {
	with := promauto.With(registerer)
	return &metrics{
		requests: with.NewCounterVec(prometheus.CounterOpts{
			Name: "duffy_http_requests_total",
			Help: "HTTP requests answered.",
		}, []string{"route", "method", "status"}),
		durations: with.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "duffy_http_request_duration_seconds",
			Help:    "How long answering HTTP requests took.",
			Buckets: durationBuckets,
		}, []string{"route", "method"}),
	}
}

// answered counts a request that has been answered.
func (m *metrics) answered(l *line, method string, took time.Duration) {
	route, method := cmp.Or(routeOf(l.pattern), "none"), known(method)
	m.requests.WithLabelValues(route, method, strconv.Itoa(cmp.Or(l.status, http.StatusOK))).Inc()
	m.durations.WithLabelValues(route, method).Observe(took.Seconds())
}

// routeOf returns the path of a mux's pattern.
func routeOf(pattern string) string {
	if _, path, ok := strings.Cut(pattern, " "); ok {
		return path
	}
	return pattern
}

// known returns method, or "other": anybody can make up new ones.
func known(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return method
	}
	return "other"
}
