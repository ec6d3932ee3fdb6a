package db

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/sqlitedialect"
	"modernc.org/sqlite" // registers the driver "sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// sqliteConns is enough for reads beside the one write that SQLite allows. With
// one, using the database inside an open transaction would wait for ever.
const sqliteConns = 4

// sqliteOptions make writers wait for each other instead of failing: a
// transaction that begins as a reader cannot become a writer once another has
// written, so all begin as writers.
const sqliteOptions = "_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)" +
	"&_pragma=foreign_keys(1)&_txlock=immediate"

func (l location) inMemory() bool { return l.database == "" || l.database == ":memory:" }

func openSQLite(ctx context.Context, loc location, cfg Config) (*DB, error) {
	for name := range loc.options {
		cfg.Logger.Info("option of the database URL has no meaning here", "option", name)
	}
	path := loc.database
	dsn := "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + sqliteOptions
	if loc.inMemory() {
		dsn = "file:/" + rand.Text() + "?vfs=memdb&" + sqliteOptions
	} else if _, err := os.Stat(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("open SQLite database %s: its directory must exist: %w", path, err)
	} else if err := makePrivate(path); err != nil {
		return nil, fmt.Errorf("make SQLite database %s: %w", path, err)
	}

	pool, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, fmt.Errorf("open SQLite database %s: %w", path, err)
	}
	pool.SetMaxOpenConns(sqliteConns)
	pool.SetMaxIdleConns(sqliteConns)
	d := &DB{DB: bun.NewDB(pool, sqlitedialect.New(), bunOptions...), Clock: NewClock(nil, cfg.Now, cfg.Logger)}
	if loc.inMemory() {
		pool.SetMaxOpenConns(sqliteConns + 1)
		if d.anchor, err = pool.Conn(ctx); err == nil {
			return d, nil
		}
	} else if err = pool.PingContext(ctx); err == nil {
		return d, nil
	}
	_ = pool.Close()
	if lite := (*sqlite.Error)(nil); errors.As(err, &lite) && lite.Code()&0xff == sqlite3.SQLITE_READONLY {
		// Who starts with that has more likely made a mistake than met an outage.
		return nil, fmt.Errorf("open SQLite database %s: this user must be able to write the file and its directory: %v", path, err)
	}
	return nil, fmt.Errorf("open SQLite database %s: %w", path, err)
}

// makePrivate makes a file that only its owner can read and write, whatever the
// umask says. One that is there already stays as it is, and is not even opened:
// closing it would take away the locks that this process has on it. SQLite gives
// the files beside it the same mode.
func makePrivate(path string) error {
	for range 40 { // as many links as the system itself follows
		file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err == nil {
			return file.Close()
		}
		target, linkErr := os.Readlink(path)
		switch {
		case !errors.Is(err, fs.ErrExist):
			return err
		case linkErr != nil:
			return nil
		case !filepath.IsAbs(target):
			target = filepath.Join(filepath.Dir(path), target)
		}
		path = target
	}
	return errors.New("too many links")
}

// Files returns the files of an SQLite database, whether they exist or not: nil if
// there are none, or none that url tells.
func Files(url string) []string {
	loc, err := parseURL(url)
	if err != nil || loc.dialect != "sqlite" || loc.inMemory() {
		return nil
	}
	return []string{loc.database, loc.database + "-wal", loc.database + "-shm"}
}
