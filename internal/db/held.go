package db

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect"
)

// SkipLocked has q, which selects rows to change, pass over those that others have
// locked, and lock the rest until its transaction ends. On SQLite a transaction locks
// everything anyway.
func SkipLocked(q *bun.SelectQuery) *bun.SelectQuery {
	if q.Dialect().Name() == dialect.PG {
		q = q.For("UPDATE SKIP LOCKED")
	}
	return q
}

// brief is how long a transaction waits for a lock that comes back later anyway: longer
// than others of ours have one.
const brief = "200ms"

// Briefly runs do in a transaction that does not wait for who holds a lock for long.
// [Held] tells of its error that somebody does.
func Briefly(ctx context.Context, d *bun.DB, do func(context.Context, bun.Tx) error) error {
	return d.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		if d.Dialect().Name() == dialect.PG {
			if _, err := tx.ExecContext(ctx, "SET LOCAL lock_timeout = ?", brief); err != nil {
				return err
			}
		}
		return do(ctx, tx)
	})
}

const pgLockNotAvailable = "55P03"

// Held tells whether err says that somebody else held a lock for too long.
func Held(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == pgLockNotAvailable
}
