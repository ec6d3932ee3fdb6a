package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSecretsFromFiles gives keys to commands without showing them to other users.
func TestSecretsFromFiles(t *testing.T) {
	t.Parallel()
	const sshKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl ci"
	const apiKey = "1ea8fbcc-2c5d-4d3f-9ad2-0e1c1f2c3b4d"
	dir := t.TempDir()
	config := writeConfig(t, "database: {url: 'sqlite:///%s/duffy.db'}", dir)
	file := func(name, text string) string {
		name = filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
		return name
	}
	sshFile, apiFile, reset := file("ssh", sshKey+"\n"), file("api", apiKey+"\n"), file("reset", "reset\n")
	duffy := func(stdin string, args ...string) (int, string) {
		var out strings.Builder
		p := &program{stdin: strings.NewReader(stdin), stdout: &out, stderr: &out}
		return execute(t.Context(), p, append([]string{"-c", config}, args...)), out.String()
	}
	code, _ := duffy("", "setup-db")
	require.Zero(t, code)
	for _, tt := range []struct {
		stdin, args string
		code        int
		says        string
	}{
		{"", "create-tenant a --ssh-key-file " + sshFile, 0, "OK: a: "},
		{"", "create-tenant --key-file=" + sshFile + " b", 0, "OK: b: "},
		{sshKey, "create-tenant c --key-file -", 0, "OK: c: "},
		{"", "create-tenant d", 2, `expected "<ssh-key>", or --ssh-key-file`},
		{"", "create-tenant d ssh-key --key-file " + sshFile, 1, "SSH-KEY and --ssh-key-file: only one of them"},
		{"", "create-tenant d --key-file -", 1, "--ssh-key-file: standard input: there is nothing in it"},
		{"", "create-tenant d --key-file /nonexistent", 1, "--ssh-key-file: open /nonexistent"},

		{"", "update-tenant a --api-key-file " + apiFile, 0, "api_key="},
		{"", "update-tenant a --api-key-file " + reset, 0, "api_key="},
		{apiKey + "\n", "update-tenant a --api-key-file - --ssh-key-file " + sshFile, 0, "OK: a: "},
		{apiKey, "update-tenant a --api-key-file - --ssh-key-file -", 1, "only one of them can be standard input"},
		{"", "update-tenant a --api-key reset --api-key-file " + reset, 1, "only one of them"},
		{"no key at all", "update-tenant a --api-key-file -", 1, "expected a UUID or reset"},
	} {
		code, output := duffy(tt.stdin, append([]string{"admin"}, strings.Fields(tt.args)...)...)
		require.Equal(t, tt.code, code, "%s: %s", tt.args, output)
		require.Contains(t, output, tt.says, tt.args)
		require.NotContains(t, output, apiKey[:30], tt.args)
	}
}
