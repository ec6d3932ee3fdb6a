package ssh_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/backend/backendtest"
	"github.com/duffy-ci/duffy/backend/ssh"
)

func TestPinnedHostKeys(t *testing.T) {
	t.Parallel()
	d := startSSHD(t, sshdConfig{})
	pinned := open(t, ssh.Config{KeyFiles: []string{d.file}, HostKeys: backend.PinnedHostKeys})
	right := strings.TrimSpace(d.node.Provision["ssh_host_key"].(string))
	wrong := strings.TrimSpace(backendtest.PublicKey(backendtest.NewKey(t)))

	for _, value := range []any{
		right,
		right + " root@node5",
		d.node.IPAddr + " " + right,
		"# " + d.node.IPAddr + ":22 SSH-2.0-OpenSSH_9.2\r\n[node5]:22,192.0.2.5 " + right + "\r\n",
		wrong + "\n" + right + "\n",
		[]any{wrong, right},
		[]string{right, wrong},
	} {
		d.node.Provision["ssh_host_key"] = value
		require.NoError(t, pinned.Decontextualize(t.Context(), d.node), "%q", value)
	}

	d.node.Provision["ssh_host_key"] = wrong
	err := pinned.Decontextualize(t.Context(), d.node)
	require.ErrorContains(t, err, "is not the ssh_host_key that provisioning told")
	require.NotContains(t, err.Error(), "none of the keys")
	unpinned := open(t, ssh.Config{KeyFiles: []string{d.file}})
	require.NoError(t, unpinned.Decontextualize(t.Context(), d.node))
}

// TestHostKeyOfFirstUse has a host with several keys, and later another one in its
// place.
func TestHostKeyOfFirstUse(t *testing.T) {
	t.Parallel()
	const keys = `ssh-keygen -q -t rsa -N "" -f ../rsa; ssh-keygen -q -t ecdsa -N "" -f ../ecdsa`
	d, other := startSSHD(t, sshdConfig{prepare: keys, options: "HostKey $HOME/../rsa\nHostKey $HOME/../ecdsa"}), startSSHD(t, sshdConfig{})
	c := open(t, ssh.Config{KeyFiles: []string{d.file}})
	seen, err := c.Inspect(t.Context(), d.node)
	require.NoError(t, err)
	require.Equal(t, "root", seen.User)
	require.Equal(t, d.node.Provision["ssh_port"], fmt.Sprint(seen.Port))
	require.Len(t, seen.HostKeys, 1)

	for _, name := range []string{"rsa", "ecdsa"} {
		d.node.Inspection = &backend.Inspection{User: "root", HostKeys: []string{read(t, filepath.Join(d.home, "..", name+".pub"))}}
		require.NoError(t, c.Contextualize(t.Context(), d.node, "k"), "the host is asked for the key that is known")
	}

	other.node.Inspection = &seen
	require.NoError(t, os.WriteFile(filepath.Join(other.home, ".ssh", "authorized_keys"), []byte(backendtest.PublicKey(d.own)), 0o600))
	for _, err := range []error{c.Contextualize(t.Context(), other.node, "k"), c.Decontextualize(t.Context(), other.node)} {
		require.ErrorContains(t, err, "is not the one that it had when Duffy first logged in: it was reinstalled or something else answers")
	}
	require.Equal(t, backendtest.PublicKey(d.own), read(t, filepath.Join(other.home, ".ssh", "authorized_keys")))
	other.node.HostKeys = backend.AnyHostKey
	require.NoError(t, c.Contextualize(t.Context(), other.node, "k"))
	lax := open(t, ssh.Config{KeyFiles: []string{d.file}, HostKeys: backend.AnyHostKey})
	other.node.HostKeys = ""
	require.NoError(t, lax.Contextualize(t.Context(), other.node, "k"))
	other.node.HostKeys = backend.PinnedHostKeys
	require.NoError(t, lax.Contextualize(t.Context(), other.node, "k"), "the pool's setting is that of the node")

	other.node.HostKeys = "never"
	require.ErrorContains(t, c.Contextualize(t.Context(), other.node, "k"), `"never", which is none of any, first-use and pinned`)
	other.node.HostKeys, other.node.Inspection = "", &backend.Inspection{HostKeys: []string{"junk"}}
	require.ErrorContains(t, c.Contextualize(t.Context(), other.node, "k"), "none that was kept of it is a public key")
}

// TestOtherKeysThanTenants has a tenant change what is above its keys, in all ways.
func TestOtherKeysThanTenants(t *testing.T) {
	t.Parallel()
	d := startSSHD(t, sshdConfig{})
	c := open(t, ssh.Config{KeyFiles: []string{d.file}})
	file := filepath.Join(d.home, ".ssh", "authorized_keys")
	own := read(t, file)
	seen, err := c.Inspect(t.Context(), d.node)
	require.NoError(t, err)
	d.node.Inspection = &seen
	const differs = "has other keys above those of tenants than before a tenant had access"
	for text, says := range map[string]string{
		own:                                  "",
		own + "\n\n":                         "",
		own + separator + "ssh-rsa AAAA\n":   "",
		own + "ssh-rsa AAAA\n":               differs,
		"ssh-rsa AAAA\n" + own + separator:   differs,
		own + own + separator:                differs,
		"no-pty " + own:                      differs,
		own + "ssh-rsa AAAA\n" + separator:   differs,
		own + strings.Repeat("#\n", 30_000):  differs,
		own + strings.Repeat("#\n", 600_000): "more than 1 MiB",
	} {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		err := c.Decontextualize(t.Context(), d.node)
		if says == "" {
			require.NoError(t, err, "%.200q", text)
			continue
		}
		require.ErrorContains(t, err, says, "%.200q", text)
		require.NotContains(t, err.Error(), "AAAA")
	}

	// What is too much to look at is not compared, nor is another user's file.
	require.NoError(t, os.WriteFile(file, []byte(own+strings.Repeat("#\n", 30_000)), 0o600))
	many, err := c.Inspect(t.Context(), d.node)
	require.NoError(t, err)
	require.Empty(t, many.AuthorizedKeysSHA256)
	require.Equal(t, seen.HostKeys, many.HostKeys)
	d.node.Inspection = &many
	require.NoError(t, c.Decontextualize(t.Context(), d.node))
	d.node.Inspection = &backend.Inspection{User: "centos", HostKeys: seen.HostKeys, AuthorizedKeysSHA256: "0"}
	require.NoError(t, c.Decontextualize(t.Context(), d.node))
}
