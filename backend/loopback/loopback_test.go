package loopback_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/backend/backendtest"
	"github.com/duffy-ci/duffy/backend/loopback"
)

func TestBackend(t *testing.T) {
	t.Parallel()
	backendtest.Run(t, func(t *testing.T) backendtest.Subject {
		key := backendtest.NewKey(t)
		return backendtest.Subject{
			Backend:   open(t, loopback.Config{AuthorizedKey: backendtest.PublicKey(key)}),
			Exclusive: true, // the machines end with the process
			Running: func(_ *testing.T, node backend.Node) bool {
				client, err := dial(node, "root", key)
				if err == nil {
					client.Close()
				}
				return err == nil
			},
		}
	})
}

func TestWhoMayLogIn(t *testing.T) {
	t.Parallel()
	own, tenant := backendtest.NewKey(t), backendtest.NewKey(t)
	dir := t.TempDir()
	b := open(t, loopback.Config{Dir: dir, AuthorizedKey: "# Duffy\n" + backendtest.PublicKey(own)})
	node := provision(t, b, 7)[0]

	login(t, node, own)
	_, err := dial(node, "root", tenant)
	require.ErrorContains(t, err, "unable to authenticate")
	_, err = dial(node, "nobody", own)
	require.ErrorContains(t, err, "unable to authenticate")

	// The file is what counts, as it is at this moment.
	file := filepath.Join(dir, "node-7", ".ssh", "authorized_keys")
	require.NoError(t, os.WriteFile(file, []byte(backendtest.PublicKey(tenant)), 0o600))
	login(t, node, tenant)
	_, err = dial(node, "root", own)
	require.ErrorContains(t, err, "unable to authenticate")
}

func TestHostKey(t *testing.T) {
	t.Parallel()
	key := backendtest.NewKey(t)
	nodes := provision(t, open(t, loopback.Config{AuthorizedKey: backendtest.PublicKey(key)}), 1, 2)
	first, _, _, _, err := ssh.ParseAuthorizedKey([]byte(nodes[0].Provision["ssh_host_key"].(string)))
	require.NoError(t, err)
	for i, node := range nodes {
		config := clientConfig("root", key)
		config.HostKeyCallback = ssh.FixedHostKey(first)
		client, err := ssh.Dial("tcp", addr(node), config)
		if i > 0 {
			require.ErrorContains(t, err, "host key mismatch")
			continue
		}
		require.NoError(t, err)
		client.Close()
	}
}

func TestFixedPort(t *testing.T) {
	t.Parallel()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := free.Addr().(*net.TCPAddr).Port
	free.Close()
	for _, node := range provision(t, open(t, loopback.Config{Port: port}), 301, 302) {
		require.Equal(t, port, node.Provision["ssh_port"])
	}

	_, err = open(t, loopback.Config{Port: port}).Provision(t.Context(), request(301))
	require.ErrorContains(t, err, "node 301: ")
	require.ErrorContains(t, err, "address already in use")
}

func TestSomeNodesFail(t *testing.T) {
	t.Parallel()
	b := open(t, loopback.Config{})
	got, err := b.Provision(t.Context(), request(1, -1, 1<<40, 65536))
	require.NoError(t, err)
	require.Len(t, got, 2)
	require.Equal(t, []string{"127.77.0.1", "127.78.0.0"}, []string{got[0].IPAddr, got[1].IPAddr})

	_, err = b.Provision(t.Context(), request(1<<40))
	require.ErrorContains(t, err, "node 1099511627776: no loopback address")
}

func TestDirMustBeGiven(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{"", "nodes"} {
		_, err := loopback.New(loopback.Config{Dir: dir}).Deprovision(t.Context(), request(1))
		require.ErrorContains(t, err, "Config.Dir")
	}
}

func TestProvisionDelay(t *testing.T) {
	t.Parallel()
	const delay = 50 * time.Millisecond
	start := time.Now()
	provision(t, open(t, loopback.Config{ProvisionDelay: delay}), 1)
	require.GreaterOrEqual(t, time.Since(start), delay)
}

func TestDeprovisionEndsEverything(t *testing.T) {
	t.Parallel()
	key := backendtest.NewKey(t)
	dir := t.TempDir()
	b := open(t, loopback.Config{Dir: dir, AuthorizedKey: backendtest.PublicKey(key)})
	nodes := provision(t, b, 1)

	halfway, err := net.Dial("tcp", addr(nodes[0])) // connected, not logged in
	require.NoError(t, err)
	defer halfway.Close()
	running := newSession(t, login(t, nodes[0], key))
	out, err := running.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, running.Start("sleep 1000 & echo $!; wait"))
	var pid int
	_, err = fmt.Fscan(out, &pid)
	require.NoError(t, err)

	_, err = b.Deprovision(t.Context(), request(1))
	require.NoError(t, err)
	require.Error(t, running.Wait())
	require.False(t, alive(pid), "the command runs on")
	require.NoError(t, halfway.SetReadDeadline(time.Now().Add(time.Minute)))
	for err = nil; err == nil; {
		_, err = halfway.Read(make([]byte, 100))
	}
	require.False(t, errors.Is(err, os.ErrDeadlineExceeded), "the connection is still open")
	require.NoDirExists(t, filepath.Join(dir, "node-1"))
}

func TestRestart(t *testing.T) {
	t.Parallel()
	key, tenant := backendtest.NewKey(t), backendtest.NewKey(t)
	dir := t.TempDir()
	left := filepath.Join(dir, "node-5", ".ssh")
	for _, id := range []string{"5", "6"} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "node-"+id, ".ssh"), 0o700))
	}
	require.NoError(t, os.WriteFile(filepath.Join(left, "authorized_keys"), []byte(backendtest.PublicKey(tenant)), 0o600))

	b := open(t, loopback.Config{Dir: dir, AuthorizedKey: backendtest.PublicKey(key)})
	gone, err := b.Deprovision(t.Context(), request(6))
	require.NoError(t, err)
	require.Len(t, gone, 1)
	require.NoDirExists(t, filepath.Join(dir, "node-6"))

	node := provision(t, b, 5)[0]
	login(t, node, key)
	_, err = dial(node, "root", tenant)
	require.ErrorContains(t, err, "unable to authenticate", "an earlier process's tenant")

	require.NoError(t, b.Close())
	require.NoDirExists(t, filepath.Join(dir, "node-5"))
	_, err = dial(node, "root", key)
	require.ErrorContains(t, err, "connection refused")
}

func open(t *testing.T, config loopback.Config) *loopback.Backend {
	t.Helper()
	if config.Dir == "" {
		config.Dir = t.TempDir()
	}
	b := loopback.New(config)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

func request(ids ...int64) backend.Request {
	var req backend.Request
	for _, id := range ids {
		req.Nodes = append(req.Nodes, backend.Node{ID: id})
	}
	return req
}

func provision(t *testing.T, b *loopback.Backend, ids ...int64) []backend.Node {
	t.Helper()
	nodes, err := b.Provision(t.Context(), request(ids...))
	require.NoError(t, err)
	require.Len(t, nodes, len(ids))
	return nodes
}

func addr(node backend.Node) string {
	return net.JoinHostPort(node.IPAddr, fmt.Sprint(node.Provision["ssh_port"]))
}

func clientConfig(user string, key ssh.Signer) *ssh.ClientConfig {
	return &ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(key)},
		HostKeyCallback: ssh.InsecureIgnoreHostKey(), Timeout: time.Minute,
	}
}

func dial(node backend.Node, user string, key ssh.Signer) (*ssh.Client, error) {
	return ssh.Dial("tcp", addr(node), clientConfig(user, key))
}

func login(t *testing.T, node backend.Node, key ssh.Signer) *ssh.Client {
	t.Helper()
	client, err := dial(node, "root", key)
	require.NoError(t, err)
	t.Cleanup(func() { client.Close() })
	return client
}

func newSession(t *testing.T, client *ssh.Client) *ssh.Session {
	t.Helper()
	session, err := client.NewSession()
	require.NoError(t, err)
	return session
}

// alive reports whether a process runs, or waits for nothing but its parent to
// take note of its end.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}
