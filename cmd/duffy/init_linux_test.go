package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A container has the program as its first process.
type container struct {
	*exec.Cmd
	output demoOutput
	init   int // the pid of the first process, as this host has it
}

// startContainer starts the program in a namespace of processes of its own.
func startContainer(t *testing.T, args ...string) *container {
	t.Helper()
	namespace := []string{"--kill-child", "--fork", "--pid", "--mount-proc"}
	need(t, exec.Command("unshare", append(namespace, "true")...).Run() == nil, "root, and the right to unshare namespaces")
	program := programIn(t.Context(), t, t.TempDir())
	c := &container{Cmd: exec.CommandContext(t.Context(), "unshare", append(append(namespace, program.Path), args...)...)}
	c.Env = program.Env
	c.Stdout, c.Stderr = &c.output, &c.output
	require.NoError(t, c.Start())
	t.Cleanup(func() {
		_ = c.Process.Kill()
		if t.Failed() {
			t.Logf("%s", &c.output)
		}
	})
	children := fmt.Sprintf("/proc/%d/task/%[1]d/children", c.Process.Pid)
	require.Eventually(t, func() bool {
		text, err := os.ReadFile(children)
		require.NoError(t, err)
		c.init, err = strconv.Atoi(strings.TrimSpace(string(text)))
		return err == nil
	}, patience, time.Millisecond)
	return c
}

// says waits until the program has said something.
func (c *container) says(t *testing.T, text string) {
	t.Helper()
	require.Eventually(t, func() bool { return strings.Contains(c.output.String(), text) }, patience, 10*time.Millisecond, "%s", &c.output)
}

// ends returns the exit code.
func (c *container) ends() int {
	_ = c.Wait()
	return c.ProcessState.ExitCode()
}

// children counts the processes of the container that are the first one's children, and
// in a state such as Z: ended, and nobody waited for it.
func (c *container) children(t *testing.T, state string) (n int) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	require.NoError(t, err)
	for _, file := range stats {
		stat, err := os.ReadFile(file)
		_, fields, found := bytes.Cut(stat, []byte(") "))
		if err == nil && found && bytes.HasPrefix(fields, fmt.Appendf(nil, "%s %d ", state, c.init)) {
			n++
		}
	}
	return n
}

// TestFirstProcessReaps has a playbook leave processes behind, which the first process
// of a container adopts.
func TestFirstProcessReaps(t *testing.T) {
	t.Parallel()
	need(t, installed("ansible-playbook"), "ansible-playbook")
	dir := t.TempDir()
	key, err := newDemoKey(filepath.Join(dir, "duffy_key"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "provision.yml"), []byte(`
- hosts: localhost
  gather_facts: false
  tasks:
  - shell: "setsid sh -c 'echo orphan >> orphans; exec sleep 0.2' >/dev/null 2>&1 </dev/null &"
    args: {chdir: "{{ playbook_dir }}"}
  - set_fact: {duffy_out: {nodes: [{ipaddr: "127.83.7.{{ duffy_in.nodes[0].id }}", ssh_port: 1}]}}
`), 0o600))
	c := startContainer(t, "-c", writeConfig(t, `
app: {port: %d}
database: {url: 'sqlite:///%s/duffy.sqlite'}
ssh: {key-files: [%q]}
nodepools: {concrete: {p: {fill-level: 3, mechanism: {type: ansible, ansible: {topdir: %[2]q, provision: {playbook: provision.yml}}}}}}
`, freePort(t), dir, key.file), "run")
	for id := range 3 {
		c.says(t, fmt.Sprintf("node ready\" node=%d", id+1))
	}
	require.Eventually(t, func() bool {
		orphans, _ := os.ReadFile(filepath.Join(dir, "orphans"))
		return string(orphans) == strings.Repeat("orphan\n", 3)
	}, patience, 10*time.Millisecond)
	require.Eventually(t, func() bool { return c.children(t, "S") == 1 && c.children(t, "Z") == 0 }, patience, 50*time.Millisecond,
		"the service alone is left of the first process's children")

	require.NoError(t, syscall.Kill(c.init, syscall.SIGTERM))
	require.Zero(t, c.ends(), "%s", &c.output)
}

// TestFirstProcessIsTransparent has signals reach the service, and its exit code those
// who run the container.
func TestFirstProcessIsTransparent(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		signals []syscall.Signal
		code    int
	}{
		"terminated":  {[]syscall.Signal{syscall.SIGTERM}, 0},
		"interrupted": {[]syscall.Signal{syscall.SIGINT}, 0},
		"hung up":     {[]syscall.Signal{syscall.SIGHUP}, 128 + int(syscall.SIGHUP)},
		"quit":        {[]syscall.Signal{syscall.SIGQUIT}, 2}, // Go's, with all goroutines on standard error
		"user":        {[]syscall.Signal{syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGTERM}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := startContainer(t, "-c", writeConfig(t, "metaclient: {port: %d}\n", freePort(t)), "serve-legacy")
			c.says(t, " * Starting Duffy")
			for _, s := range tt.signals {
				require.NoError(t, syscall.Kill(c.init, s))
			}
			require.Equal(t, tt.code, c.ends(), "%s", &c.output)
		})
	}
	t.Run("fails", func(t *testing.T) {
		t.Parallel()
		c := startContainer(t, "-c", writeConfig(t, "database: {url: 'sqlite:///%s/duffy.sqlite'}\n", t.TempDir()), "serve")
		require.Equal(t, exitFailure, c.ends(), "%s", &c.output)
		require.Contains(t, c.output.String(), "run duffy setup-db")
	})
	t.Run("other commands", func(t *testing.T) {
		t.Parallel()
		c := startContainer(t, "-c", writeConfig(t, "app: {port: 4711}\n"), "config", "dump")
		require.Zero(t, c.ends())
		require.Contains(t, c.output.String(), "port: 4711")
	})
}
