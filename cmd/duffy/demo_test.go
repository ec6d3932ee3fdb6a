package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestDemoOnce(t *testing.T) {
	t.Parallel()
	d := startDemo(t, "--once")
	require.Zero(t, d.wait(t), d.stderr.String())
	require.Empty(t, d.stderr.String())

	const full = `virtual ●●● 3/3   physical ●●●●● 5/5\n`
	story := d.stdout.String()
	require.Regexp(t, `(?s)physical .* 0/5\n.*`+full+
		`.*8 nodes\. The tenant logs in to none of them: permission denied\..*`+
		`\n201 Created .*\nSession 1 has (\d\S+, ){3}\d\S+ until .*`+
		`\n200 OK .* login: .*`+full, story)
	ips := strings.Split(regexp.MustCompile(`Session 1 has (.*) until`).FindStringSubmatch(story)[1], ", ")
	for i, ip := range ips {
		pool := "physical"
		if i == 0 {
			pool = "virtual "
		}
		require.Regexp(t, pool+"  "+ip+`  \S+ at \S+, in `+d.dir(t)+`/nodes/node-\d+\n`, story)
		require.Regexp(t, pool+"  "+ip+`  login: (permission denied|connection refused)\n`, story)
	}
	require.Contains(t, story, "The end: "+d.dir(t)+" is removed.\n")
	d.requireGone(t)
	require.NoDirExists(t, d.dir(t))
}

func TestDemoServesOn(t *testing.T) {
	t.Parallel()
	state := filepath.Join(t.TempDir(), "demo's state")
	d := startDemo(t, "--state", state)
	d.until(t, `Your turn.*\nssh .*\n`)
	require.Equal(t, state, d.dir(t))
	for _, key := range []string{"service_key", "tenant_key"} {
		info, err := os.Stat(filepath.Join(state, key))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode())
	}

	t.Run("curl", func(t *testing.T) {
		for _, command := range d.commands(t, "curl") {
			want := "200"
			switch {
			case strings.Contains(command, "-X PUT"):
				want = "session 1 is retired" // the story did that
			case strings.Contains(command, "-d "):
				want = "201"
			}
			require.Contains(t, shell(t, command+` --noproxy '*' --silent --show-error --write-out '\n%{http_code}\n'`), want, command)
		}
	})
	t.Run("ssh", func(t *testing.T) {
		commands := d.commands(t, "ssh")
		node := d.find(t, `Session 2 has 127\.77\.0\.(\d+) until`)
		require.Equal(t, filepath.Join(state, "nodes", "node-"+node)+"\n",
			shell(t, commands[len(commands)-1]+" -F none -o LogLevel=ERROR pwd"))
	})
	t.Run("another demo", func(t *testing.T) {
		other := startDemo(t, "--state", state)
		require.Equal(t, exitFailure, other.wait(t))
		require.Equal(t, "duffy: another demo is using "+state+": choose another directory\n", other.stderr.String())

		_, port, _ := net.SplitHostPort(d.address(t))
		other = startDemo(t, "--port", port)
		require.Equal(t, exitFailure, other.wait(t))
		require.Equal(t, "duffy: port "+port+" is taken: choose another with --port, or leave it out to get one that is free\n",
			other.stderr.String())
	})

	d.interrupt()
	require.Zero(t, d.wait(t))
	require.Empty(t, d.stderr.String())
	require.Contains(t, d.stdout.String(), "The end: "+state+" is kept.\n")
	d.requireGone(t)
	require.FileExists(t, filepath.Join(state, "duffy.db"))

	again := startDemo(t, "--once", "--state", state)
	require.Zero(t, again.wait(t), again.stderr.String())
	require.Contains(t, again.stdout.String(), "\nSession 1 has ")
}

func TestDemoInterrupted(t *testing.T) {
	t.Parallel()
	d := startDemo(t)
	d.until(t, `physical ●`)
	d.interrupt()
	require.Equal(t, exitInterrupted, d.wait(t))
	require.Empty(t, d.stderr.String())
	d.requireGone(t)
	require.NoDirExists(t, d.dir(t))
}

func TestDemoLeavesForeignFilesAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	precious := filepath.Join(dir, "nodes")
	require.NoError(t, os.Mkdir(precious, 0o700))
	d := startDemo(t, "--state", dir)
	require.Equal(t, exitFailure, d.wait(t))
	require.Equal(t, "duffy: "+dir+" holds files that are not of an earlier demo: choose an empty directory or a new one\n",
		d.stderr.String())
	require.DirExists(t, precious)
}

// A runningDemo is "duffy demo" in this process.
type runningDemo struct {
	stdout, stderr demoOutput
	interrupt      context.CancelFunc
	ended          chan struct{}
	code           int
}

func startDemo(t *testing.T, args ...string) *runningDemo {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("nodes of the demo need Linux")
	}
	ctx, cancel := context.WithCancel(t.Context())
	d := &runningDemo{interrupt: cancel, ended: make(chan struct{})}
	go func() {
		defer close(d.ended)
		d.code = run(ctx, append([]string{"demo"}, args...), &d.stdout, &d.stderr)
	}()
	t.Cleanup(func() {
		cancel()
		<-d.ended
	})
	return d
}

// wait returns the exit status.
func (d *runningDemo) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-d.ended:
		return d.code
	case <-time.After(3 * time.Minute):
		require.Fail(t, "the demo does not end", "%s", &d.stdout)
		return 0
	}
}

// until waits for output that matches pattern.
func (d *runningDemo) until(t *testing.T, pattern string) {
	t.Helper()
	wanted := regexp.MustCompile("(?s)" + pattern)
	require.Eventually(t, func() bool { return wanted.MatchString(d.stdout.String()) },
		3*time.Minute, 10*time.Millisecond, "%s%s", &d.stdout, &d.stderr)
}

func (d *runningDemo) find(t *testing.T, pattern string) string {
	t.Helper()
	found := regexp.MustCompile(pattern).FindStringSubmatch(d.stdout.String())
	require.NotNil(t, found, d.stdout.String())
	return found[1]
}

func (d *runningDemo) dir(t *testing.T) string { return d.find(t, `homes are in (.*), which`) }

func (d *runningDemo) address(t *testing.T) string { return d.find(t, `http://([^/]*)/`) }

// requireGone makes sure that nothing answers any more.
func (d *runningDemo) requireGone(t *testing.T) {
	t.Helper()
	conn, err := net.Dial("tcp", d.address(t))
	if err == nil {
		conn.Close()
	}
	require.ErrorContains(t, err, "connection refused")
	require.NoDirExists(t, filepath.Join(d.dir(t), "nodes", "node-1"))
}

// commands returns the lines in which the demo shows commands of that name, if
// it is there to run them.
func (d *runningDemo) commands(t *testing.T, name string) []string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil && os.Getenv("CI") != "" {
		require.NoError(t, err)
	} else if err != nil {
		t.Skip("needs ", err)
	}
	commands := regexp.MustCompile(`(?m)^`+name+` .*$`).FindAllString(d.stdout.String(), -1)
	require.NotEmpty(t, commands)
	return commands
}

func shell(t *testing.T, command string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	output, err := exec.CommandContext(ctx, "/bin/sh", "-c", command).CombinedOutput()
	require.NoError(t, err, "%s\n%s", command, output)
	return string(output)
}

// A demoOutput can be read while it is written to.
type demoOutput struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *demoOutput) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *demoOutput) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}
