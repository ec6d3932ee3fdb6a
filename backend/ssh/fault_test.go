package ssh_test

import (
	"context"
	"crypto/rand"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	gossh "golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/backend/backendtest"
	"github.com/duffy-ci/duffy/backend/ssh"
)

var _ backend.Readier = (*ssh.Contextualizer)(nil)

// calls returns the errors of all calls for a node, at once.
func calls(ctx context.Context, c *ssh.Contextualizer, node backend.Node) map[string]error {
	var in, out, look error
	var all sync.WaitGroup
	all.Go(func() { in = c.Contextualize(ctx, node, "ssh-ed25519 AAAA") })
	all.Go(func() { out = c.Decontextualize(ctx, node) })
	all.Go(func() { _, look = c.Inspect(ctx, node) })
	all.Wait()
	return map[string]error{"Contextualize": in, "Decontextualize": out, "Inspect": look}
}

// TestOwnFaults has a node that would let in anybody who has a key, if it was asked.
func TestOwnFaults(t *testing.T) {
	t.Parallel()
	d := startSSHD(t, sshdConfig{})
	before := read(t, filepath.Join(d.home, ".ssh", "authorized_keys"))
	host, port := freeAddress(t)
	nowhere := net.JoinHostPort(host, port)
	hangs, err := net.Listen("unix", filepath.Join(t.TempDir(), "agent"))
	require.NoError(t, err)
	defer hangs.Close()
	stranger, _ := keyFile(t, "")
	expired := certified(t, backendtest.NewKey(t), time.Now().Add(-time.Hour))
	for name, config := range map[string]ssh.Config{
		"no agent":            {Agent: filepath.Join(t.TempDir(), "agent")},
		"empty agent":         {Agent: startAgent(t)},
		"agent hangs":         {Agent: hangs.Addr().String()},
		"agent hangs, file":   {Agent: hangs.Addr().String(), KeyFiles: []string{stranger}},
		"half of the keys":    {Agent: filepath.Join(t.TempDir(), "agent"), KeyFiles: []string{stranger}},
		"expired certificate": {KeyFiles: []string{expired}},
		"no jump host":        {KeyFiles: []string{d.file}, ProxyJump: nowhere},
		"unknown at jump":     {KeyFiles: []string{stranger}, ProxyJump: net.JoinHostPort(d.node.IPAddr, d.node.Provision["ssh_port"].(string))},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config.ConnectTimeout = time.Second
			c := open(t, config)
			for call, err := range calls(t.Context(), c, d.node) {
				require.ErrorIs(t, err, backend.ErrNotTried, call)
				require.ErrorIs(t, err, backend.ErrUntouched, call)
				require.ErrorContains(t, err, "node 5: ", call)
			}
			if strings.Contains(name, "agent") && len(config.KeyFiles) == 0 {
				require.ErrorIs(t, c.Ready(t.Context()), backend.ErrNotTried)
			}
			require.Equal(t, before, read(t, filepath.Join(d.home, ".ssh", "authorized_keys")))
		})
	}
	c := open(t, ssh.Config{KeyFiles: []string{d.file}})
	require.NoError(t, c.Ready(t.Context()))
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for call, err := range calls(cancelled, c, d.node) {
		require.ErrorIs(t, err, backend.ErrUntouched, call)
	}
}

// TestFaultsOfNodes are what Duffy must not take for its own.
func TestFaultsOfNodes(t *testing.T) {
	t.Parallel()
	d := startSSHD(t, sshdConfig{})
	stranger, _ := keyFile(t, "")
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer mute.Close()
	host, port := freeAddress(t)
	jump := net.JoinHostPort(d.node.IPAddr, d.node.Provision["ssh_port"].(string))
	unnamed := at("", "ssh_port", port)
	unnamed.Hostname = "no-such-node.invalid"
	for name, n := range map[string]struct {
		config ssh.Config
		node   backend.Node
	}{
		"refuses the key":             {ssh.Config{KeyFiles: []string{stranger}}, d.node},
		"says nothing":                {ssh.Config{}, at("127.0.0.1", "ssh_port", mute.Addr().(*net.TCPAddr).Port)},
		"is not there":                {ssh.Config{}, at(host, "ssh_port", port)},
		"is not there, behind a jump": {ssh.Config{ProxyJump: jump}, at(host, "ssh_port", port)},
		"has no address":              {ssh.Config{}, at("255.255.255.255", "ssh_port", port)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n.config.ConnectTimeout = 10 * time.Second
			if n.config.KeyFiles == nil {
				n.config.KeyFiles = []string{d.file}
			}
			for call, err := range calls(t.Context(), open(t, n.config), n.node) {
				require.Error(t, err, call)
				require.NotErrorIs(t, err, backend.ErrNotTried, call)
				require.ErrorIs(t, err, backend.ErrUntouched, call)
			}
		})
	}
}

// TestExhausted has a process without file descriptors, and one without a network.
func TestExhausted(t *testing.T) {
	t.Parallel()
	if os.Getenv("DUFFY_TEST_EXHAUSTED") != "" {
		testExhausted(t)
		return
	}
	needSSHD(t) // for the right to unshare
	for name, command := range map[string][]string{
		"descriptors": {program(t, "prlimit"), "--nofile=40:40"},
		"network":     {program(t, "unshare"), "--net"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file, _ := keyFile(t, "")
			command = append(command, os.Args[0], "-test.run=^TestExhausted$", "-test.v")
			cmd := exec.Command(command[0], command[1:]...)
			cmd.Env = append(os.Environ(), "DUFFY_TEST_EXHAUSTED="+name, "DUFFY_TEST_KEY="+file)
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s", out)
			require.Contains(t, string(out), "--- PASS: TestExhausted")
		})
	}
}

func testExhausted(t *testing.T) {
	c := open(t, ssh.Config{KeyFiles: []string{os.Getenv("DUFFY_TEST_KEY")}, ConnectTimeout: time.Second})
	descriptors := os.Getenv("DUFFY_TEST_EXHAUSTED") == "descriptors"
	var files []*os.File
	for descriptors {
		f, err := os.Open(os.DevNull)
		if err != nil {
			break
		}
		files = append(files, f)
	}
	ready := c.Ready(t.Context())
	failed := calls(t.Context(), c, at("192.0.2.77", "ssh_port", 22))
	for _, f := range files {
		f.Close()
	}
	if descriptors {
		require.ErrorIs(t, ready, backend.ErrNotTried)
	}
	for call, err := range failed {
		require.ErrorIs(t, err, backend.ErrNotTried, call)
	}
}

// TestTooManyConnections has a server that lets one connection in at a time, and drops
// all others.
func TestTooManyConnections(t *testing.T) {
	t.Parallel()
	d := startSSHD(t, sshdConfig{startups: "1"})
	tenant := backendtest.NewKey(t)
	c := open(t, ssh.Config{KeyFiles: []string{d.file}})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var all errgroup.Group
	for range 8 {
		all.Go(func() error {
			_, err := c.Inspect(ctx, d.node)
			return err
		})
	}
	all.Go(func() error { return c.Contextualize(ctx, d.node, backendtest.PublicKey(tenant)) })
	require.NoError(t, all.Wait())
	require.Contains(t, read(t, filepath.Join(d.home, ".ssh", "authorized_keys")), backendtest.PublicKey(tenant))
}

// TestTriedAgain has nodes that do not talk at first: which comes last in their errors.
func TestTriedAgain(t *testing.T) {
	t.Parallel()
	d := startSSHD(t, sshdConfig{})
	sshd := net.JoinHostPort(d.node.IPAddr, d.node.Provision["ssh_port"].(string))
	for name, rude := range map[string]func(net.Conn){
		"closes": func(conn net.Conn) { conn.Close() },
		"resets": func(conn net.Conn) {
			assert.NoError(t, conn.(*net.TCPConn).SetLinger(0))
			conn.Close()
		},
		"resets after its version": func(conn net.Conn) {
			_, _ = conn.Write([]byte("SSH-2.0-OpenSSH_9.2\r\n"))
			assert.NoError(t, conn.(*net.TCPConn).SetLinger(0))
			conn.Close()
		},
		"says why": func(conn net.Conn) {
			_, _ = conn.Write([]byte("Exceeded MaxStartups\r\n"))
			conn.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			defer l.Close()
			go func() {
				for n := 0; ; n++ {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					if n < 4 {
						rude(conn)
					} else {
						go relay(conn, sshd)
					}
				}
			}()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			node := at("127.0.0.1", "ssh_port", l.Addr().(*net.TCPAddr).Port)
			require.NoError(t, open(t, ssh.Config{KeyFiles: []string{d.file}}).Decontextualize(ctx, node))
		})
	}
	t.Run("listens late", func(t *testing.T) {
		t.Parallel()
		host, port := freeAddress(t)
		listening := make(chan net.Listener, 1)
		time.AfterFunc(2*time.Second, func() {
			l, err := net.Listen("tcp", net.JoinHostPort(host, port))
			if !assert.NoError(t, err) {
				return
			}
			listening <- l
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				go relay(conn, sshd)
			}
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.NoError(t, open(t, ssh.Config{KeyFiles: []string{d.file}}).Decontextualize(ctx, at(host, "ssh_port", port)))
		(<-listening).Close()
	})
}

// relay passes on what conn and a server say.
func relay(conn net.Conn, addr string) {
	defer conn.Close()
	server, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer server.Close()
	go func() { _, _ = server.(*net.TCPConn).ReadFrom(conn) }()
	_, _ = conn.(*net.TCPConn).ReadFrom(server)
}

// certified returns the file of a key with a certificate of authority beside it.
func certified(t *testing.T, authority gossh.Signer, until time.Time) string {
	t.Helper()
	file, key := keyFile(t, "")
	certificate := &gossh.Certificate{
		Key: key.PublicKey(), CertType: gossh.UserCert, KeyId: "duffy", ValidPrincipals: []string{"root"},
		ValidAfter: 0, ValidBefore: uint64(until.Unix()),
	}
	require.NoError(t, certificate.SignCert(rand.Reader, authority))
	require.NoError(t, os.WriteFile(file+"-cert.pub", gossh.MarshalAuthorizedKey(certificate), 0o600))
	return file
}
