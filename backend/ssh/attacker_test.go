package ssh_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os/exec"
	"testing"
	"time"

	gossh "golang.org/x/crypto/ssh"

	"github.com/duffy-ci/duffy/backend/backendtest"
)

// hang ends with the connection.
func hang(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }

// flood writes chunk until the other end has enough.
func flood(w io.Writer, chunk []byte) {
	chunk = bytes.Repeat(chunk, 1+4000/len(chunk))
	forEver(func() error {
		_, err := w.Write(chunk)
		return err
	})
}

func dribble(w io.Writer) {
	forEver(func() error {
		time.Sleep(20 * time.Millisecond)
		_, err := w.Write([]byte("S"))
		return err
	})
}

func forEver(do func() error) {
	for do() == nil {
	}
}

func keepalives(m *machine) { forEver(func() error { return m.global(false) }) }

// A turningConn does something else after so many bytes were written.
type turningConn struct {
	net.Conn
	left int
	turn func(net.Conn)
}

func (c *turningConn) Write(p []byte) (int, error) {
	if len(p) <= c.left {
		c.left -= len(p)
		return c.Conn.Write(p)
	}
	_, _ = c.Conn.Write(p[:c.left])
	c.left = 0
	c.turn(c.Conn)
	hang(c.Conn)
	return 0, io.ErrClosedPipe
}

// serveSSH serves one connection. What prepare returns has it once it is logged in.
func serveSSH(conn net.Conn, prepare func(*gossh.ServerConfig) func(*gossh.ServerConn, <-chan gossh.NewChannel, <-chan *gossh.Request)) {
	config := &gossh.ServerConfig{PublicKeyCallback: func(gossh.ConnMetadata, gossh.PublicKey) (*gossh.Permissions, error) { return nil, nil }}
	config.AddHostKey(attackersKey)
	do := prepare(config)
	server, channels, requests, err := gossh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	defer server.Close()
	do(server, channels, requests)
}

var attackersKey = backendtest.NewKey(&testing.T{})

// A machine is a node that somebody has logged in to.
type machine struct {
	server   *gossh.ServerConn
	channels <-chan gossh.NewChannel
	gone     chan struct{} // closed when the connection is

	session  gossh.Channel
	requests <-chan *gossh.Request
}

func loggedIn(do func(*machine)) func(*gossh.ServerConfig) func(*gossh.ServerConn, <-chan gossh.NewChannel, <-chan *gossh.Request) {
	return func(*gossh.ServerConfig) func(*gossh.ServerConn, <-chan gossh.NewChannel, <-chan *gossh.Request) {
		return func(server *gossh.ServerConn, channels <-chan gossh.NewChannel, requests <-chan *gossh.Request) {
			m := &machine{server: server, channels: channels, gone: make(chan struct{})}
			go gossh.DiscardRequests(requests)
			go func() {
				defer close(m.gone)
				_ = server.Wait()
			}()
			do(m)
			<-m.gone
		}
	}
}

// honest runs nothing, but is in no hurry to say so.
func honest(m *machine) {
	m.command()
	<-m.gone
}

func (m *machine) accept() {
	if channel := <-m.channels; channel != nil {
		m.session, m.requests, _ = channel.Accept()
	}
}

func (m *machine) answer(ok bool) {
	for r := range m.requests {
		_ = r.Reply(ok, nil)
		if r.Type == "exec" {
			return
		}
	}
}

// command lets the other end start a command.
func (m *machine) command() {
	m.accept()
	m.answer(true)
}

func (m *machine) status() error {
	_, err := m.session.SendRequest("exit-status", false, make([]byte, 4))
	return err
}

func (m *machine) exit() {
	_ = m.status()
	_ = m.session.Close()
}

// runs runs a command with what would be run by sh, and tells that it worked.
func (m *machine) runs(command string) {
	cmd := exec.Command("sh", "-c", command)
	cmd.Env = []string{"HOME=/nonexistent", "PATH=/usr/bin:/bin"}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = m.session, m.session, m.session.Stderr()
	_ = cmd.Run()
	m.exit()
}

func (m *machine) global(reply bool) error {
	_, _, err := m.server.SendRequest("keepalive@openssh.com", reply, make([]byte, 100))
	return err
}

func (m *machine) request(reply bool) error {
	_, err := m.session.SendRequest("keepalive@openssh.com", reply, make([]byte, 100))
	return err
}

// opens opens channels to the other end, as if that was the server.
func (m *machine) opens(kind string) {
	forEver(func() error {
		channel, _, err := m.server.OpenChannel(kind, make([]byte, 10_000))
		var refused *gossh.OpenChannelError
		if err == nil {
			channel.Close()
			panic("somebody lets a node open channels of the kind " + kind)
		}
		if errors.As(err, &refused) {
			err = nil
		}
		return err
	})
}
