package asynqqueue

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"

	"github.com/duffy-ci/duffy/queue"
)

var _ queue.Inspector = (*Queue)(nil)

// Inspect implements [queue.Inspector]. It needs Redis.
func (q *Queue) Inspect(ctx context.Context) (queue.Load, error) {
	load, err := q.inspectOutbox(ctx)
	if err != nil {
		return queue.Load{}, fmt.Errorf("count jobs in the outbox: %w", err)
	}
	// asynq knows no contexts. What it waits for ends a little later than ctx.
	type answer struct {
		load queue.Load
		err  error
	}
	answered := make(chan answer, 1)
	go func() {
		load, err := q.inspectRedis()
		answered <- answer{load, err}
	}()
	select {
	case <-ctx.Done():
		return queue.Load{}, fmt.Errorf("count jobs in Redis: %w", ctx.Err())
	case redis := <-answered:
		if redis.err != nil {
			return queue.Load{}, fmt.Errorf("count jobs in Redis: %w", redis.err)
		}
		load.Long, load.Short = sum(load.Long, redis.load.Long), sum(load.Short, redis.load.Short)
		return load, nil
	}
}

func sum(a, b queue.Backlog) queue.Backlog {
	return queue.Backlog{Waiting: a.Waiting + b.Waiting, Running: a.Running + b.Running, Latency: max(a.Latency, b.Latency)}
}

// inspectOutbox counts the jobs that Redis could have.
func (q *Queue) inspectOutbox(ctx context.Context) (load queue.Load, err error) {
	var backlogs []struct {
		Long    bool
		Waiting int
		First   string // id of those without a time
		Due     int64  // time of the others
	}
	err = due(q.db).Column("long").ColumnExpr("count(*) AS waiting").
		ColumnExpr("COALESCE(min(CASE WHEN not_before = 0 THEN id END), '') AS first").
		ColumnExpr("COALESCE(min(CASE WHEN not_before > 0 THEN not_before END), 0) AS due").
		Group("long").Scan(ctx, &backlogs)
	now := time.Now()
	for _, b := range backlogs {
		backlog := &load.Short
		if b.Long {
			backlog = &load.Long
		}
		backlog.Waiting = b.Waiting
		if b.Due > 0 {
			backlog.Latency = now.Sub(time.UnixMilli(b.Due))
		}
		if id, err := uuid.Parse(b.First); err == nil {
			backlog.Latency = max(backlog.Latency, now.Sub(time.Unix(id.Time().UnixTime())))
		}
	}
	return load, err
}

// inspectRedis counts the jobs that Redis has.
func (q *Queue) inspectRedis() (load queue.Load, err error) {
	inspector := asynq.NewInspector(q.redis)
	defer inspector.Close()
	known, err := inspector.Queues()
	if err != nil {
		return load, err
	}
	for name, backlog := range map[string]*queue.Backlog{longQueue: &load.Long, shortQueue: &load.Short} {
		if !slices.Contains(known, name) { // nothing was ever in it
			continue
		}
		info, err := inspector.GetQueueInfo(name)
		if err != nil {
			return load, err
		}
		*backlog = queue.Backlog{Waiting: info.Pending, Running: info.Active, Latency: max(0, info.Latency)}
	}
	return load, nil
}
