package dbtest

import (
	"bytes"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// A Proxy is a way to PostgreSQL that a test can break. It is safe for concurrent use.
type Proxy struct {
	listener net.Listener
	server   string // the path of a socket
	database string

	mu    sync.Mutex
	conns map[*net.TCPConn]bool
	away  bool
	lose  [][]byte // the statements with these texts are carried out in turn, then everything breaks
}

// NewProxy returns a way to a new database with nothing in it, until the test ends.
func NewProxy(t testing.TB) *Proxy {
	t.Helper()
	u, err := url.Parse(PostgresURL(t))
	require.NoError(t, err)
	socket := u.Query().Get("host")
	if socket == "" {
		t.Skip("PostgreSQL is not a server of this test")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &Proxy{listener: l, server: socket + "/.s.PGSQL.5432", database: strings.TrimPrefix(u.Path, "/"), conns: map[*net.TCPConn]bool{}}
	t.Cleanup(func() {
		l.Close()
		p.Break()
	})
	go p.accept()
	return p
}

// URL returns the URL of the database.
func (p *Proxy) URL() string {
	return "postgresql://postgres@" + p.listener.Addr().String() + "/" + p.database + "?sslmode=disable"
}

// Break resets all connections, and those that are opened until Mend.
func (p *Proxy) Break() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reset()
}

func (p *Proxy) reset() {
	p.away = true
	for conn := range p.conns {
		_ = conn.SetLinger(0)
		conn.Close()
	}
	clear(p.conns)
}

// Mend lets connections through again.
func (p *Proxy) Mend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.away = false
}

// LoseAnswer has the next statement with a text be carried out and not answered: everything
// breaks instead.
func (p *Proxy) LoseAnswer(text string) { p.LoseAnswerAfter(text) }

// LoseAnswerAfter is LoseAnswer for the last of statements with texts that come in turn.
func (p *Proxy) LoseAnswerAfter(texts ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lose = nil
	for _, text := range texts {
		p.lose = append(p.lose, []byte(text))
	}
}

// Broken tells whether connections are reset.
func (p *Proxy) Broken() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.away
}

func (p *Proxy) accept() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return
		}
		go p.forward(conn.(*net.TCPConn))
	}
}

func (p *Proxy) forward(conn *net.TCPConn) {
	defer conn.Close()
	server, err := net.Dial("unix", p.server)
	if err != nil || !p.admit(conn) {
		return
	}
	defer server.Close()
	losing := make(chan bool, 1) // whether the next answer is lost
	go func() {
		defer server.Close()
		p.ask(conn, server, losing)
	}()
	buffer := make([]byte, 32<<10)
	for {
		n, err := server.Read(buffer)
		if err != nil {
			return
		}
		select {
		case <-losing:
			p.Break()
			return
		default:
		}
		if _, err := conn.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// admit tells whether a connection may be made.
func (p *Proxy) admit(conn *net.TCPConn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.away {
		_ = conn.SetLinger(0)
		return false
	}
	p.conns[conn] = true
	return true
}

// ask passes on what a client sends.
func (p *Proxy) ask(conn *net.TCPConn, server net.Conn, losing chan<- bool) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return
		}
		if p.loses(buffer[:n]) {
			losing <- true
		}
		if _, err := server.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// loses tells whether the answer to a statement is to be lost.
func (p *Proxy) loses(statement []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.lose) == 0 || !bytes.Contains(statement, p.lose[0]) {
		return false
	}
	p.lose = p.lose[1:]
	return len(p.lose) == 0
}
