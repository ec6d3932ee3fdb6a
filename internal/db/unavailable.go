package db

import (
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Unavailable tells whether err says that the database is out of reach, starting,
// stopping, busy, full or read-only, so that the same may succeed later. A wrong
// password or a database that does not exist is nothing of that kind.
func Unavailable(err error) bool {
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) {
		return !misconfigured(pg) && slices.ContainsFunc(pgUnavailable, func(code string) bool {
			return strings.HasPrefix(pg.Code, code)
		})
	}
	if lite := (*sqlite.Error)(nil); errors.As(err, &lite) {
		return slices.Contains(sqliteUnavailable, lite.Code()&0xff)
	}
	for _, lost := range []error{
		driver.ErrBadConn, io.ErrUnexpectedEOF, net.ErrClosed,
		pgconn.ErrConnClosed, pgconn.ErrReadOnlyConnection, pgconn.ErrStandbyConnection,
	} {
		if errors.Is(err, lost) {
			return true
		}
	}
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		return op.Op != "remote error" // by which TLS means that it was refused
	}
	var dns *net.DNSError // of a host that may only come to have a name when it starts
	var connect *pgconn.ConnectError
	return errors.As(err, &dns) || errors.As(err, &connect) && pgconn.Timeout(err)
}

const (
	pgReadOnly           = "25006"
	pgTooManyConnections = "53300"
)

// pgUnavailable are the codes of PostgreSQL, or what codes begin with, for what passes.
var pgUnavailable = []string{
	"08",       // the connection broke
	pgReadOnly, // a standby, which is to become the primary, or a primary whose disk is nearly full
	"25P03",    // idle_in_transaction_session_timeout: we were cut off from it, or stopped
	"40001",    // serialization_failure, also of what a standby replays
	"40P01",    // deadlock_detected
	"53",       // too many connections, disk or memory full
	"55P03",    // lock_not_available: somebody, an operator perhaps, has locked what this needs
	"57014",    // query_canceled: by a statement_timeout of the server, or by an operator
	"57P01",    // admin_shutdown
	"57P02",    // crash_shutdown
	"57P03",    // cannot_connect_now: it is starting or stopping
	"57P05",    // idle_session_timeout
	"58030",    // io_error
}

// sqliteUnavailable are the primary codes of SQLite for what passes.
var sqliteUnavailable = []int{
	sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY,
}

// misconfigured tells whether PgBouncer refuses an option of the URL, by the same code
// by which it says that PostgreSQL is away.
func misconfigured(err *pgconn.PgError) bool {
	return strings.HasPrefix(err.Message, "unsupported startup parameter")
}
