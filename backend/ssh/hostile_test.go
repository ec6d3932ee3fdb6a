package ssh_test

import (
	"encoding/binary"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	gossh "golang.org/x/crypto/ssh"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/backend/ssh"
)

// TestHostileNodes has nodes do whatever may keep us busy. However they do it, a
// call ends within its limits, with an error that says why, and with as much read
// as there may be and no more.
func TestHostileNodes(t *testing.T) {
	t.Parallel()
	for name, a := range attacks() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			connect, command := time.Minute, time.Minute
			switch a.says {
			case noAnswer:
				connect = shortTime
			case tooSlow:
				command = shortTime
			}
			a.strike(t, connect, command)
		})
	}
}

// TestHostileAtAnyPoint has nodes that are honest for so many bytes, and then do
// something else.
func TestHostileAtAnyPoint(t *testing.T) {
	t.Parallel()
	for name, turn := range map[string]func(net.Conn){
		"hangs":    func(net.Conn) {},
		"dribbles": func(conn net.Conn) { dribble(conn) },
		"floods":   func(conn net.Conn) { flood(conn, []byte{0, 0, 0, 12, 10, 2}) },
		"closes":   func(conn net.Conn) { conn.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var points sync.WaitGroup
			for after := 0; after < 4000; after += 130 {
				points.Go(func() {
					attack{serve: func(conn net.Conn) {
						serveSSH(&turningConn{Conn: conn, left: after, turn: turn}, loggedIn(honest))
					}}.strike(t, shortTime, shortTime)
				})
			}
			points.Wait()
		})
	}
}

// An attack is a node that serve makes.
type attack struct {
	serve func(net.Conn)
	says  string // what the error contains
}

const shortTime = 200 * time.Millisecond

// strike has a real Contextualizer with these limits log in to the attacker in all
// ways that there are.
func (a attack) strike(t *testing.T, connect, command time.Duration) {
	node := a.listen(t)
	file, _ := keyFile(t, "")
	var calls sync.WaitGroup
	for name, call := range map[string]func(*ssh.Contextualizer) error{
		"Contextualize":   func(c *ssh.Contextualizer) error { return c.Contextualize(t.Context(), node, "ssh-ed25519 AAAA") },
		"Decontextualize": func(c *ssh.Contextualizer) error { return c.Decontextualize(t.Context(), node) },
		"Inspect": func(c *ssh.Contextualizer) error {
			_, err := c.Inspect(t.Context(), node)
			return err
		},
	} {
		c := open(t, ssh.Config{KeyFiles: []string{file}, ConnectTimeout: connect, CommandTimeout: command})
		calls.Go(func() {
			var traffic ssh.Traffic
			c.Watch(&traffic)
			err := call(c)
			if assert.Error(t, err, name) {
				assert.ErrorContains(t, err, a.says)
				assert.NotContains(t, err.Error(), "AAAA", "the key")
				assert.Less(t, len(err.Error()), 4000)
			}
			assert.LessOrEqual(t, traffic.Read.Load(), int64(ssh.ReadLimit), name)
			assert.Equal(t, traffic.Opened.Load(), traffic.Closed.Load(), "connections that stay open after %s", name)
		})
	}
	calls.Wait()
}

// listen starts the attacker.
func (a attack) listen(t *testing.T) backend.Node {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				a.serve(conn)
			}()
		}
	}()
	return at("127.0.0.1", "ssh_port", listener.Addr().(*net.TCPAddr).Port)
}

const (
	noAnswer = "no answer within 200ms"
	tooSlow  = "it takes longer than 200ms"
	tooMuch  = "more than" // that it prints or that it sends, whichever is noticed first
	unproven = "did not run to its end"
)

func attacks() map[string]attack {
	version := []byte("SSH-2.0-attacker\r\n")
	cleartext := func(kind byte) []byte { // a packet without encryption, of 16 bytes
		return append([]byte{0, 0, 0, 12, 4, kind, 0, 0, 0, 0}, make([]byte, 6)...)
	}
	then := func(do func(net.Conn)) func(net.Conn) {
		return func(conn net.Conn) {
			_, _ = conn.Write(version)
			do(conn)
		}
	}
	raw := map[string]attack{
		"no version":               {hang, noAnswer},
		"version by the byte":      {func(conn net.Conn) { dribble(conn) }, noAnswer},
		"version without end":      {func(conn net.Conn) { flood(conn, []byte("SSH-2.0-")) }, ""},
		"lines before the version": {func(conn net.Conn) { flood(conn, []byte("welcome\r\n")) }, ""},
		"long lines before it":     {func(conn net.Conn) { flood(conn, []byte(strings.Repeat("w", 250)+"\r\n")) }, ""},
		"empty lines before it":    {func(conn net.Conn) { flood(conn, []byte("\n")) }, ""},
		"no key exchange":          {then(hang), noAnswer},
		"key exchange by the byte": {then(func(conn net.Conn) {
			_, _ = conn.Write([]byte{0, 0, 0x20, 0})
			dribble(conn)
		}), noAnswer},
		"huge packet": {then(func(conn net.Conn) { flood(conn, []byte{0xff, 0xff, 0xff, 0xff}) }), ""},
		"large packet": {then(func(conn net.Conn) {
			_, _ = conn.Write(binary.BigEndian.AppendUint32(nil, 250_000))
			flood(conn, make([]byte, 1000))
		}), tooMuch},
		"ignore before keys":     {then(func(conn net.Conn) { flood(conn, cleartext(2)) }), ""},
		"debug before keys":      {then(func(conn net.Conn) { flood(conn, cleartext(4)) }), ""},
		"disconnect":             {then(func(conn net.Conn) { flood(conn, cleartext(1)) }), ""},
		"unimplemented for ever": {then(func(conn net.Conn) { flood(conn, cleartext(3)) }), ""},
	}
	server := func(change func(*gossh.ServerConfig), do func(*machine), says string) attack {
		return attack{func(conn net.Conn) {
			serveSSH(conn, func(config *gossh.ServerConfig) func(*gossh.ServerConn, <-chan gossh.NewChannel, <-chan *gossh.Request) {
				change(config)
				return loggedIn(do)(config)
			})
		}, says}
	}
	raw["rekeys for ever"] = server(func(c *gossh.ServerConfig) { c.RekeyThreshold = 256 }, func(m *machine) { forEver(func() error { return m.global(true) }) }, "it exchanges keys more than 3 times")
	raw["huge banner"] = server(func(c *gossh.ServerConfig) {
		c.BannerCallback = func(gossh.ConnMetadata) string { return strings.Repeat("b", 250_000) }
	}, honest, tooMuch)
	raw["authentication hangs"] = server(func(c *gossh.ServerConfig) {
		c.PublicKeyCallback = func(gossh.ConnMetadata, gossh.PublicKey) (*gossh.Permissions, error) {
			select {}
		}
	}, honest, noAnswer)
	raw["never enough keys"] = server(func(c *gossh.ServerConfig) {
		c.MaxAuthTries = -1
		more := &gossh.PartialSuccessError{}
		more.Next.PublicKeyCallback = func(gossh.ConnMetadata, gossh.PublicKey) (*gossh.Permissions, error) { return nil, more }
		c.PublicKeyCallback = more.Next.PublicKeyCallback
	}, honest, "none of the keys is accepted")
	raw["refused with a banner"] = server(func(c *gossh.ServerConfig) {
		c.PublicKeyCallback = func(gossh.ConnMetadata, gossh.PublicKey) (*gossh.Permissions, error) {
			return nil, &gossh.BannerError{Err: errors.New("no"), Message: strings.Repeat("b", 200_000)}
		}
	}, honest, "")

	for name, a := range map[string]struct {
		do   func(*machine)
		says string
	}{
		"no channel":             {func(m *machine) { <-m.gone }, tooSlow},
		"channels refused":       {func(m *machine) { (<-m.channels).Reject(gossh.Prohibited, strings.Repeat("p", 100_000)) }, "administratively prohibited"},
		"command not answered":   {func(m *machine) { m.accept(); <-m.gone }, tooSlow},
		"command refused":        {func(m *machine) { m.accept(); m.answer(false) }, "failed"},
		"no exit status":         {func(m *machine) { m.command(); m.session.Close() }, "without exit status"},
		"nothing happens":        {func(m *machine) { m.command(); <-m.gone }, tooSlow},
		"nothing was done":       {func(m *machine) { m.command(); m.exit() }, unproven},
		"repeats its input":      {func(m *machine) { m.command(); m.runs("cat") }, unproven},
		"repeats its input, -v":  {func(m *machine) { m.command(); m.runs("cat; cat >&2; echo ends") }, unproven},
		"stops half-way":         {func(m *machine) { m.command(); m.runs("head -c 3000 | sh") }, unproven},
		"output without end":     {func(m *machine) { m.command(); flood(m.session, []byte("yes\n")) }, tooMuch},
		"errors without end":     {func(m *machine) { m.command(); flood(m.session.Stderr(), []byte("no\n")) }, tooMuch},
		"output by the byte":     {func(m *machine) { m.command(); dribble(m.session) }, tooSlow},
		"never closes":           {func(m *machine) { m.command(); m.status(); <-m.gone }, tooSlow},
		"many exit statuses":     {func(m *machine) { m.command(); forEver(func() error { return m.status() }) }, tooMuch},
		"keepalives":             {keepalives, tooMuch},
		"keepalives, to answer":  {func(m *machine) { forEver(func() error { return m.global(true) }) }, tooMuch},
		"requests on a channel":  {func(m *machine) { m.command(); forEver(func() error { return m.request(false) }) }, tooMuch},
		"requests, to answer":    {func(m *machine) { m.command(); forEver(func() error { return m.request(true) }) }, tooMuch},
		"opens channels":         {func(m *machine) { m.opens("forwarded-tcpip") }, tooMuch},
		"uses the agent":         {func(m *machine) { m.opens("auth-agent@openssh.com") }, tooMuch},
		"opens displays":         {func(m *machine) { m.opens("x11") }, tooMuch},
		"opens sessions with us": {func(m *machine) { m.opens("session") }, tooMuch},
	} {
		raw[name] = attack{func(conn net.Conn) { serveSSH(conn, loggedIn(a.do)) }, a.says}
	}
	return raw
}

var _ backend.Inspector = (*ssh.Contextualizer)(nil)
