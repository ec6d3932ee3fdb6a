// Package redistest gives tests Redis servers and databases of their own. The
// servers end with the test binary, however that ends.
package redistest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/internal/testserver"
)

// databases is how many each server has.
const databases = 10_000

// URL returns the URL of an empty database on a server that tests share. Without
// redis-server the test is skipped, or fails if CI is set.
func URL(t testing.TB) string {
	t.Helper()
	s, err := shared()
	if err != nil {
		unavailable(t, err)
	}
	n := used.Add(1)
	require.Less(t, n, int32(databases))
	return fmt.Sprintf("%s?db=%d", s.URL(), n)
}

var (
	used   atomic.Int32
	shared = sync.OnceValues(func() (*Server, error) {
		s, err := newServer("port 0")
		if err != nil {
			return nil, err
		}
		return s, s.start()
	})
)

// A Server is a Redis server that a test can start and stop. It keeps nothing
// when it stops.
type Server struct {
	program, dir string
	config       string // beside its socket
	stop         func()
}

// New returns a server for one test, not started yet. Without redis-server the
// test is skipped, or fails if CI is set.
func New(t testing.TB) *Server {
	t.Helper()
	return newFor(t, "port 0")
}

// newFor returns a server for one test with lines of configuration.
func newFor(t testing.TB, config ...string) *Server {
	t.Helper()
	s, err := newServer(config...)
	if err != nil {
		unavailable(t, err)
	}
	t.Cleanup(s.Stop)
	return s
}

func newServer(config ...string) (*Server, error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, err
	}
	// $TMPDIR may be too long: the path of a socket has at most 107 bytes.
	dir, err := os.MkdirTemp("/tmp", "duffy-redis-")
	return &Server{program: program, dir: dir, config: strings.Join(config, "\n")}, err
}

// unavailable ends a test that can't have Redis.
func unavailable(t testing.TB, err error) {
	t.Helper()
	message := fmt.Sprintf("no Redis (Debian: apt-get install redis-server): %v", err)
	if os.Getenv("CI") != "" {
		t.Fatal(message)
	}
	t.Skip(message)
}

// Start starts the server, empty, where it was before if it was stopped.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	require.NoError(t, s.start())
}

// watch runs a server in the directory $0 until standard input ends.
const watch = `
"$@" &
read -r _
kill -KILL $!; wait $!
rm -rf "$0"
`

func (s *Server) start() (err error) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	config := fmt.Sprintf("unixsocket %s\n%s\n", s.socket(), s.config)
	args := []string{s.program, s.configFile()}
	if strings.Contains(s.config, "sentinel ") {
		args = append(args, "--sentinel")
	} else {
		config += fmt.Sprintf("save \"\"\nappendonly no\ndatabases %d\n", databases)
	}
	if err := os.WriteFile(s.configFile(), []byte(config), 0o600); err != nil {
		return err
	}
	s.stop, err = testserver.Server{
		Dir: s.dir, Script: watch, Args: args,
		Ready: func(ctx context.Context) error { return s.do(ctx, "PING") },
	}.Start()
	if err != nil {
		return fmt.Errorf("start Redis: %w", err)
	}
	return nil
}

func (s *Server) configFile() string { return filepath.Join(s.dir, "redis.conf") }

// Stop kills the server, with all that it has, if it runs.
func (s *Server) Stop() {
	if s.stop != nil {
		s.stop()
	}
	s.stop = nil
	_ = os.RemoveAll(s.dir)
}

func (s *Server) socket() string { return filepath.Join(s.dir, "socket") }

// URL returns the URL of the first database.
func (s *Server) URL() string { return "redis-socket://" + s.socket() }

// Do has the server run a command without an answer but that it worked.
func (s *Server) Do(t testing.TB, command string) {
	t.Helper()
	require.NoError(t, s.do(t.Context(), command))
}

func (s *Server) do(ctx context.Context, command string) error {
	_, err := s.ask(ctx, command)
	return err
}

// ask has the server run a command whose answer is no list.
func (s *Server) ask(ctx context.Context, command string) (answer string, err error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", s.socket())
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return "", err
	}
	if _, err := conn.Write([]byte(command + "\r\n")); err != nil {
		return "", err
	}
	r := bufio.NewReader(conn)
	line, err := r.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimSpace(line)
	switch line[0] {
	case '+':
		return line[1:], nil
	case '$':
		length, err := strconv.Atoi(line[1:])
		if err != nil {
			return "", err
		}
		text := make([]byte, length)
		_, err = io.ReadFull(r, text)
		return string(text), err
	}
	return "", errors.New(line)
}
