package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestReuseWithoutReinstall has pools that reuse machines, with and without something
// that makes them anew.
func TestReuseWithoutReinstall(t *testing.T) {
	t.Parallel()
	const inherited = `database: {url: 'sqlite:///%[1]s/duffy.sqlite'}
ssh: {key-files: [%[1]s/key]}
nodepools:
  abstract:
    base:
      mechanism:
        type: ansible
        ansible:
          topdir: %[1]s
          provision: {playbook: playbook.yml}
    physical:
      extends: base
      reuse-nodes: {arch: x86_64}
`
	const warning = "pools.yaml:13: nodepools.abstract.physical.reuse-nodes: nothing reinstalls machines before they are reused, " +
		"since there is no deprovision playbook"
	for pools, warned := range map[string]bool{
		"  concrete:\n    p: {extends: physical}\n    q: {extends: physical}\n":                                                      true,
		"  concrete:\n    p: {extends: physical, reinstalls: true}\n":                                                                false,
		"  concrete:\n    p: {extends: physical, reinstalls: false}\n":                                                               false,
		"  concrete:\n    p: {extends: base}\n":                                                                                      false,
		"  concrete:\n    p: {extends: physical, mechanism: {ansible: {deprovision: {playbook: playbook.yml}}}}\n":                   false,
		"  concrete:\n    p: {extends: physical, reuse-nodes: false}\n    q: {extends: physical, fill-level: 5, reinstalls: null}\n": true,
	} {
		dir := t.TempDir()
		_, err := newDemoKey(filepath.Join(dir, "key"))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "playbook.yml"), []byte("[]"), 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "pools.yaml"), fmt.Appendf(nil, inherited+pools, dir), 0o600))
		code, stdout, stderr := runProgram(t, dir, "-c", "pools.yaml", "config", "check")
		require.Zero(t, code, stderr)
		require.Contains(t, stdout, "OK.")
		if !warned {
			require.Empty(t, stderr, pools)
			continue
		}
		require.True(t, strings.HasPrefix(stderr, "duffy: warning: "+warning), stderr)
		require.Equal(t, 1, strings.Count(stderr, "\n"), "once, however many pools inherit it: %s", stderr)
		requireLogged(t, dir, `level=WARN msg="configuration is likely a mistake" warning="`+warning, "-c", "pools.yaml", "run", "-p", fmt.Sprint(freePort(t)))
	}
}

// requireLogged starts the program and ends it once a line was logged.
func requireLogged(t *testing.T, dir, text string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := programIn(ctx, t, dir, args...)
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var logged strings.Builder
	for lines := bufio.NewScanner(stderr); !strings.Contains(logged.String(), text) && lines.Scan(); {
		logged.WriteString(lines.Text() + "\n")
	}
	cancel()
	_ = cmd.Wait()
	require.Contains(t, logged.String(), text)
}
