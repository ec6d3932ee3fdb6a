package dbtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A Server is a PostgreSQL server of one test, which can have it go away and come
// back, with all that was committed, at the same URL. It is not for concurrent use.
type Server struct {
	home
	end func() // nil if it does not run
}

// NewServer returns a server that runs until the test ends, however that ends. Its
// disk is not waited for. Without PostgreSQL the test is skipped, or fails if CI is
// set.
func NewServer(t testing.TB) *Server {
	t.Helper()
	s := newStopped(t)
	s.Start(t)
	return s
}

func newStopped(t testing.TB) *Server {
	t.Helper()
	h, err := newHome()
	if err != nil {
		unavailable(t, err)
	}
	s := &Server{home: h}
	t.Cleanup(func() {
		if s.end != nil {
			s.end()
		}
		require.NoError(t, os.RemoveAll(s.dir))
	})
	return s
}

// URL returns the URL of a database that has nothing in it at first.
func (s *Server) URL() string { return s.url() }

// Start starts the server, unless it runs, and returns once it answers.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	if s.end != nil {
		return
	}
	require.NoError(t, os.RemoveAll(s.kept()))
	var err error
	s.end, err = s.start([]string{"-c", "fsync=off"})
	require.NoError(t, err)
}

// Stop has the server end as a restart of its service does: connections are
// closed, and what runs on them is rolled back.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	s.leave(t, func(postmaster int) {
		require.NoError(t, syscall.Kill(postmaster, syscall.SIGINT))
		require.Eventually(t, func() bool {
			_, err := os.Stat(s.pidFile())
			return os.IsNotExist(err)
		}, time.Minute, 10*time.Millisecond, "PostgreSQL does not end")
	})
}

// Kill ends all processes of the server at once. The next start recovers what was
// committed.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	s.leave(t, func(postmaster int) {
		children := childrenOf(t, postmaster)
		require.NoError(t, syscall.Kill(postmaster, syscall.SIGKILL))
		for _, child := range children {
			_ = syscall.Kill(child, syscall.SIGKILL) // which may have ended
			require.Eventually(t, func() bool {
				_, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", child))
				return err != nil
			}, time.Minute, 10*time.Millisecond, "PostgreSQL starts only once its memory is given back")
		}
	})
}

// Pause has the server, which runs, stand still: it takes connections and does not
// answer, until Resume.
func (s *Server) Pause(t testing.TB) { s.signal(t, syscall.SIGSTOP) }

// Resume has the server go on.
func (s *Server) Resume(t testing.TB) { s.signal(t, syscall.SIGCONT) }

func (s *Server) signal(t testing.TB, signal syscall.Signal) {
	t.Helper()
	postmaster := s.postmaster(t)
	require.NoError(t, syscall.Kill(postmaster, signal))
	for _, child := range childrenOf(t, postmaster) {
		_ = syscall.Kill(child, signal) // which may have ended
	}
}

// leave has the server, if it runs, end in some way, and keeps what it has.
func (s *Server) leave(t testing.TB, end func(postmaster int)) {
	t.Helper()
	if s.end == nil {
		return
	}
	require.NoError(t, os.WriteFile(s.kept(), nil, 0o600))
	end(s.postmaster(t))
	s.end()
	s.end = nil
}

func (s *Server) postmaster(t testing.TB) int {
	t.Helper()
	lines, err := os.ReadFile(s.pidFile())
	require.NoError(t, err)
	first, _, _ := strings.Cut(string(lines), "\n")
	pid, err := strconv.Atoi(first)
	require.NoError(t, err)
	return pid
}

func childrenOf(t testing.TB, pid int) (children []int) {
	t.Helper()
	list, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pid))
	require.NoError(t, err)
	for _, field := range strings.Fields(string(list)) {
		child, err := strconv.Atoi(field)
		require.NoError(t, err)
		children = append(children, child)
	}
	return children
}

func (s *Server) pidFile() string { return filepath.Join(s.data(), "postmaster.pid") }
