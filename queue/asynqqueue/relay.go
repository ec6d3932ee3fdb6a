package asynqqueue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect"

	"github.com/duffy-ci/duffy/queue"
)

const (
	// The outbox is looked at this often, and less so while that fails.
	relayInterval = 100 * time.Millisecond
	failureDelay  = time.Second

	relayBatch = 100

	// Redis refuses a job that it has or had until this long ago.
	retention = time.Minute

	// A job that fails is run again after 1 and 2 seconds. More is up to reconcile.
	maxAttempts = 3

	// asynq runs a job again when it has been running for its timeout and this long
	// on top, in which its handler may notice the timeout.
	timeoutGrace = 30 * time.Second
)

// A relay hands the jobs in the outbox to Redis.
type relay struct {
	*Queue
	mux    *queue.Mux
	client *asynq.Client
	health *health
}

// run relays until ctx is done.
func (r *relay) run(ctx context.Context) {
	wait := time.NewTimer(0)
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-wait.C:
		}
		next := failureDelay
		if !r.health.redis.lasts() {
			err := r.relayDue(ctx)
			if ctx.Err() != nil {
				return
			}
			r.health.noteRelaying(err)
			if err == nil {
				next = relayInterval
			}
		}
		wait.Reset(next)
	}
}

// relayDue relays all jobs that are due.
func (r *relay) relayDue(ctx context.Context) error {
	for {
		// Most of the time there is nothing, which is to be found out without a
		// transaction: SQLite has only one at a time.
		due, err := due(r.db).Exists(ctx)
		if err != nil || !due {
			return err
		}
		n, err := r.relayBatch(ctx)
		if err != nil || n < relayBatch {
			return err
		}
	}
}

// relayBatch relays some jobs and returns how many. On PostgreSQL nobody else does
// so with the same ones meanwhile. A transaction on SQLite would keep everybody
// from writing while Redis takes its time.
func (r *relay) relayBatch(ctx context.Context) (n int, err error) {
	if !r.postgres() {
		return r.enqueue(ctx, r.db, due(r.db))
	}
	var enqueueErr error
	err = r.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		n, enqueueErr = r.enqueue(ctx, tx, due(tx).For("UPDATE SKIP LOCKED"))
		return nil // what was enqueued before the error is to go
	})
	return n, errors.Join(enqueueErr, err)
}

// due selects the jobs that are due by the clock of the database.
func due(db bun.IDB) *bun.SelectQuery {
	q := db.NewSelect().Model((*row)(nil))
	if db.Dialect().Name() == dialect.PG {
		return q.Where("not_before <= extract(epoch FROM clock_timestamp()) * 1000")
	}
	return q.Where("not_before <= ?", time.Now().UnixMilli())
}

// enqueue enqueues jobs of the outbox, deletes them there, and returns how many.
func (r *relay) enqueue(ctx context.Context, db bun.IDB, jobs *bun.SelectQuery) (n int, err error) {
	var rows []row
	if err := jobs.Order("id").Limit(relayBatch).Scan(ctx, &rows); err != nil {
		return 0, fmt.Errorf("read the outbox: %w", err)
	}
	var done []string
	var failure error
	for _, job := range rows {
		_, err := r.client.EnqueueContext(ctx, asynq.NewTask(job.Kind, []byte(job.Payload)),
			asynq.TaskID(job.ID), asynq.Queue(queueOf(job.Long)), asynq.Retention(retention),
			asynq.MaxRetry(maxAttempts-1), asynq.Timeout(r.mux.Timeout(job.Kind)+timeoutGrace))
		if err != nil && !errors.Is(err, asynq.ErrTaskIDConflict) {
			failure = fmt.Errorf("enqueue %s job: %w", job.Kind, err)
			break
		}
		done = append(done, job.ID)
	}
	if len(done) == 0 {
		return 0, failure
	}
	_, err = db.NewDelete().Model((*row)(nil)).Where("id IN (?)", bun.List(done)).Exec(ctx)
	return len(done), errors.Join(failure, err)
}
