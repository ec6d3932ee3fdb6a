package dbtest

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/internal/db"
)

// Standby returns a server that follows s, which has to run, and that can be read.
func (s *Server) Standby(t testing.TB) *Server {
	t.Helper()
	standby := newStopped(t)
	backup, err := find("pg_basebackup")
	require.NoError(t, err)
	cmd := exec.Command(backup, "-h", s.dir, "-U", "postgres", "-D", standby.data(), "-R", "-c", "fast")
	cmd.Dir = standby.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.account}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	standby.Start(t)
	return standby
}

// Follow starts s, which was stopped before other was promoted, as a standby of that.
func (s *Server) Follow(t testing.TB, other *Server) {
	t.Helper()
	conf := filepath.Join(s.data(), "postgresql.auto.conf")
	text, err := os.ReadFile(conf)
	require.NoError(t, err)
	text = fmt.Appendf(text, "primary_conninfo = 'user=postgres host=%s'\n", other.dir)
	require.NoError(t, os.WriteFile(conf, text, 0o600))
	signal, err := os.Create(filepath.Join(s.data(), "standby.signal"))
	require.NoError(t, err)
	require.NoError(t, signal.Close())
	s.Start(t)
}

// Promote makes a standby the primary, once it has everything that the primary has
// written until now, unless that is gone.
func (s *Server) Promote(t testing.TB, primary *Server) {
	t.Helper()
	if primary.end != nil {
		var written string
		primary.ask(t, &written, "SELECT pg_current_wal_lsn()")
		require.Eventually(t, func() bool {
			var has bool
			s.ask(t, &has, "SELECT pg_last_wal_replay_lsn() >= ?", written)
			return has
		}, time.Minute, 10*time.Millisecond, "the standby does not follow")
	}
	var promoted bool
	s.ask(t, &promoted, "SELECT pg_promote()")
	require.True(t, promoted)
}

// SetReadOnly has the server refuse writes, or take them again, on connections that
// there are too.
func (s *Server) SetReadOnly(t testing.TB, readOnly bool) {
	t.Helper()
	admin := s.admin(t)
	defer admin.Close()
	for _, statement := range []string{
		fmt.Sprintf("ALTER SYSTEM SET default_transaction_read_only = %v", readOnly), "SELECT pg_reload_conf()",
	} {
		_, err := admin.ExecContext(t.Context(), statement)
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool {
		var now bool
		s.ask(t, &now, "SELECT current_setting('default_transaction_read_only')::bool")
		return now == readOnly
	}, time.Minute, 10*time.Millisecond)
}

// URLWith is URL with another server after this one.
func (s *Server) URLWith(other *Server) string {
	return s.url() + "&host=" + url.QueryEscape(other.dir)
}

func (s *Server) ask(t testing.TB, answer any, query string, args ...any) {
	t.Helper()
	admin := s.admin(t)
	defer admin.Close()
	require.NoError(t, admin.NewRaw(query, args...).Scan(t.Context(), answer))
}

func (s *Server) admin(t testing.TB) *db.DB {
	t.Helper()
	admin, err := db.Open(t.Context(), s.url(), db.Config{MaxConns: 1})
	require.NoError(t, err)
	return admin
}
