package dbtest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/testserver"
)

// bounce runs PgBouncer in the directory $0 until standard input ends.
const bounce = `
PATH=$PATH:/usr/sbin:/sbin
pgbouncer "$0/pgbouncer.ini" &
read -r _
kill -TERM $!; wait $!
rm -rf "$0"
`

// PgBouncer returns the URL of the same database through a PgBouncer that runs until
// the test ends. It has three connections, and gives each transaction another one.
// Without PgBouncer the test is skipped, or fails if CI is set.
func (s *Server) PgBouncer(t testing.TB) string {
	t.Helper()
	if exec.Command("/bin/sh", "-c", "PATH=$PATH:/usr/sbin:/sbin; command -v pgbouncer").Run() != nil {
		unavailable(t, fmt.Errorf("PgBouncer is missing too (Debian: apt-get install pgbouncer)"))
	}
	dir, err := os.MkdirTemp("/tmp", "duffy-pgb-")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "pgbouncer.ini"), fmt.Appendf(nil, `
[databases]
* = host=%s user=postgres
[pgbouncer]
unix_socket_dir = %s
listen_port = 6432
auth_type = any
pool_mode = transaction
default_pool_size = 3
server_round_robin = 1
max_client_conn = 200
`, s.dir, dir), 0o644))
	if s.account != nil {
		require.NoError(t, os.Chown(dir, int(s.account.Uid), int(s.account.Gid)))
	}
	bounced := "postgresql://postgres@/postgres?sslmode=disable&port=6432&host=" + url.QueryEscape(dir)
	stop, err := testserver.Server{
		Dir: dir, Script: bounce, Account: s.account,
		Ready: func(ctx context.Context) error {
			d, err := db.Open(ctx, bounced, db.Config{})
			if err != nil {
				return err
			}
			return d.Close()
		},
	}.Start()
	require.NoError(t, err)
	t.Cleanup(stop)
	return bounced
}
