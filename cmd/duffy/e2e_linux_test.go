package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestEndToEnd tells the story as it is in operation: "duffy serve" and "duffy
// worker" on PostgreSQL, and the playbooks of examples/playbooks, whose machines
// are network namespaces that run sshd.
func TestEndToEnd(t *testing.T) {
	t.Parallel()
	if os.Getenv(inHost) == "" {
		repeatInHost(t)
		return
	}
	h := newHost(t)
	tell(t, h)
	h.drain(t)
}

// inHost is a variable in whose presence the test is in a host of its own.
const inHost = "DUFFY_TEST_IN_HOST"

// makeHost makes a host of new namespaces and runs a test binary in it: network,
// processes, /run and /tmp are its own, and go with it. The shell is the first
// process there and adopts those that lose their parents.
const makeHost = `
mount -t tmpfs tmpfs /run
mkdir /run/example
touch /run/test
mount --bind "$0" /run/test
cp -R ../../examples/playbooks/* /run/example
mount -t tmpfs tmpfs /tmp
mount -t sysfs sysfs /sys
ip link set lo up
/run/test "$@"
`

// repeatInHost runs the test once more, in a host of its own. However that ends,
// and even if this process is killed, nothing is left of it.
func repeatInHost(t *testing.T) {
	for _, part := range []struct{ program, debian string }{
		{"ansible-playbook", "ansible-core"}, {"initdb", "postgresql"}, {"ip", "iproute2"}, {"sshd", "openssh-server"},
	} {
		need(t, installed(part.program), part.program+" (Debian: apt-get install "+part.debian+")")
	}
	namespaces := []string{"--kill-child", "--fork", "--pid", "--mount-proc", "--mount", "--net"}
	need(t, exec.Command("unshare", append(namespaces, "true")...).Run() == nil, "root, and the right to unshare namespaces")
	file, err := os.Executable()
	require.NoError(t, err)

	args := append(namespaces, "sh", "-ec", makeHost, file, "-test.run=^"+t.Name()+"$", "-test.timeout=15m")
	cmd := exec.CommandContext(t.Context(), "unshare", args...)
	// PostgreSQL elsewhere is out of reach, and what is needed is there.
	cmd.Env = append(os.Environ(), inHost+"=1", "CI=1", "DUFFY_TEST_POSTGRES_URL=", "HOME=/tmp", "TMPDIR=/tmp")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // the parent whose death it means is a thread
	defer runtime.UnlockOSThread()
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", output)
}

// installed tells whether there is a program, also where Debian keeps it out of
// the PATH.
func installed(program string) bool {
	paths, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + program)
	return slices.ContainsFunc(append(paths, program, "/usr/sbin/"+program), func(path string) bool {
		_, err := exec.LookPath(path)
		return err == nil
	})
}

// need skips the test if there is not what it needs, or fails it in CI, where
// everything has to be there.
func need(t *testing.T, there bool, what string) {
	t.Helper()
	if !there && os.Getenv("CI") != "" {
		t.Fatalf("this test needs %s", what)
	}
	if !there {
		t.Skipf("this test needs %s", what)
	}
}
