package dbtest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/testserver"
)

// A server is a PostgreSQL server that is started when it is first used.
type server struct {
	url      func() (string, error) // of a database to connect to for a start
	template func() (string, error) // name of a database to copy that has Duffy's schema
}

var (
	fast    = newServer("-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")
	durable = newServer()
)

func newServer(options ...string) *server {
	if u := os.Getenv("DUFFY_TEST_POSTGRES_URL"); u != "" {
		// A template of ours would remain there, so that the empty one has to do.
		return &server{
			url:      func() (string, error) { return u, nil },
			template: func() (string, error) { return "template1", nil },
		}
	}
	s := &server{url: sync.OnceValues(func() (string, error) { return start(options) })}
	s.template = sync.OnceValues(s.makeTemplate)
	return s
}

func (s *server) makeTemplate() (string, error) {
	const name = "duffy_template"
	ctx := context.Background()
	url, err := s.url()
	if err != nil {
		return "", err
	}
	admin, err := db.Open(ctx, url, db.Config{})
	if err != nil {
		return "", err
	}
	defer admin.Close()
	if _, err := admin.ExecContext(ctx, "CREATE DATABASE "+name); err != nil {
		return "", err
	}
	d, err := db.Open(ctx, withDatabase(url, name), db.Config{})
	if err != nil {
		return "", err
	}
	_, _, err = db.Migrate(ctx, d)
	return name, errors.Join(err, d.Close())
}

// watch runs a server in the directory $0 until standard input ends, which it
// does with the test binary, however that ends. Two signals, because a shell
// has the programs in its background ignore SIGQUIT until they want it.
const watch = `
initdb=$1; shift
"$initdb" -D "$0/data" -U postgres -A trust -N -E UTF8 --locale=C </dev/null || { rm -rf "$0"; exit 1; }
"$@" &
read -r _
kill -TERM $!; kill -QUIT $!; wait $!
rm -rf "$0"
`

// start starts a server and returns the URL of one of its databases.
func start(options []string) (string, error) {
	initdb, err1 := find("initdb")
	postgres, err2 := find("postgres")
	account, err3 := unprivileged()
	if err := errors.Join(err1, err2, err3); err != nil {
		return "", err
	}
	// $TMPDIR may be too long: the path of a socket has at most 107 bytes.
	dir, err := os.MkdirTemp("/tmp", "duffy-pg-")
	if err != nil {
		return "", err
	}
	if account != nil {
		if err := os.Chown(dir, int(account.Uid), int(account.Gid)); err != nil {
			return "", err
		}
	}

	u := "postgresql://postgres@/postgres?sslmode=disable&host=" + url.QueryEscape(dir)
	_, err = testserver.Server{
		Dir: dir, Script: watch, Account: account,
		Args: slices.Concat([]string{
			initdb, postgres, "-D", filepath.Join(dir, "data"), "-k", dir, "-c", "listen_addresses=", "-c", "max_connections=500",
		}, options),
		Ready: func(ctx context.Context) error {
			d, err := db.Open(ctx, u, db.Config{})
			if err != nil {
				return err
			}
			return d.Close()
		},
	}.Start()
	if err != nil {
		return "", fmt.Errorf("start PostgreSQL: %w", err)
	}
	return u, nil
}

// find finds a program of PostgreSQL, which Debian keeps out of the PATH.
func find(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	paths, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if len(paths) == 0 {
		return "", fmt.Errorf("%s is neither in PATH nor in /usr/lib/postgresql/*/bin", name)
	}
	return slices.MaxFunc(paths, func(a, b string) int { return release(a) - release(b) }), nil
}

// release returns the 15 of /usr/lib/postgresql/15/bin/postgres.
func release(path string) int {
	n, _ := strconv.Atoi(strings.Split(path, "/")[4])
	return n
}

// unprivileged returns the account for the server, which refuses to run as root;
// nil if we are not root.
func unprivileged() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, err
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, errors.Join(err1, err2)
}
