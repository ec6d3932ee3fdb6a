package riverqueue

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect"

	"github.com/duffy-ci/duffy/queue"
)

var _ queue.Inspector = (*Queue)(nil)

// inspectQuery counts the jobs that are due, of which River's index by state finds
// few. What stands in it are, in turn, the age of a job in seconds and the time.
const inspectQuery = `SELECT queue,
	count(CASE WHEN state <> 'running' THEN 1 END) AS waiting,
	count(CASE WHEN state = 'running' THEN 1 END) AS running,
	COALESCE(max(CASE WHEN state <> 'running' THEN ? END), 0.0) AS latency
FROM river_job
WHERE state IN ('available', 'retryable', 'running', 'scheduled') AND scheduled_at <= ?
GROUP BY queue`

// Inspect implements [queue.Inspector]. What is due is up to the database's clock.
func (q *Queue) Inspect(ctx context.Context) (queue.Load, error) {
	age, now := "(julianday('now') - julianday(scheduled_at)) * 86400", "datetime('now', 'subsec')"
	if q.db.Dialect().Name() == dialect.PG {
		age, now = "extract(epoch FROM now() - scheduled_at)::float8", "now()"
	}
	var backlogs []struct {
		Queue   string
		Waiting int
		Running int
		Latency float64
	}
	if err := q.db.NewRaw(inspectQuery, bun.Safe(age), bun.Safe(now)).Scan(ctx, &backlogs); err != nil {
		return queue.Load{}, fmt.Errorf("count jobs: %w", err)
	}
	var load queue.Load
	for _, b := range backlogs {
		backlog := &load.Short
		if b.Queue == longQueue {
			backlog = &load.Long
		}
		*backlog = queue.Backlog{
			Waiting: b.Waiting, Running: b.Running,
			Latency: time.Duration(max(0, b.Latency) * float64(time.Second)),
		}
	}
	return load, nil
}
