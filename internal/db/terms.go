package db

import (
	"context"
	"log/slog"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// listenFrom is how many connections there must be at least for one more to be kept
// for notifications alone.
const listenFrom = 4

// terms are what a server of PostgreSQL grants its clients.
type terms struct {
	// pooler tells that a program such as PgBouncer is in between, which may run each
	// transaction on another connection.
	pooler bool

	connections int // at most, for this user and database
}

const selectTerms = `SELECT pg_backend_pid(), LEAST(
	current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,
	(SELECT NULLIF(rolconnlimit, -1) FROM pg_roles WHERE rolname = session_user AND NOT rolsuper),
	(SELECT NULLIF(datconnlimit, -1) FROM pg_database WHERE datname = current_database()))`

// readTerms connects to a server and reads its terms. A pooler gives connections
// numbers of its own, which PostgreSQL does not know.
func readTerms(ctx context.Context, cfg *pgx.ConnConfig) (t terms, err error) {
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return terms{}, unanswered(err)
	}
	defer conn.Close(ctx)
	var process uint32
	err = conn.QueryRow(ctx, selectTerms, pgx.QueryExecModeExec).Scan(&process, &t.connections)
	t.pooler = process != conn.PgConn().PID()
	return t, err
}

// apply has a pool keep to t. It reports whether one more connection may be used to
// listen on.
func (t terms) apply(pc *pgxpool.Config, log *slog.Logger) (listen bool) {
	if t.pooler {
		log.Info("a connection pooler such as PgBouncer is in front of PostgreSQL: " +
			"statements are not kept prepared, and workers look for jobs instead of being told")
		pc.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
		return false
	}
	wanted := int(pc.MaxConns)
	listen = min(wanted, t.connections-1) >= listenFrom
	if listen {
		pc.MaxConns = int32(min(wanted, t.connections-1))
	} else {
		pc.MaxConns = int32(min(wanted, t.connections))
	}
	if int(pc.MaxConns) < wanted {
		log.Warn("PostgreSQL allows fewer connections than are wanted, which makes Duffy slower",
			"allowed", t.connections, "wanted", wanted)
	}
	return listen
}
