package ssh_test

import (
	"bytes"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	gossh "golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/duffy-ci/duffy/backend/ssh"
)

func TestKeyFiles(t *testing.T) {
	t.Parallel()
	d := startSSHD(t, sshdConfig{})
	other, _ := keyFile(t, "")
	c := open(t, ssh.Config{KeyFiles: []string{other, d.file}})
	require.NoError(t, os.Remove(d.file), "key files are read once")
	require.NoError(t, c.Decontextualize(t.Context(), d.node))
}

func TestBadKeyFiles(t *testing.T) {
	t.Parallel()
	locked, _ := keyFile(t, "open sesame")
	missing := filepath.Join(t.TempDir(), "missing")
	junk := filepath.Join(t.TempDir(), "junk")
	require.NoError(t, os.WriteFile(junk, []byte("ssh-ed25519 AAAA"), 0o600))
	for file, says := range map[string]string{
		locked:  "needs a passphrase: use one without, or an ssh-agent",
		missing: "no such file",
		junk:    "no key found",
	} {
		_, err := ssh.New(ssh.Config{KeyFiles: []string{file}})
		require.ErrorContains(t, err, says)
		require.ErrorContains(t, err, file)
	}
}

func TestAgent(t *testing.T) {
	t.Parallel()
	d := startSSHD(t, sshdConfig{})
	text, err := os.ReadFile(d.file)
	require.NoError(t, err)
	private, err := gossh.ParseRawPrivateKey(text)
	require.NoError(t, err)
	socket := startAgent(t, private)

	require.NoError(t, open(t, ssh.Config{Agent: socket}).Decontextualize(t.Context(), d.node))

	dead := filepath.Join(t.TempDir(), "agent")
	err = open(t, ssh.Config{Agent: dead}).Decontextualize(t.Context(), d.node)
	require.ErrorContains(t, err, dead)
	var log bytes.Buffer
	c := open(t, ssh.Config{Agent: dead, KeyFiles: []string{d.file}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, c.Decontextualize(t.Context(), d.node))
	require.Contains(t, log.String(), dead)
	require.NoError(t, open(t, ssh.Config{Agent: startAgent(t), KeyFiles: []string{d.file}}).Decontextualize(t.Context(), d.node))
	err = open(t, ssh.Config{Agent: startAgent(t)}).Decontextualize(t.Context(), d.node)
	require.ErrorContains(t, err, "there is no SSH key to log in with: looked for ssh-agent at ")
}

// TestDefaultKeys cannot be parallel: defaults come from the environment.
func TestDefaultKeys(t *testing.T) {
	d := startSSHD(t, sshdConfig{})
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("SSH_AUTH_SOCK", "")
	require.NoError(t, os.Mkdir(filepath.Join(home, ".ssh"), 0o700))
	use := func(from, name string) {
		require.NoError(t, os.Rename(from, filepath.Join(home, ".ssh", name)))
	}

	err := open(t, ssh.Config{}).Decontextualize(t.Context(), d.node)
	require.ErrorContains(t, err, "node 5: ")
	require.ErrorContains(t, err, "SSH_AUTH_SOCK is not set")
	require.ErrorContains(t, err, filepath.Join(home, ".ssh", "id_ed25519")+" (not there)")
	require.ErrorContains(t, err, "id_rsa")

	locked, _ := keyFile(t, "open sesame")
	use(locked, "id_ecdsa")
	var log bytes.Buffer
	c := open(t, ssh.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	require.ErrorContains(t, c.Decontextualize(t.Context(), d.node), "id_ecdsa (needs a passphrase)")
	require.Contains(t, log.String(), "id_ecdsa")

	stranger, _ := keyFile(t, "")
	use(stranger, "id_ed25519")
	use(d.file, "id_rsa")
	require.NoError(t, open(t, ssh.Config{}).Decontextualize(t.Context(), d.node))

	require.NoError(t, os.WriteFile(filepath.Join(home, ".ssh", "id_ecdsa"), []byte("junk"), 0o600))
	_, err = ssh.New(ssh.Config{})
	require.ErrorContains(t, err, "id_ecdsa")

	t.Setenv("SSH_AUTH_SOCK", startAgent(t))
	require.NoError(t, os.RemoveAll(filepath.Join(home, ".ssh")))
	err = open(t, ssh.Config{}).Decontextualize(t.Context(), d.node)
	require.ErrorContains(t, err, os.Getenv("SSH_AUTH_SOCK"))
}

// startAgent starts an ssh-agent with the given private keys.
func startAgent(t *testing.T, keys ...any) (socket string) {
	t.Helper()
	ring := agent.NewKeyring()
	for _, key := range keys {
		require.NoError(t, ring.Add(agent.AddedKey{PrivateKey: key}))
	}
	socket = filepath.Join(t.TempDir(), "agent")
	listener, err := net.Listen("unix", socket)
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_ = agent.ServeAgent(ring, conn)
			}()
		}
	}()
	return socket
}
