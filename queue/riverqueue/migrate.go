package riverqueue

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/uptrace/bun"
)

// migrationLock is the key of the advisory lock under which River's tables change.
const migrationLock int64 = 0x64756666_79717565

// Migrate makes River's tables, or brings them up to date. Doing it twice, or in
// two processes at once, is harmless.
func (q *Queue) Migrate(ctx context.Context) error {
	if err := q.engine.migrate(ctx, rivermigrate.DirectionUp); err != nil {
		return fmt.Errorf("migrate River's tables: %w", err)
	}
	return nil
}

// Drop drops River's tables, with all jobs. Nobody must be working on them any
// more. Doing it twice is harmless.
func (q *Queue) Drop(ctx context.Context) error {
	if err := q.engine.migrate(ctx, rivermigrate.DirectionDown); err != nil {
		return fmt.Errorf("drop River's tables: %w", err)
	}
	return nil
}

// Current returns nil if River's tables are what this program wants. If not, its
// error says what is missing, which Migrate adds.
func (q *Queue) Current(ctx context.Context) error { return q.engine.current(ctx) }

// allTheWay is up to River's last version, or down to where nothing is left.
func allTheWay(direction rivermigrate.Direction) *rivermigrate.MigrateOpts {
	if direction == rivermigrate.DirectionDown {
		return &rivermigrate.MigrateOpts{TargetVersion: -1}
	}
	return nil
}

// lockMigrations looks at a table so that PostgreSQL notices which tables others have
// made while it waited for the lock.
var lockMigrations = fmt.Sprintf("SELECT pg_advisory_xact_lock(%d); SELECT FROM pg_class LIMIT 0", migrationLock)

// migratePostgres makes each version a transaction of its own, since some need what
// others have committed. None runs twice: each transaction holds the lock, on the one
// connection that it takes, so that it works through a pooler as well.
func migratePostgres(ctx context.Context, pool *pgxpool.Pool, m *migrator[pgx.Tx], direction rivermigrate.Direction) error {
	for more := true; more; {
		err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, lockMigrations); err != nil {
				return fmt.Errorf("lock: %w", err)
			}
			//lint:ignore SA1019 What can't be in one transaction are two versions.
			res, err := m.MigrateTx(ctx, tx, direction, &rivermigrate.MigrateOpts{MaxSteps: 1})
			if err != nil {
				return err
			}
			more = len(res.Versions) > 0
			// These serve searches for jobs by what is in them, which nobody does here,
			// and take half of the time that a session request takes.
			_, err = tx.Exec(ctx, "DROP INDEX IF EXISTS river_job_args_index, river_job_metadata_index")
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// migrateSQLite migrates in one transaction, which is a lock on SQLite.
func migrateSQLite(ctx context.Context, db *bun.DB, m *migrator[*sql.Tx], direction rivermigrate.Direction) error {
	return db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		//lint:ignore SA1019 What can't be in one transaction are versions for PostgreSQL.
		_, err := m.MigrateTx(ctx, tx.Tx, direction, allTheWay(direction))
		return err
	})
}
