package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/stretchr/testify/require"
)

// traces are what machinesDir, or playbooks, can leave behind.
type traces struct{ namespaces, links, mounts, programs, files []string }

func findTraces(t require.TestingT) (found traces) {
	found.namespaces = names("/run/netns")
	links, err := net.Interfaces()
	require.NoError(t, err)
	for _, link := range links {
		found.links = append(found.links, link.Name)
	}
	mounts, err := os.ReadFile("/proc/mounts")
	require.NoError(t, err)
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, "/run/netns/") || strings.Contains(line, machinesDir) {
			found.mounts = append(found.mounts, line)
		}
	}
	for _, p := range processes(t) {
		found.programs = append(found.programs, p.program)
	}
	slices.Sort(found.programs)
	found.programs = slices.Compact(found.programs)
	found.files, err = filepath.Glob(filepath.Join(os.TempDir(), "duffy-*"))
	require.NoError(t, err)
	found.files = append(found.files, names(machinesDir)...)
	return found
}

// names returns what is in a directory, if that exists.
func names(dir string) (names []string) {
	entries, _ := os.ReadDir(dir)
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// A process is one that runs.
type process struct {
	program string
	session int
}

func processes(t require.TestingT) (running []process) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	require.NoError(t, err)
	for _, file := range files {
		line, _ := os.ReadFile(file) // which may be gone
		before, after, _ := strings.Cut(string(line), ") ")
		_, program, _ := strings.Cut(before, " (")
		var state string
		var parent, group, session int
		if _, err := fmt.Sscan(after, &state, &parent, &group, &session); err == nil && state != "Z" {
			running = append(running, process{program, session})
		}
	}
	return running
}
