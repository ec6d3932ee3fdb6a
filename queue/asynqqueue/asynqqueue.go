// Package asynqqueue is a [queue.Queue] on Redis with asynq,
// https://github.com/hibiken/asynq, for whoever wants the traffic of jobs out of
// the database.
//
// Redis can't be part of a transaction of the database. So Insert writes jobs to
// an outbox, the table queue_outbox, and Work hands those that are due to Redis,
// oldest first. Jobs that are to run later stay in the outbox until then. A job
// that two processes hand over, or one process twice because it died in between,
// Redis takes once.
//
// While Redis is away, Insert works on, and so do the handlers that run already.
// What Redis loses is lost: jobs that were due and not done, which is what
// reconcile makes up for. A Redis database serves one Duffy only.
//
// What a process was doing that died is done by another, or by itself after a
// restart. asynq gives a job a lease of 30 seconds, renews it every 5 seconds, and
// looks every minute, and at the start, for those that ran out 30 seconds ago or
// longer: a job runs again between 1 and about 2 minutes after its process died.
// The lease of a job may run out as well while Redis is away; it then runs twice.
package asynqqueue

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
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

	// Logger gets a warning for each failed run of a job and each outage of Redis,
	// and what asynq itself warns of; nil discards.
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	c.LongWorkers = cmp.Or(c.LongWorkers, DefaultWorkers)
	c.ShortWorkers = cmp.Or(c.ShortWorkers, DefaultWorkers)
	c.ShutdownTimeout = cmp.Or(c.ShutdownTimeout, DefaultShutdownTimeout)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// A Queue implements [queue.Queue]. It is safe for concurrent use.
type Queue struct {
	db    *bun.DB
	redis asynq.RedisConnOpt
	cfg   Config

	pinger func() *asynq.Client
}

var (
	_ queue.Queue  = (*Queue)(nil)
	_ queue.Pinger = (*Queue)(nil)
)

// New returns the queue in a Redis, see [ParseRedis], with its outbox in db, which
// is PostgreSQL or SQLite. It connects to nothing yet.
func New(db *bun.DB, redis asynq.RedisConnOpt, cfg Config) *Queue {
	return &Queue{
		db: db, redis: redis, cfg: cfg.withDefaults(),
		pinger: sync.OnceValue(func() *asynq.Client { return asynq.NewClient(redis) }),
	}
}

// Insert implements [queue.Inserter]. It does without Redis.
func (q *Queue) Insert(ctx context.Context, tx bun.Tx, jobs ...queue.Job) error {
	if len(jobs) == 0 {
		return nil
	}
	rows := make([]row, len(jobs))
	for i, job := range jobs {
		var err error
		if rows[i], err = newRow(job); err != nil {
			return fmt.Errorf("insert %s job: %w", job.Kind(), err)
		}
	}
	if _, err := tx.NewInsert().Model(&rows).Exec(ctx); err != nil {
		return fmt.Errorf("insert jobs: %w", err)
	}
	return nil
}

func newRow(job queue.Job) (row, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return row{}, err
	}
	payload, err := json.Marshal(job)
	if err != nil {
		return row{}, err
	}
	r := row{ID: id.String(), Kind: job.Kind(), Payload: string(payload)}
	_, r.Long = job.(queue.Long)
	if delayed, ok := job.(queue.Delayed); ok && time.Until(delayed.NotBefore()) > 0 {
		r.NotBefore = delayed.NotBefore().UnixMilli() + 1 // rather late than early
	}
	return r, nil
}
