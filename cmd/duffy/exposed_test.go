package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestExposedFilesAreTold has config check and every service warn of each file that
// other users can read, and of none otherwise.
func TestExposedFilesAreTold(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	key, err := newDemoKey(filepath.Join(dir, "ssh-key"))
	require.NoError(t, err)
	certificate, tlsKey := newAuthority(t).sign(t, 2)
	file := writeConfig(t, `
app: {tls: {certificate: %[1]s, key: %[2]s}, port: %[5]d}
metaclient: {tls: {certificate: %[1]s, key: %[2]s}, port: %[6]d, usermap: {s3cret: ci}}
database: {url: 'sqlite:///%[3]s/duffy.db'}
ssh: {key-files: [%[4]s]}
`, certificate, tlsKey, dir, key.file, freePort(t), freePort(t))
	require.Zero(t, run(t.Context(), []string{"-c", file, "setup-db"}, &strings.Builder{}, &strings.Builder{}))
	database := filepath.Join(dir, "duffy.db")

	all := []string{file, tlsKey, key.file, database}
	commands := map[string][]string{
		"config check": all, "serve": all, "worker": all, "run": all, "serve-legacy": {file, tlsKey},
	}
	for name := range commands {
		require.NotContains(t, told(t, file, name), "other users", name)
	}
	for _, exposed := range all {
		require.NoError(t, os.Chmod(exposed, 0o644))
	}
	for name, files := range commands {
		output := told(t, file, name)
		for _, exposed := range all {
			require.Equal(t, slices.Contains(files, exposed), strings.Contains(output, exposed+": every user can read it (mode 0644): chmod o= "+exposed), "%s of %s: %s", name, exposed, output)
		}
		require.NotContains(t, output, "s3cret")
	}
}

// told returns what a command says until it stops, for which it has been told
// before it begins.
func told(t *testing.T, config, command string) string {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var output strings.Builder
	run(ctx, append([]string{"-c", config}, strings.Fields(command)...), &output, &output)
	return output.String()
}
