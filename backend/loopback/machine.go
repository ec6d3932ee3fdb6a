package loopback

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/gliderlabs/ssh"
	gossh "golang.org/x/crypto/ssh"
)

// A machine is one SSH server and what runs in its sessions.
type machine struct {
	home    string // root's
	addr    *net.TCPAddr
	hostKey string // the public one, as in authorized_keys

	listener  net.Listener
	reachable func() bool
	up        context.Context // ends when the machine is stopped
	down      context.CancelFunc

	mu       sync.Mutex // held to begin a session, and to stop
	sessions sync.WaitGroup
}

// startMachine starts a server at address ip. A port of 0 means any that is free.
func startMachine(home string, ip net.IP, port int, reachable func() bool, logger *slog.Logger) (*machine, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	hostKey, err := gossh.NewSignerFromKey(private)
	if err != nil {
		return nil, err
	}
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: ip, Port: port})
	if err != nil {
		return nil, fmt.Errorf("no address of its own (outside Linux, %s is not there to listen at): %w", ip, err)
	}
	m := &machine{
		home:     home,
		addr:     listener.Addr().(*net.TCPAddr),
		hostKey:  strings.TrimSpace(string(gossh.MarshalAuthorizedKey(hostKey.PublicKey()))),
		listener: listener, reachable: reachable,
	}
	m.up, m.down = context.WithCancel(context.Background())
	server := &ssh.Server{
		HostSigners:            []ssh.Signer{hostKey},
		ConnCallback:           m.connect,
		PublicKeyHandler:       m.authorize,
		SessionRequestCallback: noteTerminal,
		Handler:                m.serve,
		SubsystemHandlers:      map[string]ssh.SubsystemHandler{"sftp": m.serve},
	}
	go func() {
		if err := server.Serve(listener); m.up.Err() == nil {
			logger.Error("loopback node stopped listening", "addr", m.addr, "error", err)
		}
	}()
	return m, nil
}

// stop closes all connections and waits until all that their sessions started
// has ended.
func (m *machine) stop() {
	m.mu.Lock()
	m.down()
	m.mu.Unlock()
	m.listener.Close()
	m.sessions.Wait()
}

// connect closes conn when the machine stops, however far its handshake is.
func (m *machine) connect(ctx ssh.Context, conn net.Conn) net.Conn {
	if !m.reachable() {
		return nil
	}
	stop := context.AfterFunc(m.up, func() { conn.Close() })
	context.AfterFunc(ctx, func() { stop() })
	return conn
}

// authorize lets in root with a key that is in authorized_keys at this moment.
func (m *machine) authorize(ctx ssh.Context, key ssh.PublicKey) bool {
	text, err := os.ReadFile(authorizedKeys(m.home))
	for err == nil && ctx.User() == "root" {
		var authorized gossh.PublicKey
		authorized, _, _, text, err = gossh.ParseAuthorizedKey(text)
		if err == nil && bytes.Equal(authorized.Marshal(), key.Marshal()) {
			return true
		}
	}
	return false
}

func authorizedKeys(home string) string { return filepath.Join(home, ".ssh", "authorized_keys") }

// makeHome makes a home directory in which only keys can log in, and removes what
// was there before.
func makeHome(home, keys string) error {
	if err := os.RemoveAll(home); err != nil {
		return err
	}
	file := authorizedKeys(home)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(strings.TrimRight(keys, "\n")+"\n"), 0o600)
}

// address returns the address of a node: 127.77.0.0 plus its ID.
func address(id int64) (net.IP, error) {
	const first, last = 77 << 16, 255<<16 - 1
	n := first + id
	if id < 0 || n > last {
		return nil, fmt.Errorf("no loopback address for an ID above %d", last-first)
	}
	return net.IPv4(127, byte(n>>16), byte(n>>8), byte(n)), nil
}
