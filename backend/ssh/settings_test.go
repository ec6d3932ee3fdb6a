package ssh_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	gossh "golang.org/x/crypto/ssh"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/backend/backendtest"
	"github.com/duffy-ci/duffy/backend/ssh"
)

// inAndOut sees that a tenant is let in, by sshd itself, and locked out again.
func inAndOut(t *testing.T, c *ssh.Contextualizer, d *sshd) {
	t.Helper()
	tenant := backendtest.NewKey(t)
	seen, err := c.Inspect(t.Context(), d.node)
	require.NoError(t, err)
	d.node.Inspection = &seen
	require.NoError(t, c.Contextualize(t.Context(), d.node, backendtest.PublicKey(tenant)))
	require.True(t, canLogIn(t, d.node, tenant))
	require.NoError(t, c.Decontextualize(t.Context(), d.node))
	require.False(t, canLogIn(t, d.node, tenant))
	again, err := c.Inspect(t.Context(), d.node)
	require.NoError(t, err)
	require.Equal(t, seen, again)
}

// TestAuthorizedKeysElsewhere has an sshd that looks for keys elsewhere. Duffy says so, or
// is told where.
func TestAuthorizedKeysElsewhere(t *testing.T) {
	t.Parallel()
	for name, place := range map[string]struct{ sshd, setting, prepare string }{
		"home directory":  {".keys", ".keys", `cp .ssh/authorized_keys .keys`},
		"its name":        {"%h/.keys-%u", "%h/.keys-%u", `cp .ssh/authorized_keys .keys-root`},
		"new directory":   {"keys .config", "keys", `mv .ssh/authorized_keys .config`},
		"for all":         {"/run/keys/%u", "/run/keys/%u", `mkdir /run/keys; mv .ssh/authorized_keys /run/keys/root`},
		"for one":         {"/run/keys/%u/authorized_keys", "/run/keys/root/authorized_keys", `mkdir -p /run/keys/root; mv .ssh/authorized_keys /run/keys/root`},
		"link to for all": {"/run/link/%u", "/run/link/%u", `mkdir /run/keys; ln -s keys /run/link; mv .ssh/authorized_keys /run/keys/a; ln -s a /run/keys/root`},
		"with a percent":  {"/run/100%%", "/run/100%%", `mv .ssh/authorized_keys /run/100%`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := startSSHD(t, sshdConfig{keysFile: place.sshd, prepare: "chmod 755 /run; " + place.prepare + "; rm -f .ssh/authorized_keys"})
			inAndOut(t, open(t, ssh.Config{KeyFiles: []string{d.file}, AuthorizedKeys: place.setting}), d)

			untold := open(t, ssh.Config{KeyFiles: []string{d.file}})
			err := untold.Contextualize(t.Context(), d.node, "ssh-ed25519 AAAA")
			require.ErrorContains(t, err, "say in ssh.authorized-keys what its AuthorizedKeysFile is")
			require.NotErrorIs(t, err, backend.ErrNotTried)
			d.node.Provision["ssh_authorized_keys"] = place.setting
			inAndOut(t, untold, d)
		})
	}
}

// TestSeveralFiles has Duffy be let in by another file than tenants.
func TestSeveralFiles(t *testing.T) {
	t.Parallel()
	d := startSSHD(t, sshdConfig{keysFile: "/run/duffy .ssh/authorized_keys", prepare: "chmod 755 /run; mv .ssh/authorized_keys /run/duffy"})
	inAndOut(t, open(t, ssh.Config{KeyFiles: []string{d.file}}), d)
}

// TestMountedFile has a file that cannot be replaced, since it is mounted.
func TestMountedFile(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"dash", "bash", "busybox"} {
		t.Run(shell, func(t *testing.T) {
			t.Parallel()
			d := startSSHD(t, sshdConfig{path: binDir(t, shell), prepare: `mv .ssh/authorized_keys mounted; : >.ssh/authorized_keys; mount --bind mounted .ssh/authorized_keys`})
			inAndOut(t, open(t, ssh.Config{KeyFiles: []string{d.file}}), d)
			require.Equal(t, backendtest.PublicKey(d.own), read(t, filepath.Join(d.home, "mounted")))
			require.Equal(t, "authorized_keys\n", d.run(t, "ls -A .ssh"))
		})
	}
}

// TestMountedFileOnFullDisk has one that cannot grow. Duffy still gets in.
func TestMountedFileOnFullDisk(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"dash", "bash", "busybox"} {
		t.Run(shell, func(t *testing.T) {
			t.Parallel()
			d := startSSHD(t, sshdConfig{path: binDir(t, shell), prepare: `mkdir /run/small; mount -t tmpfs -o size=16k,mode=700 tmpfs /run/small
				cp .ssh/authorized_keys /run/small/keys; mount --bind /run/small/keys .ssh/authorized_keys`})
			large := ""
			for range 20 {
				large += fmt.Sprintf("ssh-rsa %01000d\n", 1)
			}
			c := open(t, ssh.Config{KeyFiles: []string{d.file}})
			require.ErrorContains(t, c.Contextualize(t.Context(), d.node, large), "No space left on device")
			require.Equal(t, backendtest.PublicKey(d.own), d.run(t, "cat .ssh/authorized_keys"))
			inAndOut(t, c, d)
		})
	}
}

// TestCertificates has a node that knows an authority, and no key of Duffy's.
func TestCertificates(t *testing.T) {
	t.Parallel()
	authority := backendtest.NewKey(t)
	d := startSSHD(t, sshdConfig{
		options: "TrustedUserCAKeys /run/authority",
		prepare: fmt.Sprintf("echo '%s' >/run/authority; rm .ssh/authorized_keys", backendtest.PublicKey(authority)),
	})
	file := certified(t, authority, time.Now().Add(time.Hour))
	c := open(t, ssh.Config{KeyFiles: []string{file}})
	inAndOut(t, c, d)

	certificate, err := os.ReadFile(file + "-cert.pub")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file+"-cert.pub", []byte("half a certi"), 0o600))
	require.ErrorContains(t, c.Decontextualize(t.Context(), d.node), file+"-cert.pub")
	require.NoError(t, os.WriteFile(file+"-cert.pub", certificate, 0o600))
	require.NoError(t, c.Decontextualize(t.Context(), d.node), "certificates are read each time")
}

// TestJumpHosts has nodes that only a jump host reaches, which need not be in the way
// for the test.
func TestJumpHosts(t *testing.T) {
	t.Parallel()
	d := startSSHD(t, sshdConfig{})
	key, err := os.ReadFile(d.file)
	require.NoError(t, err)
	signer, err := gossh.ParsePrivateKey(key)
	require.NoError(t, err)
	keys := fmt.Sprintf("echo '%s' >.ssh/authorized_keys", backendtest.PublicKey(signer))
	first, second := startSSHD(t, sshdConfig{prepare: keys}), startSSHD(t, sshdConfig{prepare: keys})
	closed := startSSHD(t, sshdConfig{prepare: keys, options: "AllowTcpForwarding no"})
	address := func(d *sshd) string { return net.JoinHostPort(d.node.IPAddr, d.node.Provision["ssh_port"].(string)) }

	for _, jumps := range []string{address(first), "root@" + address(first) + ",root@" + address(second)} {
		c := open(t, ssh.Config{KeyFiles: []string{d.file}, ProxyJump: jumps})
		var traffic ssh.Traffic
		c.Watch(&traffic)
		inAndOut(t, c, d)
		require.EqualValues(t, 4, traffic.Opened.Load())
		require.Equal(t, traffic.Opened.Load(), traffic.Closed.Load())
	}
	err = open(t, ssh.Config{KeyFiles: []string{d.file}, ProxyJump: address(closed)}).Decontextualize(t.Context(), d.node)
	require.ErrorIs(t, err, backend.ErrNotTried)
	require.ErrorContains(t, err, "the jump host does not connect to it")
}

// TestOldAlgorithms has nodes that speak nothing that is thought safe now.
func TestOldAlgorithms(t *testing.T) {
	t.Parallel()
	d := startSSHD(t, sshdConfig{
		options: "KexAlgorithms diffie-hellman-group14-sha1\nCiphers aes128-cbc\nMACs hmac-sha1\n" +
			"HostKeyAlgorithms ssh-rsa\nPubkeyAcceptedAlgorithms ssh-rsa,ssh-ed25519\nHostKey /run/rsa",
		prepare: "ssh-keygen -q -t rsa -b 2048 -N '' -f /run/rsa",
	})
	err := open(t, ssh.Config{KeyFiles: []string{d.file}}).Decontextualize(t.Context(), d.node)
	require.ErrorContains(t, err, "no common algorithm for ")
	require.NotErrorIs(t, err, backend.ErrNotTried)
	for _, config := range []ssh.Config{
		{KexAlgorithms: "+diffie-hellman-group14-sha1", Ciphers: "+aes128-cbc"},
		{KexAlgorithms: "diffie-hellman-group14-sha1", Ciphers: "3des-cbc,aes128-cbc", MACs: "hmac-sha1"},
	} {
		config.KeyFiles = []string{d.file}
		require.NoError(t, open(t, config).Decontextualize(t.Context(), d.node))
	}
}

func TestBadSettings(t *testing.T) {
	t.Parallel()
	for says, config := range map[string]ssh.Config{
		`ssh.kex-algorithms: there is no "diffie-hellman-group14", but `: {KexAlgorithms: "+diffie-hellman-group14"},
		`ssh.ciphers: there is no "", but `:                              {Ciphers: "+"},
		`ssh.macs: there is no "-hmac-sha1", but `:                       {MACs: "-hmac-sha1"},
		`ssh.proxy-jump: expected [user@]host[:port], `:                  {ProxyJump: "jump:port"},
		`ssh.proxy-jump: expected [user@]`:                               {ProxyJump: "a,,b"},
		`ssh.authorized-keys: "%f/keys" has "%f" in it`:                  {AuthorizedKeys: "%f/keys"},
		`ssh.authorized-keys: "a b" is not the name of a file`:           {AuthorizedKeys: "a b"},
	} {
		_, err := ssh.New(config)
		require.ErrorContains(t, err, says)
		require.ErrorAs(t, err, new(*backend.SettingError))
	}
}
