package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestMetricsHaveAPortOfTheirOwn scrapes a process that serves, and workers, of
// which two cannot share a port.
func TestMetricsHaveAPortOfTheirOwn(t *testing.T) {
	t.Parallel()
	api, serving, working := freePort(t), freePort(t), freePort(t)
	file := writeConfig(t, `
app: {port: %d, metrics: {port: %d}}
tasks:
  metrics: {port: %d}
database: {url: 'sqlite:///%s/duffy.sqlite'}
nodepools: {concrete: {}}
`, api, serving, working, t.TempDir())
	code, _, stderr := runProgram(t, t.TempDir(), "-c", file, "setup-db")
	require.Zero(t, code, stderr)
	server, worker := startServing(t, "-c", file, "serve"), startServing(t, "-c", file, "worker")
	at := func(port int, path string) string { return fmt.Sprintf("http://127.0.0.1:%d%s", port, path) }
	for _, port := range []int{serving, working} {
		require.Contains(t, askUntil(t, at(port, "/metrics")), "duffy_build_info{")
		require.Contains(t, askUntil(t, at(port, "/readyz")), "200")
	}
	require.Contains(t, askUntil(t, at(api, "/healthz")), "200")
	require.Contains(t, askUntil(t, at(api, "/metrics")), "404", "they moved")

	second := startServing(t, "-c", file, "worker")
	select {
	case code := <-second.code:
		require.Equal(t, exitFailure, code)
		require.Contains(t, second.stderr.String(), file+":4: tasks.metrics.port: every process needs a port of its own")
	case <-time.After(time.Minute):
		require.Fail(t, "a worker without its port works")
	}
	for _, s := range []*servingCommand{server, worker} {
		s.stop()
		s.requireStopped(t)
	}
}
