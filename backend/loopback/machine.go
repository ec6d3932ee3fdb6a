package loopback

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// acceptPause is how long a machine waits after it could not accept a connection:
// the process may be out of file descriptors.
const acceptPause = 100 * time.Millisecond

// loginGrace is how long a connection may take to log in.
const loginGrace = 2 * time.Minute

// A machine is one SSH server and what runs in its sessions.
type machine struct {
	home    string // root's
	addr    *net.TCPAddr
	hostKey string // the public one, as in authorized_keys

	listener  net.Listener
	config    *ssh.ServerConfig
	reachable func() bool
	logger    *slog.Logger
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
	hostKey, err := ssh.NewSignerFromKey(private)
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
		hostKey:  strings.TrimSpace(string(ssh.MarshalAuthorizedKey(hostKey.PublicKey()))),
		listener: listener, reachable: reachable, logger: logger,
	}
	m.config = &ssh.ServerConfig{PublicKeyCallback: m.authorize}
	m.config.AddHostKey(hostKey)
	m.up, m.down = context.WithCancel(context.Background())
	go m.listen()
	return m, nil
}

// listen accepts connections until the machine is stopped.
func (m *machine) listen() {
	for {
		conn, err := m.listener.Accept()
		switch {
		case err == nil:
			go m.connect(conn)
		case m.up.Err() != nil:
			return
		default:
			m.logger.Error("loopback node cannot accept a connection", "addr", m.addr, "error", err)
			select {
			case <-m.up.Done():
			case <-time.After(acceptPause):
			}
		}
	}
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

// connect serves one connection, and closes it when the machine stops, however far
// its handshake is.
func (m *machine) connect(conn net.Conn) {
	defer conn.Close()
	if !m.reachable() {
		return
	}
	ctx, cancel := context.WithCancel(m.up)
	defer cancel() // which ends the commands of the connection
	context.AfterFunc(ctx, func() { conn.Close() })

	_ = conn.SetDeadline(time.Now().Add(loginGrace))
	_, channels, requests, err := ssh.NewServerConn(conn, m.config)
	if err != nil {
		return
	}
	_ = conn.SetDeadline(time.Time{})
	go ssh.DiscardRequests(requests)
	for channel := range channels {
		if channel.ChannelType() != "session" {
			_ = channel.Reject(ssh.UnknownChannelType, "only sessions are supported")
			continue
		}
		if ch, requests, err := channel.Accept(); err == nil {
			go m.session(ctx, ch, requests)
		}
	}
}

// authorize lets in root with a key that is in authorized_keys at this moment.
func (m *machine) authorize(conn ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
	text, err := os.ReadFile(authorizedKeys(m.home))
	for err == nil && conn.User() == "root" {
		var authorized ssh.PublicKey
		authorized, _, _, text, err = ssh.ParseAuthorizedKey(text)
		if err == nil && bytes.Equal(authorized.Marshal(), key.Marshal()) {
			return nil, nil
		}
	}
	return nil, errors.New("this key is not authorized")
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
