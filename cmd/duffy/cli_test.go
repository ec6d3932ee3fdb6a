package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestGroupsShowTheirHelp runs commands that only have other commands, as with Duffy 3.
func TestGroupsShowTheirHelp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "empty.yaml")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for _, tt := range []struct {
		args []string
		help string
	}{
		{nil, "serve-legacy"},
		{[]string{"admin"}, "retire-tenant"},
		{[]string{"admin", "keys"}, "retire"},
		{[]string{"client"}, "request-session"},
		{[]string{"config"}, "dump"},
		{[]string{"migration"}, "db-version"},
		{[]string{"-l", "debug", "-c", file, "admin"}, "retire-tenant"},
	} {
		code, stdout, stderr := runProgram(t, dir, tt.args...)
		require.Zero(t, code, "%q: %s", tt.args, stderr)
		require.Contains(t, stdout, "Usage: duffy", tt.args)
		require.Contains(t, stdout, tt.help, tt.args)
		require.Empty(t, stderr, tt.args)
	}
	for _, args := range [][]string{
		{"-l", "debug"}, {"-c", file}, {"admin", "nosuch"}, {"nosuch"}, {"--nosuch"}, {"admin", "--nosuch"}, {"admin", "show-tenant"}, {"admin", "admin"},
	} {
		code, stdout, stderr := runProgram(t, dir, args...)
		require.Equal(t, exitUsage, code, args)
		require.Empty(t, stdout, args)
		require.Contains(t, stderr, "duffy: error: ", args)
	}
}

// TestClientKeyIsAUUID has config check find what Duffy 3 found. A key of the legacy API may
// be another text, which works from a file.
func TestClientKeyIsAUUID(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "duffy.yaml")
	for key, ok := range map[string]bool{
		"a8b9899d-b128-59a1-aa86-754920b7f5ed": true, "A8B9899DB12859A1AA86754920B7F5ED": true,
		"a8b9899d-b128-59a1-aa86-754920b7f5e": false, "secret-of-somebody": false,
	} {
		require.NoError(t, os.WriteFile(file, []byte("client:\n  auth:\n    name: ci\n    key: "+key+"\n"), 0o600))
		code, stdout, stderr := runProgram(t, dir, "-c", file, "config", "check")
		if ok {
			require.Zero(t, code, stderr)
			require.Contains(t, stdout, "OK.")
			continue
		}
		require.Equal(t, exitFailure, code)
		require.Contains(t, stderr, "duffy.yaml:4: client.auth.key: expected a UUID")
		require.NotContains(t, stderr, key)
	}
}
