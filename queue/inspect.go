package queue

import (
	"context"
	"time"
)

// An Inspector is a [Queue] that tells how much there is to do, for operators to
// see whether workers keep up. An engine that can't tell does without.
type Inspector interface {
	// Inspect returns what there is to do for all processes on the same database,
	// also while none works. It changes nothing, costs little enough to be asked
	// every few seconds, returns soon after ctx ends, and is safe for concurrent
	// use.
	Inspect(ctx context.Context) (Load, error)
}

// A Load is what there is to do: [Long] jobs and the others, for each of which
// there are workers of their own.
type Load struct{ Long, Short Backlog }

// A Backlog is a number of jobs. Those that are not to run yet, and those that
// are over, are not among them. Engines may be a few seconds late to notice.
type Backlog struct {
	Waiting int           // jobs that would run now if a worker had the time
	Running int           // jobs that workers have begun
	Latency time.Duration // how long the first of the waiting ones has been waiting, 0 if there is none
}
