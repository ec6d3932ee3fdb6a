// Package riverqueue is a [queue.Queue] on River, https://riverqueue.com, which
// keeps the jobs in the database that they are about, PostgreSQL or SQLite.
//
// Any number of processes may work on one database. River elects one of them to
// move delayed jobs up when they are due, and to take up what a process left
// behind that died. If that one dies itself, another takes its place at most 21
// seconds later: its lease lasts 15 seconds, and the others ask for it every 5 to
// 6. One that ends in good order is replaced at once.
// A single process that died and is started again waits just as long. River looks
// for delayed jobs every 5 seconds, and knows 5 seconds ahead which are due, so
// that only those inserted with a shorter delay may be late, by that much.
package riverqueue

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/queue"
)

// Defaults of a Config.
const (
	DefaultWorkers         = 8
	DefaultShutdownTimeout = time.Minute
)

// A Config says how to work. The zero value is ready to use.
type Config struct {
	// LongWorkers and ShortWorkers limit how many [queue.Long] and how many other
	// jobs run at once in this process; 0 means DefaultWorkers.
	LongWorkers  int
	ShortWorkers int

	// ShutdownTimeout is how long running jobs may go on after the context of Work
	// has ended; 0 means DefaultShutdownTimeout.
	ShutdownTimeout time.Duration

	// Now tells the time of the database, by which jobs are due; nil is this machine's.
	Now func() time.Time

	// PollOnly has Work look for jobs a few times a second, and not use a connection
	// more to be notified on. SQLite does so anyway.
	PollOnly bool

	// Unavailable tells whether an error passes although the database answers, which may
	// be read-only: Work waits for that at its start. Nil knows of none.
	Unavailable func(error) bool

	// Logger gets a warning for each failed run of a job, and what River itself
	// warns of; nil discards.
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	c.LongWorkers = cmp.Or(c.LongWorkers, DefaultWorkers)
	c.ShortWorkers = cmp.Or(c.ShortWorkers, DefaultWorkers)
	c.ShutdownTimeout = cmp.Or(c.ShutdownTimeout, DefaultShutdownTimeout)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// River's queues: each has workers of its own.
const (
	shortQueue = river.QueueDefault
	longQueue  = "long"
)

// A Queue implements [queue.Queue]. It is safe for concurrent use.
type Queue struct {
	db     *bun.DB
	cfg    Config
	engine engine
}

var _ queue.Queue = (*Queue)(nil)

// NewPostgres returns the queue in a PostgreSQL database, given both ways: db must
// work on pool. Beside the connections for its jobs, Work uses one to listen on, unless cfg says
// PollOnly.
func NewPostgres(db *bun.DB, pool *pgxpool.Pool, cfg Config) (*Queue, error) {
	return newQueue(db, cfg, &riverEngine[pgx.Tx]{
		driver: riverpgxv5.New(pool),
		unwrap: pgxTx,
		run: func(ctx context.Context, m *migrator[pgx.Tx], d rivermigrate.Direction) error {
			return migratePostgres(ctx, pool, m, d)
		},
	})
}

// NewSQLite returns the queue in an SQLite database.
func NewSQLite(db *bun.DB, cfg Config) (*Queue, error) {
	return newQueue(db, cfg, &riverEngine[*sql.Tx]{
		driver: riversqlite.New(db.DB),
		unwrap: func(_ context.Context, tx bun.Tx) (*sql.Tx, error) { return tx.Tx, nil },
		run: func(ctx context.Context, m *migrator[*sql.Tx], d rivermigrate.Direction) error {
			return migrateSQLite(ctx, db, m, d)
		},
	})
}

func newQueue(db *bun.DB, cfg Config, e engine) (*Queue, error) {
	q := &Queue{db: db, cfg: cfg.withDefaults(), engine: e}
	if err := e.open(q.riverConfig()); err != nil {
		return nil, fmt.Errorf("riverqueue: %w", err)
	}
	return q, nil
}

// Insert implements [queue.Inserter].
func (q *Queue) Insert(ctx context.Context, tx bun.Tx, jobs ...queue.Job) error {
	if len(jobs) == 0 {
		return nil
	}
	params := make([]river.InsertManyParams, len(jobs))
	for i, job := range jobs {
		params[i] = river.InsertManyParams{Args: job, InsertOpts: q.insertOpts(job)}
	}
	if err := q.engine.insert(ctx, tx, params); err != nil {
		return fmt.Errorf("insert jobs: %w", err)
	}
	return nil
}

func (q *Queue) insertOpts(job queue.Job) *river.InsertOpts {
	opts := &river.InsertOpts{Queue: shortQueue}
	if _, long := job.(queue.Long); long {
		opts.Queue = longQueue
	}
	// A time that is past would still wait for River's round of delayed jobs.
	if delayed, ok := job.(queue.Delayed); ok && delayed.NotBefore().After(q.cfg.Now()) {
		opts.ScheduledAt = delayed.NotBefore()
	}
	return opts
}
