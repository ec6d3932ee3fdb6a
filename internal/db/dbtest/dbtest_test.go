package dbtest_test

import (
	"bufio"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
)

func TestEach(t *testing.T) {
	var kinds []bool
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		kinds = append(kinds, d.Postgres())
		require.NoError(t, db.Current(t.Context(), d))
		_, err := d.ExecContext(t.Context(), "INSERT INTO pools (name) VALUES ('p')")
		require.NoError(t, err, "every database is a new one")
	})
	require.Equal(t, []bool{true, false}, kinds)
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		_, err := d.ExecContext(t.Context(), "INSERT INTO pools (name) VALUES ('p')")
		require.NoError(t, err, "every database is a new one")
	})
}

func TestPostgresURL(t *testing.T) {
	d, err := db.Open(t.Context(), dbtest.PostgresURL(t), db.Config{})
	require.NoError(t, err)
	defer d.Close()
	tables, err := db.HasTables(t.Context(), d)
	require.NoError(t, err)
	require.Empty(t, tables)
}

func TestPostgresDurable(t *testing.T) {
	if os.Getenv("DUFFY_TEST_POSTGRES_URL") != "" {
		t.Skip("the server is not ours")
	}
	d := dbtest.PostgresDurable(t)
	var fsync, synchronous string
	require.NoError(t, d.QueryRowContext(t.Context(),
		"SELECT current_setting('fsync'), current_setting('synchronous_commit')").Scan(&fsync, &synchronous))
	require.Equal(t, "on", fsync)
	require.Equal(t, "on", synchronous)
	require.NoError(t, db.Current(t.Context(), d))
}

const ending = "DUFFY_TEST_ENDING"

func TestServerEndsWithTestBinary(t *testing.T) {
	if how := os.Getenv(ending); how != "" {
		end(t, how)
		return
	}
	if os.Getenv("DUFFY_TEST_POSTGRES_URL") != "" {
		t.Skip("the server is not ours")
	}
	dbtest.PostgresURL(t) // or skip
	for _, how := range []string{"return", "panic", "kill"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0], "-test.run=^TestServerEndsWithTestBinary$")
			cmd.Env = append(os.Environ(), ending+"="+how)
			out, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			var dir string
			for lines := bufio.NewScanner(out); dir == "" && lines.Scan(); {
				if strings.HasPrefix(lines.Text(), "/") {
					dir = lines.Text()
				}
			}
			require.DirExists(t, dir)
			pid, err := os.ReadFile(dir + "/data/postmaster.pid")
			require.NoError(t, err)
			postmaster, _, _ := strings.Cut(string(pid), "\n")
			if how == "kill" {
				require.NoError(t, cmd.Process.Kill())
			}
			_ = cmd.Wait()
			require.Eventually(t, func() bool {
				_, err := os.Stat(dir)
				_, err2 := os.Stat("/proc/" + postmaster)
				return os.IsNotExist(err) && os.IsNotExist(err2)
			}, time.Minute, 20*time.Millisecond, "the server and its directory are gone")
		})
	}
}

// end starts a server, prints its directory, and has the test binary end.
func end(t *testing.T, how string) {
	u, err := url.Parse(dbtest.PostgresURL(t))
	require.NoError(t, err)
	_, err = os.Stdout.WriteString("\n" + u.Query().Get("host") + "\n")
	require.NoError(t, err)
	switch how {
	case "panic":
		go func() { panic("not in the test's goroutine") }()
		select {}
	case "kill":
		select {}
	}
}

// What was committed is there after every kind of outage.
func TestServerComesBack(t *testing.T) {
	t.Parallel()
	s := dbtest.NewServer(t)
	d, err := db.Open(t.Context(), s.URL(), db.Config{})
	require.NoError(t, err)
	defer d.Close()
	_, err = d.ExecContext(t.Context(), "CREATE TABLE t (n integer)")
	require.NoError(t, err)
	for i, end := range []func(testing.TB){s.Stop, s.Kill} {
		_, err = d.ExecContext(t.Context(), "INSERT INTO t VALUES (?)", i)
		require.NoError(t, err)
		end(t)
		require.Error(t, d.PingContext(t.Context()))
		s.Start(t)
		n, err := d.NewSelect().Table("t").Count(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, i+1, n)
	}
}
