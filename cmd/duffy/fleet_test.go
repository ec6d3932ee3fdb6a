package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/httpapi"
	"github.com/duffy-ci/duffy/httpapi/client"
	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/pool"
)

// A fleet is any number of "duffy serve" and "duffy worker" processes on one
// database, real but for the nodes, all of which are one SSH server of the test's.
type fleet struct {
	dir, file string // where the processes run; their configuration
	url       string // of the database
	key       demoKey
	sshPort   int
	stocked   int // how many nodes there have been so far
}

// newFleet sets up a fleet without processes. Settings are added to those that
// every fleet has.
func newFleet(t testing.TB, url, settings string) *fleet {
	t.Helper()
	f := &fleet{dir: t.TempDir(), url: url, sshPort: welcome(t)}
	key, err := newDemoKey(filepath.Join(f.dir, "key"))
	require.NoError(t, err)
	f.key, f.file = key, filepath.Join(f.dir, "duffy.yaml")
	for name, text := range map[string]string{
		"provision.yml": "[]",
		"settings.yaml": settings,
		"duffy.yaml": fmt.Sprintf(`
database: {url: %q}
ssh: {key-files: [key]}
nodepools: {concrete: {a: {mechanism: {type: ansible, ansible: {topdir: ., provision: {playbook: provision.yml}}}}}}
`, url),
	} {
		require.NoError(t, os.WriteFile(filepath.Join(f.dir, name), []byte(text), 0o600))
	}
	code, _, stderr := f.run(t, "setup-db")
	require.Zero(t, code, stderr)
	return f
}

// configure replaces the settings that were added, for processes that start.
func (f *fleet) configure(settings string) error {
	return os.WriteFile(filepath.Join(f.dir, "settings.yaml"), []byte(settings), 0o600)
}

func (f *fleet) args(args ...string) []string {
	return append([]string{"-c", "duffy.yaml", "-c", "settings.yaml"}, args...)
}

// run runs a command to its end.
func (f *fleet) run(t testing.TB, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return runProgram(t, f.dir, f.args(args...)...)
}

// open opens the fleet's database.
func (f *fleet) open(t testing.TB) *db.DB {
	t.Helper()
	d, err := db.Open(t.Context(), f.url, db.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { d.Close() })
	return d
}

// client returns a client that logs in as a new tenant.
func (f *fleet) client(t testing.TB, name string, transport http.RoundTripper) *client.Client {
	t.Helper()
	code, stdout, stderr := f.run(t, "admin", "create-tenant", "--node-quota", "50", name, f.key.authorized())
	require.Zero(t, code, stderr)
	_, apiKey, _ := strings.Cut(strings.TrimSpace(stdout), name+": ")
	c, err := client.New("http://duffy"+httpapi.Prefix, client.Config{
		Tenant: name, Key: apiKey, HTTPClient: &http.Client{Transport: transport},
	})
	require.NoError(t, err)
	return c
}

// addNodes adds ready nodes of pool a.
func (f *fleet) addNodes(ctx context.Context, d *db.DB, n int) error {
	nodes := make([]*pool.Node, n)
	for i := range nodes {
		f.stocked++
		ip := fmt.Sprintf("127.%d.%d.%d", 100+f.stocked>>16, f.stocked>>8&255, f.stocked&255)
		nodes[i] = &pool.Node{
			State: pool.Ready, Pool: "a", Hostname: fmt.Sprint("node-", f.stocked), IPAddr: ip,
			Data: pool.Data{"provision": map[string]any{"ipaddr": ip, "ssh_port": f.sshPort}},
		}
	}
	_, err := d.NewInsert().Model(&nodes).Exec(ctx)
	return err
}

// keepStocked has n nodes ready until stop is called.
func (f *fleet) keepStocked(t testing.TB, n int) (stop func()) {
	t.Helper()
	d := f.open(t)
	require.NoError(t, f.addNodes(t.Context(), d, n))
	return during(t, func(ctx context.Context) {
		ready, err := d.NewSelect().Model((*pool.Node)(nil)).Where("state = ?", pool.Ready).Count(ctx)
		if err == nil && int(ready) < n {
			_ = f.addNodes(ctx, d, n-int(ready))
		}
		time.Sleep(10 * time.Millisecond)
	})
}

// during does something again and again until stop is called, which waits for it.
func during(t testing.TB, do func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			do(ctx)
		}
	}()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(stop)
	return stop
}

// A member is a process of a fleet. It runs until it is told to stop, and can be
// started again.
type member struct {
	fleet  *fleet
	args   []string
	url    string // where it serves, if it does
	output *demoOutput

	process *os.Process
	ended   chan *os.ProcessState
}

// worker returns a worker that runs.
func (f *fleet) worker(t testing.TB) *member { return f.newMember(t, "worker") }

// serving returns a server that runs.
func (f *fleet) serving(t testing.TB) *member {
	port := freePort(t)
	m := f.newMember(t, "serve", "-p", fmt.Sprint(port))
	m.url = fmt.Sprint("http://127.0.0.1:", port)
	return m
}

func (f *fleet) newMember(t testing.TB, args ...string) *member {
	t.Helper()
	m := f.unstarted(t, args...)
	m.start(t)
	return m
}

// unstarted returns a process that does not run yet.
func (f *fleet) unstarted(t testing.TB, args ...string) *member {
	m := &member{fleet: f, args: f.args(args...), output: &demoOutput{}}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s\n%s", m.args, m.output)
		}
	})
	return m
}

func (m *member) start(t testing.TB) {
	t.Helper()
	cmd := programIn(t.Context(), t, m.fleet.dir, m.args...)
	cmd.Stdout, cmd.Stderr = m.output, m.output
	var err error
	m.ended, err = startLocked(cmd)
	require.NoError(t, err)
	m.process = cmd.Process
}

// startLocked starts a process that dies with the thread that started it, which
// waits for it.
func startLocked(cmd *exec.Cmd) (ended chan *os.ProcessState, err error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	ended = make(chan *os.ProcessState, 1)
	go func() {
		runtime.LockOSThread() // the parent whose death it means is a thread
		defer runtime.UnlockOSThread()
		started <- cmd.Start()
		_ = cmd.Wait()
		ended <- cmd.ProcessState
	}()
	return ended, <-started
}

func (m *member) signal(t testing.TB, signal os.Signal) {
	t.Helper()
	require.NoError(t, m.process.Signal(signal))
}

// wait waits until the process has ended.
func (m *member) wait(t testing.TB) *os.ProcessState {
	t.Helper()
	select {
	case state := <-m.ended:
		return state
	case <-time.After(patience):
		require.Fail(t, "does not end", "%s", m.args)
		return nil
	}
}

// stop has the process end as a service manager does.
func (m *member) stop(t testing.TB) {
	t.Helper()
	m.signal(t, syscall.SIGTERM)
	require.Zero(t, m.wait(t).ExitCode(), "%s\n%s", m.args, m.output)
}

// untilReady waits until the server says that it is ready.
func (m *member) untilReady(t testing.TB) {
	t.Helper()
	m.untilAnswers(t, "/readyz", http.StatusOK)
}

// untilAnswers waits until the server answers with a status.
func (m *member) untilAnswers(t testing.TB, path string, status int) {
	t.Helper()
	require.Eventually(t, func() bool { return m.status(path) == status }, patience, 20*time.Millisecond,
		"%s: %d", path, status)
}

// status returns what the server answers, 0 if it does not.
func (m *member) status(path string) int {
	res, err := http.Get(m.url + path)
	if err != nil {
		return 0
	}
	defer res.Body.Close()
	return res.StatusCode
}

// untilSays waits until the process has written a text.
func (m *member) untilSays(t testing.TB, text string) {
	t.Helper()
	require.Eventually(t, func() bool { return strings.Contains(m.output.String(), text) }, patience, 20*time.Millisecond, text)
}

// lines returns what the process has written that contains a text.
func (m *member) lines(text string) (lines []string) {
	for line := range bytes.Lines([]byte(m.output.String())) {
		if bytes.Contains(line, []byte(text)) {
			lines = append(lines, string(line))
		}
	}
	return lines
}
