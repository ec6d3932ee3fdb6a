package db

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// openPool opens a pool all of whose connections are given up as soon as one of them
// turns out to be read-only: after a failover the others are likely to lead to the same
// server, which is a standby now. New ones find the primary.
func openPool(ctx context.Context, pc *pgxpool.Config) (*pgxpool.Pool, error) {
	var opened atomic.Pointer[pgxpool.Pool]
	onError := pc.ConnConfig.OnPgError
	pc.ConnConfig.OnPgError = func(conn *pgconn.PgConn, err *pgconn.PgError) (keep bool) {
		if err.Code != pgReadOnly {
			return onError(conn, err)
		}
		if pool := opened.Load(); pool != nil {
			pool.Reset()
		}
		return false
	}
	pc.AfterConnect = prepareConn
	pc.PrepareConn = validAgain(pc.ConnConfig.ValidateConnect)
	pool, err := pgxpool.NewWithConfig(ctx, pc)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	opened.Store(pool)
	if err := firstPing(ctx, pool); err != nil {
		pool.Close()
		return nil, unanswered(err)
	}
	return pool, nil
}

// validFor is how long a connection stands for what it was found to be.
const validFor = 10 * time.Second

// validAgain has a connection looked at before it is used as it was when it was made, if
// that is a while ago, and given up if the server is not of the wanted kind any more.
// Who only reads would go on to read from a server that is left behind.
func validAgain(validate pgconn.ValidateConnectFunc) func(context.Context, *pgx.Conn) (bool, error) {
	if validate == nil {
		return nil
	}
	const key = "duffy: valid until"
	return func(ctx context.Context, conn *pgx.Conn) (keep bool, err error) {
		data := conn.PgConn().CustomData()
		until, known := data[key].(time.Time)
		switch {
		case known && time.Now().Before(until):
			return true, nil
		case known && validate(ctx, conn.PgConn()) != nil:
			return false, nil
		}
		data[key] = time.Now().Add(validFor)
		return true, nil
	}
}

// firstPing waits for the server to notice that the connection which its terms were
// read on has ended, where it allows but one.
func firstPing(ctx context.Context, pool *pgxpool.Pool) (err error) {
	for range 20 {
		err = pool.Ping(ctx)
		if pg := (*pgconn.PgError)(nil); !errors.As(err, &pg) || pg.Code != pgTooManyConnections {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
	return err
}

func unanswered(err error) error {
	return fmt.Errorf("PostgreSQL does not answer, check that it runs and that the database URL is right: %w", err)
}

// silence is how long a server and a client wait for each other before they take
// each other for gone. It is less than a lease.
const silence = 20 * time.Second

// silenceSettings keep a client that is stopped, or cut off, from holding locks
// that everybody else waits for, and have nobody wait for ever for who else may hold
// one, such as an operator. Where the server's own are not the default, those
// count. They are not among the parameters of the connection's start, since
// PgBouncer refuses what it does not know there.
const silenceSettings = `SELECT set_config(name, value, false)
FROM (VALUES ('idle_in_transaction_session_timeout', '20s'), ('lock_timeout', '25s'), ('tcp_user_timeout', '20s'),
	('tcp_keepalives_idle', '10'), ('tcp_keepalives_interval', '5'), ('tcp_keepalives_count', '2')) AS ours (name, value)
JOIN pg_settings USING (name) WHERE source = 'default'`

// prepareConn makes a new connection ready for use.
func prepareConn(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, silenceSettings)
	if err == nil && conn.PgConn().ParameterStatus("server_encoding") == "SQL_ASCII" {
		// Such a database has text in any encoding, which must not be checked when it
		// is read: one name in Latin-1 would keep a whole list from being read.
		_, err = conn.Exec(ctx, "SET client_encoding TO 'SQL_ASCII'")
	}
	return err
}
