package ansible_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/backend/ansible"
)

// script makes a stand-in for ansible-playbook, where it is not the point how
// playbooks behave.
func script(t *testing.T, text string) string { return rawScript(t, passProbe+text) }

func rawScript(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "script")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755))
	return path
}

// passProbe answers as an ansible-playbook that renders nothing that it must not.
const passProbe = `case $* in *duffy-probe.yml)
	echo '{"event": "duffy_out", "duffy_out": {"nodes": ["'"$(yes 'said {{ 1234 * 5678 }}' | head -n 9 | tr '\n' ' ')"'", {"word": false, "within": false, "assert": false}]}}' >> "$DUFFY_EVENTS"
	exit
esac
`

const putAddress = `echo '{"event": "duffy_out", "duffy_out": {"nodes": [{"ipaddr": "192.0.2.1"}]}}' >> "$DUFFY_EVENTS"`

// commandLines returns those of all processes.
func commandLines(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	var all strings.Builder
	for _, file := range files {
		line, _ := os.ReadFile(file) // it may be gone
		fmt.Fprintln(&all, strings.ReplaceAll(string(line), "\x00", " "))
	}
	return all.String()
}

func exists(path string) func() bool {
	return func() bool {
		_, err := os.Stat(path)
		return err == nil
	}
}

func noProcess(t *testing.T, mark string) func() bool {
	return func() bool { return !strings.Contains(commandLines(t), mark) }
}

// sleeping is a playbook of which nothing ends by itself: a command that ignores
// being told to terminate, and its child.
func sleeping(t *testing.T) (dir, mark string) {
	dir = t.TempDir()
	mark = fmt.Sprintf("98765.%d", time.Now().UnixNano())
	text := play(`
    - name: wait for the instance
      shell: |
        trap "" TERM
        sleep ` + mark + ` &
        touch started
        sleep ` + mark + `
        touch finished
`)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "provision.yml"), []byte(text), 0o644))
	return dir, mark
}

func TestStop(t *testing.T) {
	t.Parallel()
	requireAnsible(t)
	for name, tt := range map[string]struct {
		cause  error
		reason string
	}{
		"cancelled": {context.Canceled, `provision.yml was stopped, it was in task "wait for the instance"`},
		"too late":  {context.DeadlineExceeded, `provision.yml did not finish within the time limit, it was in task "wait for the instance"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, mark := sleeping(t)
			cancellable, end := context.WithCancel(t.Context())
			defer end()
			ctx := ending{cancellable, tt.cause}
			failed := make(chan error)
			go func() {
				_, err := ansible.New(ansible.Config{}).Provision(ctx, request(pool(dir), 1))
				failed <- err
			}()
			require.Eventually(t, exists(filepath.Join(dir, "started")), time.Minute, 20*time.Millisecond)
			require.Contains(t, commandLines(t), mark)
			end()

			err := <-failed
			require.EqualError(t, err, tt.reason)
			require.ErrorIs(t, err, tt.cause)
			require.Eventually(t, noProcess(t, mark), 20*time.Second, 50*time.Millisecond)
			require.NoFileExists(t, filepath.Join(dir, "finished"))
		})
	}
}

// ending is a context that says why it ended.
type ending struct {
	context.Context
	err error
}

func (e ending) Err() error {
	if e.Context.Err() == nil {
		return nil
	}
	return e.err
}

// TestDuffyIsKilled has no playbook outlive the process that runs it.
func TestDuffyIsKilled(t *testing.T) {
	t.Parallel()
	temp := endDuffy(t, syscall.SIGKILL)
	require.Eventually(t, noProcess(t, temp), 20*time.Second, 50*time.Millisecond)
	left, err := filepath.Glob(filepath.Join(temp, "duffy-ansible-*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

// TestDuffyIsStopped has no playbook go on while the process that runs it does
// not: soon others work on the same nodes.
func TestDuffyIsStopped(t *testing.T) {
	t.Parallel()
	endDuffy(t, syscall.SIGSTOP)
}

// endDuffy has a process run a playbook, sends it a signal, and sees the playbook
// end. It returns the process's directory of temporary files.
func endDuffy(t *testing.T, signal os.Signal) (temp string) {
	t.Helper()
	requireAnsible(t)
	dir, mark := sleeping(t)
	duffy := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestAsDuffy$")
	temp = t.TempDir()
	duffy.Env = append(os.Environ(), "DUFFY_TEST_TOPDIR="+dir, "TMPDIR="+temp)
	require.NoError(t, duffy.Start())
	defer func() {
		_ = duffy.Process.Kill()
		_ = duffy.Wait()
	}()
	require.Eventually(t, exists(filepath.Join(dir, "started")), time.Minute, 20*time.Millisecond)
	require.NoError(t, duffy.Process.Signal(signal))
	require.Eventually(t, noProcess(t, mark), time.Minute, 50*time.Millisecond)
	require.NoFileExists(t, filepath.Join(dir, "finished"))
	return temp
}

// TestAsDuffy is the process of endDuffy.
func TestAsDuffy(t *testing.T) {
	if dir := os.Getenv("DUFFY_TEST_TOPDIR"); dir != "" {
		_, err := ansible.New(ansible.Config{}).Provision(t.Context(), request(pool(dir), 1))
		t.Fatal("should have been killed: ", err)
	}
}

// mostAtOnce starts as many runs as there are requests and returns how many of
// them were running at the same time.
func mostAtOnce(t *testing.T, concurrency int, ids ...int64) int {
	t.Helper()
	dir := t.TempDir()
	b := ansible.New(ansible.Config{
		Concurrency: concurrency,
		Playbook:    script(t, "echo start >> log; sleep 0.1; echo end >> log; "+putAddress),
	})
	var wg sync.WaitGroup
	for _, id := range ids {
		wg.Go(func() {
			_, err := b.Provision(t.Context(), request(pool(dir), id))
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	log, err := os.ReadFile(filepath.Join(dir, "log"))
	require.NoError(t, err)
	running, most := 0, 0
	for _, line := range strings.Fields(string(log)) {
		if line == "start" {
			running++
		} else {
			running--
		}
		most = max(most, running)
	}
	return most
}

func TestConcurrency(t *testing.T) {
	t.Parallel()
	require.LessOrEqual(t, mostAtOnce(t, 2, 1, 2, 3, 4, 5, 6), 2)
	require.Equal(t, 1, mostAtOnce(t, 0, 7, 7, 7, 7), "runs for the same node")
}

// TestWaiting has a run wait for another until its time is up.
func TestWaiting(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		concurrency int
		node        int64
		reason      string
	}{
		{1, 2, "provision.yml did not start, since too many other playbooks were running"},
		{2, 1, "provision.yml did not start, since another playbook was running for the same node"},
	} {
		dir := t.TempDir()
		b := ansible.New(ansible.Config{
			Concurrency: tt.concurrency,
			Playbook:    script(t, "touch started; while ! test -e go; do sleep 0.05; done; "+putAddress),
		})
		first := make(chan error)
		go func() {
			_, err := b.Provision(t.Context(), request(pool(dir), 1))
			first <- err
		}()
		require.Eventually(t, exists(filepath.Join(dir, "started")), time.Minute, 10*time.Millisecond)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		_, err := b.Provision(ctx, request(pool(dir), tt.node))
		require.EqualError(t, err, tt.reason)
		require.ErrorIs(t, err, context.DeadlineExceeded)

		require.NoError(t, os.WriteFile(filepath.Join(dir, "go"), nil, 0o600))
		require.NoError(t, <-first)
		_, err = b.Provision(t.Context(), request(pool(dir), tt.node))
		require.NoError(t, err)
	}
}

// TestDaemon has a playbook leave something running that keeps its output open.
func TestDaemon(t *testing.T) {
	t.Parallel()
	mark := fmt.Sprintf("6%d", os.Getpid()) // seconds
	b := ansible.New(ansible.Config{Playbook: script(t, "sleep "+mark+" & echo $! > pid; "+putAddress)})
	dir := t.TempDir()
	nodes, err := b.Provision(t.Context(), request(pool(dir), 1))
	require.NoError(t, err)
	require.Len(t, nodes, 1)
	require.Contains(t, commandLines(t), "sleep "+mark)
	pid, err := os.ReadFile(filepath.Join(dir, "pid"))
	require.NoError(t, err)
	require.NoError(t, exec.Command("kill", strings.TrimSpace(string(pid))).Run())
}

func TestCannotRun(t *testing.T) {
	t.Parallel()
	b := ansible.New(ansible.Config{Playbook: "no-such-ansible-playbook"})
	_, err := b.Provision(t.Context(), request(pool(t.TempDir()), 1))
	require.ErrorContains(t, err, `cannot run playbooks: exec: "no-such-ansible-playbook": executable file not found`)

	b = ansible.New(ansible.Config{Playbook: script(t, "exit")})
	_, err = b.Provision(t.Context(), request(pool("/no/such/directory"), 1))
	require.ErrorContains(t, err, "cannot run provision.yml: topdir: stat /no/such/directory: no such file or directory")

	b = ansible.New(ansible.Config{Playbook: script(t, "kill -KILL $$")})
	_, err = b.Provision(t.Context(), request(pool(t.TempDir()), 1))
	require.EqualError(t, err, "provision.yml ended with signal: killed")

	p := pool(t.TempDir())
	p.Settings["extra-vars"] = map[string]any{"a": map[string]any{"b": "{{ missing.x }}"}}
	_, err = ansible.New(ansible.Config{}).Provision(t.Context(), request(p, 1))
	require.ErrorContains(t, err, "extra-vars for provision.yml: a: b: ")
}

// TestSecrets sees that what playbooks are given cannot be read by others, and is
// gone afterwards.
func TestSecrets(t *testing.T) {
	t.Parallel()
	requireAnsible(t)
	dir := topdir(t, map[string]string{"provision.yml": play(`
    - shell: cat /proc/[0-9]*/cmdline > cmdlines; env > environment; ls -ld ` + "{{ lookup('env', 'DUFFY_EVENTS') | dirname }}" + ` > directory
    - {name: log in, shell: "echo {{ password }} >&2; false", no_log: true}
`)})
	p := pool(dir)
	p.Settings["extra-vars"] = map[string]any{"password": "s3cret{{ 'ive' }}"}
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))

	_, err := ansible.New(ansible.Config{Logger: logger}).Provision(t.Context(), request(p, 1))
	require.ErrorContains(t, err, `task "log in" failed on localhost: the output is hidden by no_log`)
	require.NotContains(t, err.Error(), "s3cret")
	require.NotContains(t, log.String(), "s3cret")
	for _, name := range []string{"cmdlines", "environment"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.NotContains(t, string(text), "s3cret")
	}
	directory, err := os.ReadFile(filepath.Join(dir, "directory"))
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(directory), "drwx------"), string(directory))
	require.NoDirExists(t, strings.Fields(string(directory))[8])
}

func TestLog(t *testing.T) {
	t.Parallel()
	requireAnsible(t)
	dir := topdir(t, map[string]string{"provision.yml": play(`
    - {name: greet, debug: {msg: "hello ✓"}}
    - set_fact: {duffy_out: {nodes: [{ipaddr: 192.0.2.1}]}}
`)})
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	_, err := ansible.New(ansible.Config{Logger: logger}).Provision(t.Context(), request(pool(dir), 1, 2))
	require.NoError(t, err)
	require.Contains(t, log.String(), "hello ✓")
	require.Contains(t, log.String(), `playbook=provision.yml pool=p nodes="[1 2]"`)
	require.Contains(t, log.String(), "level=ERROR")
	require.Contains(t, log.String(), "duffy_out.nodes has 1 entries, but 2 were asked for")
	require.NotContains(t, log.String(), `\x1b`, "no colours")
}

// TestEnvironment runs as a service user without a home directory, whose own
// callback plugin stays in effect.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	requireAnsible(t)
	dir := topdir(t, map[string]string{
		"provision.yml": play(`
    - set_fact: {duffy_out: {nodes: [{ipaddr: 192.0.2.1, extra: "{{ lookup('env', 'EXTRA') }}"}]}}
    - command: "true"
`),
		"callbacks/own.py": `
from ansible.plugins.callback import CallbackBase
class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "own"
    def v2_playbook_on_stats(self, stats):
        open("own", "w").close()
`,
	})
	b := ansible.New(ansible.Config{Environment: []string{
		"HOME=/nonexistent",
		"EXTRA=extra",
		"ANSIBLE_CALLBACK_PLUGINS=" + filepath.Join(dir, "callbacks"),
	}})
	nodes, err := b.Provision(t.Context(), request(pool(dir), 1))
	require.NoError(t, err)
	require.Equal(t, "extra", nodes[0].Provision["extra"])
	require.FileExists(t, filepath.Join(dir, "own"))
	require.NoDirExists(t, "/nonexistent")
}
