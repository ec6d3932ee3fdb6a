// Package db opens Duffy's database, PostgreSQL or SQLite, and keeps its schema.
//
// The schema is the one of Duffy 3 plus additions that Duffy 3 does not mind:
// nullable or defaulted columns, indexes and tables. A PostgreSQL database of
// Duffy 3 is taken over in place by [Upgrade], and Duffy 3 still runs on it
// afterwards.
package db

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect"
)

// DefaultMaxConns is how many connections to PostgreSQL are opened at most.
const DefaultMaxConns = 20

// pingTimeout limits how long Open waits for the database to answer.
const pingTimeout = 15 * time.Second

// A program goes on working on a schema to which a newer one has added columns.
var bunOptions = []bun.DBOption{bun.WithDiscardUnknownColumns()}

// A DB is an open database. It is safe for concurrent use.
type DB struct {
	*bun.DB

	// Clock tells the time that everybody on this database compares.
	Clock *Clock

	// Pool holds the connections that the bun.DB works on. It is nil on SQLite.
	Pool *pgxpool.Pool

	// anchor keeps an in-memory SQLite database alive, which ends with the last
	// connection to it.
	anchor *sql.Conn

	listen bool // a connection may be kept for notifications

	writing sync.Mutex
	wrote   time.Time // when CanWrite last did
}

// A Config says how to open a database. The zero value is ready to use.
type Config struct {
	// MaxConns limits the connections to PostgreSQL; 0 means DefaultMaxConns.
	// pool_max_conns in the URL wins over it. SQLite always has a few.
	MaxConns int

	// Logger is told which options of the URL have no meaning here, and when the clock of
	// this machine is wrong; nil discards.
	Logger *slog.Logger

	// Now replaces the clock of this machine, which is the one of an SQLite database.
	// PostgreSQL has one of its own, see [Clock].
	Now func() time.Time
}

// Open opens the database at url, which is written as SQLAlchemy wants it, so
// that the URLs in Duffy 3's configuration work unchanged:
//
//	postgresql://user:password@host:5432/duffy
//	postgresql+asyncpg:///duffy?host=/run/postgresql
//	sqlite:///relative.db
//	sqlite:////absolute.db
//	sqlite://
//
// The driver after the plus sign and options that only it understands have no
// meaning here. The last form is a database in memory that ends with Close.
//
// PostgreSQL has to answer within seconds, and the directory of an SQLite file
// has to exist; the file itself is created. Errors never contain the password.
func Open(ctx context.Context, url string, cfg Config) (*DB, error) {
	loc, err := parseURL(url)
	if err != nil {
		return nil, fmt.Errorf("database URL: %w", err)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	if loc.dialect == "sqlite" {
		return openSQLite(ctx, loc, cfg)
	}
	return openPostgres(ctx, loc, cfg)
}

// Postgres tells whether the database is PostgreSQL; if not, it is SQLite.
func (d *DB) Postgres() bool { return d.Dialect().Name() == dialect.PG }

// MaxConns returns how many connections there are at most.
func (d *DB) MaxConns() int {
	if d.Pool == nil {
		return sqliteConns
	}
	return int(d.Pool.Config().MaxConns)
}

// MayListen tells whether a connection more than MaxConns may be kept to listen on, by
// LISTEN. Behind a pooler such as PgBouncer there would be no notifications, and where
// there are few connections each is needed.
func (d *DB) MayListen() bool { return d.listen }

// Close closes all connections. It waits for those in use to be given back.
func (d *DB) Close() error {
	if d.anchor != nil {
		_ = d.anchor.Close()
	}
	err := d.DB.Close()
	if d.Pool != nil {
		d.Pool.Close()
	}
	return err
}
