package ansible_test

import (
	"bufio"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/backend/ansible"
)

// TestCleanUp has a process killed with all that it started, as by the end of a
// machine, and another one that lives, and traps beside their directories.
func TestCleanUp(t *testing.T) {
	t.Parallel()
	requireAnsible(t)
	temp := t.TempDir()
	outside := filepath.Join(t.TempDir(), "precious")
	require.NoError(t, os.MkdirAll(outside, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(outside, "lock"), nil, 0o600))

	killed, living := startRun(t, temp), startRun(t, temp)
	require.NoError(t, os.Symlink(outside, filepath.Join(killed.dir, "link")))
	killed.killAll(t)
	require.DirExists(t, killed.dir, "else there is nothing to clean up")

	traps := map[string]func(string) error{
		"link":    func(name string) error { return os.Symlink(outside, name) },
		"file":    func(name string) error { return os.WriteFile(name, nil, 0o600) },
		"fifo":    func(name string) error { return syscall.Mkfifo(name, 0o600) },
		"no-lock": func(name string) error { return os.Mkdir(name, 0o700) },
		"fifo-lock": func(name string) error {
			return withLock(name, func(l string) error { return syscall.Mkfifo(l, 0o600) }, 0o755)
		},
		"open": func(name string) error { return withLock(name, emptyFile, 0o755) },
		"other-user": func(name string) error {
			if os.Geteuid() != 0 {
				return os.WriteFile(name, nil, 0o600) // in place of what only root can make
			}
			if err := withLock(name, emptyFile, 0o700); err != nil {
				return err
			}
			return os.Chown(name, 7001, 7001)
		},
	}
	for name, plant := range traps {
		require.NoError(t, plant(filepath.Join(temp, "duffy-ansible-"+name)), name)
	}

	log := cleanUp(t, temp)
	require.Equal(t, 1, strings.Count(log, "\n"), log)
	require.Contains(t, log, "removed the directory of a playbook whose process was killed")
	require.Contains(t, log, killed.dir)
	require.NoDirExists(t, killed.dir)
	require.DirExists(t, living.dir)
	require.FileExists(t, filepath.Join(living.dir, "extravars"))
	for name := range traps {
		_, err := os.Lstat(filepath.Join(temp, "duffy-ansible-"+name))
		require.NoError(t, err, name)
	}
	require.FileExists(t, filepath.Join(outside, "lock"))

	living.killAll(t)
	require.Contains(t, cleanUp(t, temp), living.dir)
	require.Empty(t, cleanUp(t, temp))
}

func withLock(dir string, lock func(string) error, mode os.FileMode) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if err := lock(filepath.Join(dir, "lock")); err != nil {
		return err
	}
	return os.Chmod(dir, mode)
}

func emptyFile(name string) error { return os.WriteFile(name, nil, 0o600) }

// A running process is Duffy's, and runs one playbook.
type running struct {
	duffy *exec.Cmd
	mark  string // in the command lines of its playbook's processes
	dir   string // of its run
}

func startRun(t *testing.T, temp string) *running {
	t.Helper()
	before, err := filepath.Glob(filepath.Join(temp, "duffy-ansible-*"))
	require.NoError(t, err)
	top, mark := sleeping(t)
	r := &running{mark: mark, duffy: exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestAsDuffy$")}
	r.duffy.Env = append(os.Environ(), "DUFFY_TEST_TOPDIR="+top, "TMPDIR="+temp)
	require.NoError(t, r.duffy.Start())
	t.Cleanup(func() {
		_ = r.duffy.Process.Kill()
		_ = r.duffy.Wait()
	})
	require.Eventually(t, exists(filepath.Join(top, "started")), time.Minute, 20*time.Millisecond)
	after, err := filepath.Glob(filepath.Join(temp, "duffy-ansible-*"))
	require.NoError(t, err)
	require.Len(t, after, len(before)+1)
	for _, dir := range after {
		if !strings.Contains(strings.Join(before, "\n")+"\n", dir+"\n") {
			r.dir = dir
		}
	}
	return r
}

// killAll kills the playbook's process group, in which is what would clean up, before
// the process itself.
func (r *running) killAll(t *testing.T) {
	t.Helper()
	require.NoError(t, r.duffy.Process.Signal(syscall.SIGSTOP)) // so that it does not notice
	for _, pid := range children(t, r.duffy.Process.Pid) {
		pgid, err := syscall.Getpgid(pid)
		if err == nil && pgid != syscall.Getpgrp() {
			require.NoError(t, syscall.Kill(-pgid, syscall.SIGKILL))
		}
	}
	require.NoError(t, r.duffy.Process.Kill())
	_ = r.duffy.Wait()
	require.Eventually(t, noProcess(t, r.mark), time.Minute, 20*time.Millisecond)
}

func children(t *testing.T, parent int) (pids []int) {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", parent))
	require.NoError(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		words := bufio.NewScanner(strings.NewReader(string(text)))
		words.Split(bufio.ScanWords)
		for words.Scan() {
			var pid int
			_, err := fmt.Sscan(words.Text(), &pid)
			require.NoError(t, err)
			pids = append(pids, pid)
		}
	}
	require.NotEmpty(t, pids)
	return pids
}

// cleanUp has another process clean up temp, and returns its log.
func cleanUp(t *testing.T, temp string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestAsCleaner$")
	cmd.Env = append(os.Environ(), "DUFFY_TEST_CLEANER=1", "TMPDIR="+temp)
	var log strings.Builder
	cmd.Stderr = &log
	require.NoError(t, cmd.Run())
	return log.String()
}

// TestAsCleaner is the process of cleanUp.
func TestAsCleaner(t *testing.T) {
	if os.Getenv("DUFFY_TEST_CLEANER") != "" {
		ansible.New(ansible.Config{Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))}).CleanUp(t.Context())
	}
}
