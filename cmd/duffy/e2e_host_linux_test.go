package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/httpapi"
	"github.com/duffy-ci/duffy/httpapi/apiv1"
	"github.com/duffy-ci/duffy/httpapi/client"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
)

const (
	exampleDir   = "/run/example"       // a copy of examples/playbooks, where Duffy runs
	overrideFile = "/run/override.yaml" // what is not as in the example
	machinesDir  = "/run/machines"      // for files of machines
	sshdFile     = "/run/machines-sshd" // what machines run as their sshd
	hangFile     = "/run/hang"          // a file in whose presence that hangs
	hangingFile  = "/run/hanging"       // a file that comes to exist when it does

	bridge = "duffybr0" // of the example
)

// A host is the stage on which everything is real. There is but one of it: see
// makeHost.
type host struct {
	before   traces
	services []*runningService
}

// newHost prepares what the example's README does, with PostgreSQL, and without
// waiting for playbooks when Duffy is to stop.
func newHost(t *testing.T) *host {
	script := fmt.Sprintf("#!/bin/sh\nif test -e %s; then touch %s; sleep 1h; fi\nexec /usr/sbin/sshd \"$@\"\n", hangFile, hangingFile)
	require.NoError(t, os.WriteFile(sshdFile, []byte(script), 0o700))
	text := fmt.Sprintf(`
database: {sqlalchemy: {sync_url: %q}}
tasks: {shutdown-timeout: 100ms}
nodepools: {abstract: {namespaces: {mechanism: {ansible: {extra-vars: {state_dir: %q, sshd: %q}}}}}}
`, dbtest.PostgresURL(t), machinesDir, sshdFile)
	require.NoError(t, os.WriteFile(overrideFile, []byte(text), 0o600))
	key, err := newDemoKey(filepath.Join(exampleDir, "duffy_key"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(key.file+".pub", []byte(key.authorized()), 0o600))
	return &host{before: findTraces(t)}
}

func (h *host) duffy(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return runProgram(t, exampleDir, args...)
}

func (h *host) config() []string { return []string{"-c", "duffy.yaml", "-c", overrideFile} }

func (h *host) start(t *testing.T) string {
	for _, command := range []string{"serve", "worker"} {
		h.services = append(h.services, startService(t, append(h.config(), "-l", "debug", command)...))
	}
	const url = "http://127.0.0.1:8080" + httpapi.Prefix
	api, err := client.New(url, client.Config{})
	require.NoError(t, err)
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		_, err := api.ListPools(t.Context())
		require.NoError(c, err)
	}, patience, glance)
	return url
}

func (h *host) hang(t *testing.T) { require.NoError(t, os.WriteFile(hangFile, nil, 0o600)) }

func (h *host) stop(t *testing.T) {
	require.Eventually(t, func() bool { return exists(hangingFile) }, patience, glance)
	for _, s := range h.services {
		require.NoError(t, s.Process.Signal(syscall.SIGTERM))
	}
	for _, s := range h.services {
		s.requireEnded(t)
	}
}

func (h *host) exists(t *testing.T, node apiv1.Node) bool {
	return exists(fmt.Sprintf("/run/netns/%s-%d", bridge, number(node.ID)))
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// number is what machine.yml of the example makes of the ID of a node.
func number(node int64) int64 { return node + 2 }

func (h *host) login(t *testing.T, node apiv1.Node, key demoKey, command string) (string, error) {
	ctx, cancel := context.WithTimeout(t.Context(), patience/4) // a machine that goes may leave it unanswered
	defer cancel()
	target, err := newDemoNode(node.ID, node.Pool, node.IPAddr, node.Data)
	if err != nil {
		return "", err
	}
	target.port = "22"
	conn, err := target.connect(ctx, key)
	if err != nil {
		return "", err
	}
	session, err := conn.NewSession()
	if err != nil {
		return "", err
	}
	output, err := session.CombinedOutput(command)
	return strings.TrimSpace(string(output)), err
}

// drain removes the machines that outlive Duffy, as the example's README tells.
func (h *host) drain(t *testing.T) {
	var nodes []map[string]int64
	for _, name := range names(machinesDir) {
		n, err := strconv.ParseInt(strings.TrimPrefix(name, bridge+"-"), 10, 64)
		require.NoError(t, err)
		nodes = append(nodes, map[string]int64{"id": n - number(0)})
	}
	require.NotEmpty(t, nodes)
	vars, err := json.Marshal(map[string]any{"state_dir": machinesDir, "duffy_in": map[string]any{"nodes": nodes}})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ansible-playbook", "playbooks/deprovision.yml", "-e", string(vars))
	cmd.Dir = exampleDir
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", output)
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		require.Equal(c, h.before, findTraces(c))
	}, patience, glance)
}

// A runningService is a command that runs until it is told to stop, and leads a
// session, in which all is that it starts.
type runningService struct {
	*exec.Cmd
	output demoOutput
	ended  chan struct{}
}

func startService(t *testing.T, args ...string) *runningService {
	s := &runningService{Cmd: programIn(t.Context(), t, exampleDir, args...), ended: make(chan struct{})}
	s.Stdout, s.Stderr = &s.output, &s.output
	s.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	require.NoError(t, s.Start())
	go func() {
		defer close(s.ended)
		_ = s.Wait()
	}()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s\n%s", args, &s.output)
		}
	})
	return s
}

// requireEnded waits until the service has ended, for which it was told to.
func (s *runningService) requireEnded(t *testing.T) {
	select {
	case <-s.ended:
	case <-time.After(patience):
		require.Fail(t, "does not end", "%s", s.Args)
	}
	require.Zero(t, s.ProcessState.ExitCode(), "%s", s.Args)
	for _, p := range processes(t) {
		require.NotEqual(t, s.Process.Pid, p.session, "%s has left %s", s.Args, p.program)
	}
}
