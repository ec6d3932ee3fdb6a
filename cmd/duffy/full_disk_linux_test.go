package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestFullDisk has the disk of an SQLite database be full for a while.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	need(t, os.Geteuid() == 0, "root, to mount a small disk")
	disk := t.TempDir()
	out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk).CombinedOutput()
	need(t, err == nil, "the right to mount a small disk: "+string(out))
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(disk, syscall.MNT_DETACH)) })

	f := newFleet(t, "sqlite:///"+filepath.Join(disk, "duffy.sqlite"), "")
	d := f.open(t)
	require.NoError(t, f.addNodes(t.Context(), d, 10))
	port := freePort(t)
	m := f.newMember(t, "run", "-p", fmt.Sprint(port))
	m.url = fmt.Sprint("http://127.0.0.1:", port)
	m.untilReady(t)
	api := f.client(t, "alice", m)
	f.requireWorks(t, d, api)
	full := fill(t, filepath.Join(disk, "full"))
	requireNoWrites(t, m, api)
	_, err = api.ListPools(t.Context())
	require.NoError(t, err, "it can be read")
	m.stop(t)
	m.start(t)
	m.untilAnswers(t, "/readyz", http.StatusServiceUnavailable)
	require.NoError(t, os.Remove(full))
	f.requireWorks(t, d, api)
	m.untilReady(t)
	m.stop(t)
}

// fill writes a file until nothing is left of its disk.
func fill(t *testing.T, path string) string {
	t.Helper()
	file, err := os.Create(path)
	require.NoError(t, err)
	defer file.Close()
	for size := 1 << 16; size > 0; {
		if _, err = file.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
			size /= 2
			continue
		}
		require.NoError(t, err)
	}
	return path
}
