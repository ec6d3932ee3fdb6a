package ssh_test

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"encoding/pem"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	gossh "golang.org/x/crypto/ssh"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/backend/backendtest"
)

// An sshd is OpenSSH's server in a mount namespace where root's home is a
// directory of the test's. It never touches the accounts of this machine.
type sshd struct {
	home string       // root's, also seen from outside
	own  gossh.Signer // the key that is in authorized_keys from the beginning
	file string       // where the private half of it is
	node backend.Node // as provisioning would return it
}

// An sshdConfig has all that may differ between nodes.
type sshdConfig struct {
	shell    string // root's login shell; default: /bin/sh
	path     string // the PATH of sessions
	keysFile string // what AuthorizedKeysFile is set to; default: the usual one
	options  string // more lines of sshd_config, where $HOME is root's
	startups string // MaxStartups; default: 100
	prepare  string // a shell script that root runs in $HOME before the server starts
}

// startSSHD starts a server with a user root and a user centos, whose home is
// root's with -centos appended.
func startSSHD(t testing.TB, config sshdConfig) *sshd {
	t.Helper()
	program := needSSHD(t)
	dir := t.TempDir()
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755)) // for centos to get at its home
	d := &sshd{home: filepath.Join(dir, "root")}
	d.file, d.own = keyFile(t, "")
	for home, uid := range map[string]int{d.home: 0, d.home + "-centos": 12345} {
		keys := filepath.Join(home, ".ssh", "authorized_keys")
		require.NoError(t, os.MkdirAll(filepath.Dir(keys), 0o700))
		require.NoError(t, os.WriteFile(keys, []byte(backendtest.PublicKey(d.own)), 0o600))
		for _, name := range []string{home, filepath.Dir(keys), keys} {
			require.NoError(t, os.Chown(name, uid, uid))
		}
	}
	write := func(name, text string) string {
		name = filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
		return name
	}

	users, err := os.ReadFile("/etc/passwd")
	require.NoError(t, err)
	_, others, _ := bytes.Cut(users, []byte("\n")) // all but root
	passwd := write("passwd", fmt.Sprintf("root:*:0:0::%s:%s\ncentos:*:12345:12345::%s:/bin/sh\n%s",
		d.home, cmp.Or(config.shell, "/bin/sh"), d.home+"-centos", others))
	require.NoError(t, os.Chmod(passwd, 0o644))

	private := privateKey(t)
	block, err := gossh.MarshalPrivateKey(private, "")
	require.NoError(t, err)
	host, port := freeAddress(t)
	options := []string{
		"ListenAddress " + net.JoinHostPort(host, port),
		"HostKey " + write("host_key", string(pem.EncodeToMemory(block))),
		"PidFile none",
		"UsePAM no",
		"StrictModes yes",
		"AuthorizedKeysFile " + cmp.Or(config.keysFile, ".ssh/authorized_keys"),
		"MaxStartups " + cmp.Or(config.startups, "100"),
		strings.ReplaceAll(config.options, "$HOME", d.home),
	}
	if config.path != "" {
		options = append(options, "SetEnv PATH="+config.path)
	}
	file := write("sshd_config", strings.Join(options, "\n")+"\n")

	cmd := exec.Command("unshare", "--mount", "sh", "-ec", `
		mount --bind "$1" /etc/passwd
		mount -t tmpfs tmpfs /run
		mkdir /run/sshd
		(cd "$2"; eval "$3")
		exec "$4" -D -e -f "$5"`,
		"sh", passwd, d.home, config.prepare, program, file)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = 10 * time.Second
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("sshd: %s", &log)
		}
	})

	hostKey, err := gossh.NewSignerFromKey(private)
	require.NoError(t, err)
	d.node = backend.Node{ID: 5, IPAddr: host, Provision: map[string]any{
		"ssh_port":     port,
		"ssh_host_key": backendtest.PublicKey(hostKey),
	}}
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", net.JoinHostPort(host, port))
		if err == nil {
			conn.Close()
		}
		return err == nil
	}, time.Minute, 10*time.Millisecond, "sshd does not answer")
	return d
}

// run runs a command as root, who logs in for it.
func (d *sshd) run(t *testing.T, command string) string {
	t.Helper()
	client, err := dial(d.node, d.own)
	require.NoError(t, err)
	defer client.Close()
	session, err := client.NewSession()
	require.NoError(t, err)
	out, err := session.Output(command)
	require.NoError(t, err)
	return string(out)
}

// needSSHD returns the path of sshd, which wants root and mount namespaces.
func needSSHD(t testing.TB) string {
	t.Helper()
	program, err := exec.LookPath("sshd")
	if err != nil {
		program, err = exec.LookPath("/usr/sbin/sshd")
	}
	need(t, err == nil, "sshd")
	need(t, exec.Command("unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/run").Run() == nil, "the right to unshare mounts")
	return program
}

// need skips the test if there is not what it needs, or fails it in CI, where
// everything has to be there.
func need(t testing.TB, there bool, what string) {
	t.Helper()
	if !there && os.Getenv("CI") != "" {
		t.Fatalf("this test needs %s", what)
	}
	if !there {
		t.Skipf("this test needs %s", what)
	}
}

// freeAddress returns a free address and port. The address is a random one, so
// that nobody else gets the port until it is used.
func freeAddress(t testing.TB) (host, port string) {
	t.Helper()
	host = fmt.Sprintf("127.83.%d.%d", rand.N(256), 1+rand.N(254))
	l, err := net.Listen("tcp", host+":0")
	require.NoError(t, err)
	defer l.Close()
	_, port, err = net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	return host, port
}

// canLogIn reports whether the holder of key can log in to node.
func canLogIn(t *testing.T, node backend.Node, key gossh.Signer) bool {
	t.Helper()
	client, err := dial(node, key)
	if err != nil {
		require.ErrorContains(t, err, "unable to authenticate")
		return false
	}
	client.Close()
	return true
}

// dial logs in to node as root, or whoever is its ssh_user.
func dial(node backend.Node, key gossh.Signer) (*gossh.Client, error) {
	user, ok := node.Provision["ssh_user"].(string)
	if !ok {
		user = "root"
	}
	return gossh.Dial("tcp", net.JoinHostPort(node.IPAddr, fmt.Sprint(node.Provision["ssh_port"])), &gossh.ClientConfig{
		User: user, Auth: []gossh.AuthMethod{gossh.PublicKeys(key)},
		HostKeyCallback: gossh.InsecureIgnoreHostKey(), Timeout: time.Minute,
	})
}

// keyFile writes a private key to a file.
func keyFile(t testing.TB, passphrase string) (string, gossh.Signer) {
	t.Helper()
	private := privateKey(t)
	key, err := gossh.NewSignerFromKey(private)
	require.NoError(t, err)
	block, err := gossh.MarshalPrivateKey(private, "")
	if passphrase != "" {
		block, err = gossh.MarshalPrivateKeyWithPassphrase(private, "", []byte(passphrase))
	}
	require.NoError(t, err)
	name := filepath.Join(t.TempDir(), "id_ed25519")
	require.NoError(t, os.WriteFile(name, pem.EncodeToMemory(block), 0o600))
	return name, key
}

func privateKey(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	return private
}
