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
	s := &server{url: sync.OnceValues(func() (string, error) {
		h, err := newHome()
		if err != nil {
			return "", err
		}
		_, err = h.start(options)
		return h.url(), err
	})}
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

// A home is where a PostgreSQL server works, and what it takes to run it.
type home struct {
	dir              string
	initdb, postgres string
	account          *syscall.Credential
}

func newHome() (h home, err error) {
	var err1, err2, err3 error
	h.initdb, err1 = find("initdb")
	h.postgres, err2 = find("postgres")
	h.account, err3 = unprivileged()
	if err := errors.Join(err1, err2, err3); err != nil {
		return home{}, err
	}
	// $TMPDIR may be too long: the path of a socket has at most 107 bytes.
	if h.dir, err = os.MkdirTemp("/tmp", "duffy-pg-"); err != nil {
		return home{}, err
	}
	if h.account != nil {
		err = os.Chown(h.dir, int(h.account.Uid), int(h.account.Gid))
	}
	return h, err
}

// url returns the URL of a database that every server has.
func (h home) url() string {
	return "postgresql://postgres@/postgres?sslmode=disable&host=" + url.QueryEscape(h.dir)
}

// data is the directory with the databases.
func (h home) data() string { return filepath.Join(h.dir, "data") }

// kept is a file in whose presence the home outlives the server.
func (h home) kept() string { return filepath.Join(h.dir, "kept") }

// watch runs a server in the directory $0 until standard input ends, which it
// does with the test binary, however that ends. Two signals, because a shell
// has the programs in its background ignore SIGQUIT until they want it.
const watch = `
initdb=$1; shift
test -d "$0/data" || "$initdb" -D "$0/data" -U postgres -A trust -N -E UTF8 --locale=C </dev/null || { rm -rf "$0"; exit 1; }
"$@" &
read -r _
kill -TERM $!; kill -QUIT $!; wait $!
test -e "$0/kept" || rm -rf "$0"
`

// start starts the server, and returns what ends it.
func (h home) start(options []string) (stop func(), err error) {
	stop, err = testserver.Server{
		Dir: h.dir, Script: watch, Account: h.account,
		Args: slices.Concat([]string{
			h.initdb, h.postgres, "-D", h.data(), "-k", h.dir, "-c", "listen_addresses=", "-c", "max_connections=500",
		}, options),
		Ready: func(ctx context.Context) error {
			d, err := db.Open(ctx, h.url(), db.Config{})
			if err != nil {
				return err
			}
			return d.Close()
		},
	}.Start()
	if err != nil {
		return nil, fmt.Errorf("start PostgreSQL: %w", err)
	}
	return stop, nil
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
