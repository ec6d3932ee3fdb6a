package main

import (
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/pool"
)

// request asks a server for a session with one node, and returns the status of the answer.
func (m *member) request(t *testing.T, c *http.Client, name, key string) (status int, retryAfter string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "POST", m.url+"/api/v1/sessions",
		strings.NewReader(`{"nodes_specs": [{"quantity": 1, "pool": "a"}]}`))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/json")
	r.SetBasicAuth(name, key)
	res, err := c.Do(r)
	if err != nil {
		return 0, ""
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body) // so that the connection stays
	return res.StatusCode, res.Header.Get("Retry-After")
}

// unharmed sees that all of ten nodes are ready still.
func unharmed(t *testing.T, d *db.DB) {
	t.Helper()
	ready, err := d.NewSelect().Model((*pool.Node)(nil)).Where("state = ?", pool.Ready).Count(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 10, ready)
}

// newOwnFault returns a fleet with ten nodes, and a tenant with its key.
func newOwnFault(t *testing.T) (f *fleet, d *db.DB, key string) {
	t.Helper()
	f = newFleet(t, dbtest.PostgresURL(t), "")
	d = f.open(t)
	require.NoError(t, f.addNodes(t.Context(), d, 10))
	code, stdout, stderr := f.run(t, "admin", "create-tenant", "ci", f.key.authorized())
	require.Zero(t, code, stderr)
	_, key, _ = strings.Cut(strings.TrimSpace(stdout), "ci: ")
	return f, d, key
}

// TestServerWithoutKey has a server that no node lets in, since it has no key.
func TestServerWithoutKey(t *testing.T) {
	t.Parallel()
	f, d, key := newOwnFault(t)
	require.NoError(t, f.configure("ssh: {agent: nowhere, key-files: null}\n"))
	code, stdout, stderr := f.run(t, "config", "check")
	require.Zero(t, code, stderr)
	require.Contains(t, stdout, "OK.")
	require.Contains(t, stderr, "duffy: warning: ssh-agent: ")
	server := f.serving(t)
	server.untilAnswers(t, "/healthz", http.StatusOK)
	for range 12 {
		status, retry := server.request(t, http.DefaultClient, "ci", key)
		require.Equal(t, http.StatusServiceUnavailable, status)
		require.Equal(t, "10", retry)
	}
	require.Equal(t, http.StatusServiceUnavailable, server.status("/readyz"))
	require.Contains(t, server.output.String(), "nowhere")
	unharmed(t, d)
	server.stop(t)

	require.NoError(t, f.configure(""))
	server = f.serving(t)
	server.untilReady(t)
	status, _ := server.request(t, http.DefaultClient, "ci", key)
	require.Equal(t, http.StatusCreated, status)
}

// TestServerWithoutDescriptors has connections that do nothing take all descriptors.
func TestServerWithoutDescriptors(t *testing.T) {
	t.Parallel()
	f, d, key := newOwnFault(t)
	server := f.serving(t)
	server.untilReady(t)
	// One connection has been there before, and waits for its answers.
	alive := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}}
	res, err := alive.Get(server.url + "/healthz")
	require.NoError(t, err)
	_, _ = io.Copy(io.Discard, res.Body)
	res.Body.Close()
	require.NoError(t, exec.CommandContext(t.Context(), "prlimit", "--pid", strconv.Itoa(server.process.Pid), "--nofile=64:64").Run())
	var idle []net.Conn
	for range 60 {
		conn, err := net.Dial("tcp", strings.TrimPrefix(server.url, "http://"))
		require.NoError(t, err)
		idle = append(idle, conn)
	}
	t.Cleanup(func() {
		for _, conn := range idle {
			conn.Close()
		}
	})
	full := func() bool {
		open, err := filepath.Glob("/proc/" + strconv.Itoa(server.process.Pid) + "/fd/*")
		return err == nil && len(open) >= 64
	}
	require.Eventually(t, full, patience, 10*time.Millisecond)
	for range 12 {
		status, _ := server.request(t, alive, "ci", key)
		require.Equal(t, http.StatusServiceUnavailable, status)
		unharmed(t, d)
	}
	for _, conn := range idle {
		conn.Close()
	}
	idle = nil
	require.Eventually(t, func() bool {
		status, _ := server.request(t, http.DefaultClient, "ci", key)
		return status == http.StatusCreated
	}, patience, 100*time.Millisecond)
}
