package asynqqueue

import (
	"context"
	"errors"
	"fmt"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect"
)

// A row is a job that Redis does not have yet.
type row struct {
	bun.BaseModel `bun:"table:queue_outbox"`

	ID        string `bun:",pk"` // a UUID that begins with the time, and the id of asynq's task
	Kind      string
	Payload   string
	NotBefore int64 // milliseconds since 1970
	Long      bool
}

const createOutbox = `
CREATE TABLE IF NOT EXISTS queue_outbox (
    id         TEXT NOT NULL PRIMARY KEY,
    kind       TEXT NOT NULL,
    payload    TEXT NOT NULL,
    not_before BIGINT NOT NULL,
    long       BOOLEAN NOT NULL
)`

// migrationLock is the key of the advisory lock under which the outbox is made or
// dropped, since even IF NOT EXISTS fails when two do so at once.
const migrationLock int64 = 0x64756666_796f7574

// Migrate makes the outbox if there is none. Doing it twice, or in two processes
// at once, is harmless.
func (q *Queue) Migrate(ctx context.Context) error {
	if err := q.alter(ctx, createOutbox); err != nil {
		return fmt.Errorf("make the table queue_outbox: %w", err)
	}
	return nil
}

// Drop drops the outbox, with all jobs in it. Nobody must be working on it any
// more. Doing it twice is harmless.
func (q *Queue) Drop(ctx context.Context) error {
	if err := q.alter(ctx, "DROP TABLE IF EXISTS queue_outbox"); err != nil {
		return fmt.Errorf("drop the table queue_outbox: %w", err)
	}
	return nil
}

func (q *Queue) alter(ctx context.Context, statement string) error {
	return q.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		if q.postgres() {
			if _, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock(?)", migrationLock); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, statement)
		return err
	})
}

var errNoOutbox = errors.New("there is no table queue_outbox, which jobs go through: run duffy migration upgrade")

// Current returns nil if there is an outbox. If not, Migrate makes one.
func (q *Queue) Current(ctx context.Context) error {
	query := "SELECT count(*) FROM sqlite_master WHERE name = 'queue_outbox'"
	if q.postgres() {
		query = "SELECT count(to_regclass('queue_outbox'))"
	}
	var tables int
	if err := q.db.QueryRowContext(ctx, query).Scan(&tables); err != nil {
		return fmt.Errorf("look for the table queue_outbox: %w", err)
	}
	if tables == 0 {
		return errNoOutbox
	}
	return nil
}

func (q *Queue) postgres() bool { return q.db.Dialect().Name() == dialect.PG }
