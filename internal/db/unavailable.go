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
// stopping or busy, so that the same may succeed later without anybody's doing. A
// wrong password or a database that does not exist is nothing of that kind.
func Unavailable(err error) bool {
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) {
		return strings.HasPrefix(pg.Code, "08") || slices.Contains(pgUnavailable, pg.Code)
	}
	if lite := (*sqlite.Error)(nil); errors.As(err, &lite) {
		return lite.Code()&0xff == sqlite3.SQLITE_BUSY
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

// pgUnavailable are the codes of PostgreSQL, beside those of broken connections,
// for what passes.
var pgUnavailable = []string{
	"25006", // read_only_sql_transaction: a standby, which is to become the primary
	"40P01", // deadlock_detected
	"55P03", // lock_not_available: somebody, an operator perhaps, has locked what this needs
	"57014", // query_canceled: by a statement_timeout of the server, or by an operator
	"25P03", // idle_in_transaction_session_timeout: we were cut off from it, or stopped
	"53300", // too_many_connections
	"57P01", // admin_shutdown
	"57P02", // crash_shutdown
	"57P03", // cannot_connect_now: it is starting or stopping
}
