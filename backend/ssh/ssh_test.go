package ssh_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	gossh "golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/backend/backendtest"
	"github.com/duffy-ci/duffy/backend/loopback"
	"github.com/duffy-ci/duffy/backend/ssh"
)

var _ backend.Contextualizer = (*ssh.Contextualizer)(nil)

func TestOpenSSH(t *testing.T) {
	t.Parallel()
	backendtest.RunContextualizer(t, func(t *testing.T) backendtest.Access {
		first, second := startSSHD(t, sshdConfig{}), startSSHD(t, sshdConfig{})
		second.node.ID++
		host, port := freeAddress(t)
		silent := at(host, "ssh_port", port)
		silent.Provision["ssh_host_key"] = first.node.Provision["ssh_host_key"]
		keys := filepath.Join(second.home, ".ssh", "authorized_keys")
		require.NoError(t, os.WriteFile(keys, []byte(backendtest.PublicKey(first.own)), 0o600))
		return backendtest.Access{
			Contextualizer: open(t, ssh.Config{KeyFiles: []string{first.file}, HostKeys: backend.PinnedHostKeys}),
			Nodes:          [2]backend.Node{first.node, second.node},
			CanLogIn:       canLogIn,
			ServiceKey:     first.own,
			Unable:         open(t, ssh.Config{Agent: filepath.Join(t.TempDir(), "agent")}),
			Silent:         &silent,
			LetIn: func(t *testing.T, node backend.Node, key gossh.Signer) {
				require.Equal(t, first.node.ID, node.ID)
				file := filepath.Join(first.home, ".ssh", "authorized_keys")
				require.NoError(t, os.WriteFile(file, []byte(backendtest.PublicKey(key)+read(t, file)), 0o600))
			},
		}
	})
}

func TestLoopback(t *testing.T) {
	t.Parallel()
	backendtest.RunContextualizer(t, func(t *testing.T) backendtest.Access {
		file, own := keyFile(t, "")
		machines := loopback.New(loopback.Config{Dir: t.TempDir(), AuthorizedKey: backendtest.PublicKey(own)})
		t.Cleanup(func() { machines.Close() })
		nodes, err := machines.Provision(t.Context(), backend.Request{Nodes: []backend.Node{{ID: 1}, {ID: 2}}})
		require.NoError(t, err)
		return backendtest.Access{
			Contextualizer: open(t, ssh.Config{KeyFiles: []string{file}, HostKeys: backend.PinnedHostKeys}),
			Nodes:          [2]backend.Node(nodes),
			CanLogIn:       canLogIn,
			ServiceKey:     own,
		}
	})
}

// TestNodeOverrides takes a node as it comes out of the database.
func TestNodeOverrides(t *testing.T) {
	t.Parallel()
	d := startSSHD(t, sshdConfig{})
	c := open(t, ssh.Config{KeyFiles: []string{d.file}, User: "nobody", Port: 1})
	tenant := backendtest.NewKey(t)
	var port int
	_, err := fmt.Sscan(d.node.Provision["ssh_port"].(string), &port)
	require.NoError(t, err)

	for _, value := range []any{port, float64(port), fmt.Sprint(port), int64(port)} {
		d.node.Provision["ssh_port"], d.node.Provision["ssh_user"] = value, "centos"
		require.NoError(t, c.Contextualize(t.Context(), d.node, backendtest.PublicKey(tenant)))
		require.True(t, canLogIn(t, d.node, tenant))
		d.node.Provision["ssh_user"] = "root"
		require.False(t, canLogIn(t, d.node, tenant), "only the user's own file changes")
		d.node.Provision["ssh_user"] = "centos"
		require.NoError(t, c.Decontextualize(t.Context(), d.node))
		require.False(t, canLogIn(t, d.node, tenant))
	}

	byName := d.node
	byName.IPAddr, byName.Hostname = "", d.node.IPAddr
	require.NoError(t, c.Decontextualize(t.Context(), byName))
}

func TestBadNodes(t *testing.T) {
	t.Parallel()
	file, _ := keyFile(t, "")
	c := open(t, ssh.Config{KeyFiles: []string{file}, HostKeys: backend.PinnedHostKeys})
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	hostKey := backendtest.PublicKey(backendtest.NewKey(t))
	for _, n := range []struct {
		node backend.Node
		says string
	}{
		{backend.Node{ID: 3}, "node 3: it has neither an address nor a name"},
		{at("192.0.2.1", "ssh_port", "ssh"), `ssh_port is "ssh", not a port`},
		{at("192.0.2.1", "ssh_port", 0), "ssh_port is 0, not a port"},
		{at("192.0.2.1", "ssh_port", 65536.0), "ssh_port is 65536, not a port"},
		{at("192.0.2.1", "ssh_port", 22.5), "ssh_port is 22.5, not a port"},
		{at("192.0.2.1", "ssh_user", ""), `ssh_user is "", not the name of a user`},
		{at("192.0.2.1", "ssh_user", []any{"root"}), "not the name of a user"},
		{at("192.0.2.1", "ssh_host_key", nil), "provisioning told no ssh_host_key"},
		{at("192.0.2.1", "ssh_host_key", "SHA256:whatever"), "provisioning told no ssh_host_key"},
		{at("192.0.2.1", "ssh_host_key", hostKey), "cannot log in as root@192.0.2.1:22: context canceled"},
		{at("2001:db8::1", "ssh_host_key", hostKey), "cannot log in as root@[2001:db8::1]:22: context canceled"},
	} {
		require.ErrorContains(t, c.Decontextualize(cancelled, n.node), n.says)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	d := startSSHD(t, sshdConfig{})
	file, _ := keyFile(t, "")
	err := open(t, ssh.Config{KeyFiles: []string{file}}).Contextualize(t.Context(), d.node, "ssh-ed25519 AAAA")
	require.ErrorContains(t, err, fmt.Sprintf("node 5: cannot log in as root@%s:%s: none of the keys is accepted (%s): ",
		d.node.IPAddr, d.node.Provision["ssh_port"], file))
	require.NotContains(t, err.Error(), "AAAA")

	host, port := freeAddress(t)
	err = open(t, ssh.Config{KeyFiles: []string{file}}).Contextualize(t.Context(), at(host, "ssh_port", port), "k")
	require.ErrorContains(t, err, "connection refused")
}

// TestCommandFails has a root that may not log in, as cloud images do it.
func TestCommandFails(t *testing.T) {
	t.Parallel()
	d := startSSHD(t, sshdConfig{shell: script(t, `echo 'Please log in as centos.'; echo 'Not as root!' >&2; exit 142`)})
	err := open(t, ssh.Config{KeyFiles: []string{d.file}}).Contextualize(t.Context(), d.node, "ssh-ed25519 AAAA")
	require.ErrorContains(t, err, "node 5: cannot change authorized_keys of root@")
	require.ErrorContains(t, err, "142")
	require.ErrorContains(t, err, "Please log in as centos.")
	require.ErrorContains(t, err, "Not as root!")
	require.NotContains(t, err.Error(), "AAAA")
	require.NotContains(t, err.Error(), "\n")
}

func TestEndlessOutput(t *testing.T) {
	t.Parallel()
	d := startSSHD(t, sshdConfig{shell: script(t, `yes | head -c 10000000; exit 1`)})
	err := open(t, ssh.Config{KeyFiles: []string{d.file}}).Decontextualize(t.Context(), d.node)
	require.ErrorContains(t, err, "y; y; y")
	require.Less(t, len(err.Error()), 4000)
}

func TestNoAnswer(t *testing.T) {
	t.Parallel()
	file, _ := keyFile(t, "")
	mute, err := net.Listen("tcp", "127.0.0.1:0") // connects, and says nothing
	require.NoError(t, err)
	defer mute.Close()
	node := at("127.0.0.1", "ssh_port", mute.Addr().(*net.TCPAddr).Port)

	c := open(t, ssh.Config{KeyFiles: []string{file}, ConnectTimeout: 50 * time.Millisecond})
	require.ErrorContains(t, c.Decontextualize(t.Context(), node), "no answer within 50ms")

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, open(t, ssh.Config{KeyFiles: []string{file}}).Decontextualize(ctx, node), context.DeadlineExceeded)
}

func TestCommandHangs(t *testing.T) {
	t.Parallel()
	d := startSSHD(t, sshdConfig{shell: script(t, `exec sleep 1000`)})
	c := open(t, ssh.Config{KeyFiles: []string{d.file}, CommandTimeout: 50 * time.Millisecond})
	require.ErrorContains(t, c.Decontextualize(t.Context(), d.node), "it takes longer than 50ms")

	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(500*time.Millisecond, cancel)
	require.ErrorIs(t, open(t, ssh.Config{KeyFiles: []string{d.file}}).Decontextualize(ctx, d.node), context.Canceled)
}

// TestNothingIsLeftOpen is not parallel: it counts what others must not open.
func TestNothingIsLeftOpen(t *testing.T) {
	d := startSSHD(t, sshdConfig{})
	hanging := startSSHD(t, sshdConfig{shell: script(t, `exec sleep 1000`)})
	good := open(t, ssh.Config{KeyFiles: []string{d.file}, Agent: startAgent(t, privateKey(t))})
	stranger := open(t, ssh.Config{Agent: startAgent(t, privateKey(t))})
	hasty := open(t, ssh.Config{KeyFiles: []string{hanging.file}, CommandTimeout: 10 * time.Millisecond})

	before, files := runtime.NumGoroutine(), openFiles(t)
	for range 3 {
		require.NoError(t, good.Contextualize(t.Context(), d.node, "k"))
		require.Error(t, stranger.Contextualize(t.Context(), d.node, "k"))
		require.Error(t, hasty.Contextualize(t.Context(), hanging.node, "k"))
	}
	require.Eventually(t, func() bool {
		return runtime.NumGoroutine() <= before+1 && openFiles(t) <= files // this function is one of them
	}, time.Minute, 10*time.Millisecond)
}

func open(t testing.TB, config ssh.Config) *ssh.Contextualizer {
	t.Helper()
	c, err := ssh.New(config)
	require.NoError(t, err)
	return c
}

// at returns a node with one thing told by provisioning.
func at(addr, key string, value any) backend.Node {
	return backend.Node{ID: 5, IPAddr: addr, Provision: map[string]any{key: value}}
}

// script returns the name of a shell script, for use as a login shell.
func script(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "shell")
	require.NoError(t, os.WriteFile(name, []byte("#!/bin/sh\n"+text+"\n"), 0o755))
	return name
}

func openFiles(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(files)
}

func BenchmarkConnectAndCommand(b *testing.B) {
	d := startSSHD(b, sshdConfig{})
	for b.Loop() {
		client, err := gossh.Dial("tcp", net.JoinHostPort(d.node.IPAddr, d.node.Provision["ssh_port"].(string)), &gossh.ClientConfig{
			User: "root", Auth: []gossh.AuthMethod{gossh.PublicKeys(d.own)}, HostKeyCallback: gossh.InsecureIgnoreHostKey(),
		})
		require.NoError(b, err)
		session, err := client.NewSession()
		require.NoError(b, err)
		require.NoError(b, session.Run("exec true"))
		client.Close()
	}
}

func BenchmarkContextualize(b *testing.B) {
	for _, count := range []int{1, 4} {
		b.Run(fmt.Sprintf("nodes=%d", count), func(b *testing.B) {
			key := backendtest.PublicKey(backendtest.NewKey(b))
			var nodes []*sshd
			for range count {
				nodes = append(nodes, startSSHD(b, sshdConfig{}))
			}
			for b.Loop() {
				var calls errgroup.Group
				for _, d := range nodes {
					c := open(b, ssh.Config{KeyFiles: []string{d.file}})
					calls.Go(func() error { return c.Contextualize(b.Context(), d.node, key) })
				}
				require.NoError(b, calls.Wait())
			}
		})
	}
}
