package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/httpapi/apiv1"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
)

// TestRollingRestart restarts every process of a busy fleet twice, one after the
// other: no request fails.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	f := newFleet(t, dbtest.PostgresURL(t), "app: {shutdown-delay: 2s}\ntasks: {shutdown-timeout: 10s}\n")
	members := []*member{f.serving(t), f.serving(t), f.worker(t), f.worker(t)}
	servers := newBalancer(t, members[:2]...)
	d := f.open(t)
	f.keepStocked(t, 30)
	l := startLoad(t, f.client(t, "alice", servers), f.client(t, "bob", servers), f.client(t, "carol", servers))
	l.more(t, 10)
	for range 2 {
		for _, m := range members {
			m.stop(t)
			l.more(t, 3)
			m.start(t)
			servers.untilAllReady(t)
			l.more(t, 10)
		}
	}
	l.requireFlawless(t, d)
}

// TestShutdownDelay has a server that is to stop say so, before it does.
func TestShutdownDelay(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "sqlite:///duffy.sqlite", "app: {shutdown-delay: 1h}\n")
	m := f.serving(t)
	m.untilReady(t)
	m.signal(t, syscall.SIGTERM)
	m.untilAnswers(t, "/readyz", http.StatusServiceUnavailable)
	res, err := http.Get(m.url + "/api/v1/pools")
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, http.StatusOK, res.StatusCode, "it still serves")
	require.True(t, res.Close, "but nothing more on this connection")
	m.requireInterrupted(t)
}

// TestSecondSignal has processes end at once that still wait for something.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	f := newFleet(t, dbtest.PostgresURL(t), "ssh: {connect-timeout: 1h}\ntasks: {shutdown-timeout: 1h}\n")
	silent, err := net.ListenTCP("tcp4", nil)
	require.NoError(t, err)
	defer silent.Close()
	require.NoError(t, silent.SetDeadline(time.Now().Add(patience)))
	f.sshPort = silent.Addr().(*net.TCPAddr).Port
	require.NoError(t, f.addNodes(t.Context(), f.open(t), 1))
	server := f.serving(t)
	server.untilReady(t)
	api := f.client(t, "alice", server)
	failed := make(chan error, 1)
	go func() {
		_, err := api.RequestSession(t.Context(), apiv1.SessionCreate{NodesSpecs: []apiv1.NodesSpec{spec("a", 1)}})
		failed <- err
	}()
	conn, err := silent.Accept()
	require.NoError(t, err)
	defer conn.Close()

	server.signal(t, syscall.SIGTERM)
	require.Eventually(t, func() bool { return server.status("/readyz") == 0 }, patience, glance)
	require.Empty(t, failed, "it waits for the request")
	server.requireInterrupted(t)
	require.Error(t, <-failed)
}

// TestSecondSignalEndsPlaybooks has nothing go on that a worker started.
func TestSecondSignalEndsPlaybooks(t *testing.T) {
	t.Parallel()
	need(t, installed("ansible-playbook"), "ansible-playbook (Debian: apt-get install ansible-core)")
	f := newFleet(t, dbtest.PostgresURL(t), `
tasks: {shutdown-timeout: 1h}
nodepools: {concrete: {a: {fill-level: 1}}}
`)
	hangs := filepath.Join(f.dir, "hangs")
	require.NoError(t, os.WriteFile(filepath.Join(f.dir, "provision.yml"), fmt.Appendf(nil, `
- hosts: localhost
  gather_facts: false
  tasks:
  - ansible.builtin.shell: touch %s && sleep 1h
`, hangs), 0o600))
	worker := f.worker(t)
	require.Eventually(t, func() bool { return exists(hangs) }, patience, glance)
	worker.signal(t, syscall.SIGTERM)
	worker.requireInterrupted(t)
	require.Eventually(t, func() bool {
		left, err := exec.Command("pgrep", "-f", hangs).Output()
		return err != nil && len(left) == 0
	}, patience, glance, "the playbook ends with the worker")
}

// requireInterrupted has a process end that was told to stop and has not yet. The
// process may take the second signal for the first if they come at once.
func (m *member) requireInterrupted(t *testing.T) {
	t.Helper()
	require.Empty(t, m.ended)
	require.Eventually(t, func() bool { return m.process.Signal(syscall.SIGTERM) != nil }, patience, glance)
	require.Equal(t, syscall.SIGTERM, m.wait(t).Sys().(syscall.WaitStatus).Signal())
}
