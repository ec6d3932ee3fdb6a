// Package queue is the seam between Duffy and whatever runs its background
// work.
//
// The database is the truth and jobs are hints: a job may be lost, run twice or
// run late, and all that happens is that the periodic reconcile does later what
// the job would have done sooner. So [Queue] is tiny, and any engine fits behind
// it that passes [github.com/duffy-ci/duffy/queue/queuetest].
package queue

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/uptrace/bun"
)

// A Job is one unit of background work. Its JSON encoding is its payload; Kind
// names its type across processes and releases.
type Job interface{ Kind() string }

// A Delayed job must not run before a time. The zero time means at once.
type Delayed interface {
	Job
	NotBefore() time.Time
}

// A Long job takes minutes rather than milliseconds. Long jobs have worker
// slots of their own, so that they never keep other jobs waiting.
type Long interface {
	Job
	Long()
}

// An Inserter inserts jobs as part of a transaction. It is safe for concurrent
// use.
type Inserter interface {
	// Insert makes jobs visible to workers if, and only if, tx commits. A job
	// runs at least once; handlers must be idempotent.
	Insert(ctx context.Context, tx bun.Tx, jobs ...Job) error
}

// A Queue inserts jobs and works them.
type Queue interface {
	Inserter

	// Work runs the jobs that mux handles until ctx is done, by cancellation, by its
	// deadline, with a cause or without one. Then it takes no new
	// ones, cancels the contexts of the running handlers after the engine's
	// shutdown timeout, waits for them to return, and returns nil. It returns
	// early, with an error, only if it cannot go on. Work is called at most once
	// on a Queue; any number of Queues may work on the same database.
	Work(ctx context.Context, mux *Mux) error
}

// A Mux routes jobs to handlers by kind. The zero value is ready to use. It must
// not be changed once a Queue works with it.
type Mux struct {
	handlers map[string]handler
}

type handler struct {
	timeout time.Duration
	run     func(ctx context.Context, payload []byte) error
}

// ErrTimeout is why the context of a handler ends when a run takes longer than the
// timeout of its kind. For any other cause, the worker is to stop.
var ErrTimeout = fmt.Errorf("the job took longer than its timeout: %w", context.DeadlineExceeded)

// Handle registers fn for jobs of type J. A run that takes longer than timeout
// has its context end with [ErrTimeout] as the cause; timeout must be positive,
// since engines take a job for lost some time after it. A job whose fn returns an error may be run again
// by the engine, soon and a few times; what must not be lost is up to reconcile.
// Handle panics if J's kind is taken.
func Handle[J Job](m *Mux, timeout time.Duration, fn func(context.Context, J) error) {
	var zero J
	kind := zero.Kind()
	if _, taken := m.handlers[kind]; taken {
		panic("queue: kind " + kind + " handled twice")
	}
	if timeout <= 0 {
		panic("queue: kind " + kind + " without a timeout")
	}
	if m.handlers == nil {
		m.handlers = map[string]handler{}
	}
	m.handlers[kind] = handler{timeout, func(ctx context.Context, payload []byte) error {
		var job J
		if err := json.Unmarshal(payload, &job); err != nil {
			return fmt.Errorf("decode %s job: %w", kind, err)
		}
		return fn(ctx, job)
	}}
}

// Kinds returns the kinds that m handles, sorted.
func (m *Mux) Kinds() []string {
	kinds := make([]string, 0, len(m.handlers))
	for k := range m.handlers {
		kinds = append(kinds, k)
	}
	slices.Sort(kinds)
	return kinds
}

// Timeout returns the longest that a job of kind may run.
func (m *Mux) Timeout(kind string) time.Duration { return m.handlers[kind].timeout }

// Dispatch runs the handler of kind, for at most its timeout.
func (m *Mux) Dispatch(ctx context.Context, kind string, payload []byte) error {
	h, ok := m.handlers[kind]
	if !ok {
		return fmt.Errorf("queue: no handler for kind %q", kind)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, h.timeout, ErrTimeout)
	defer cancel()
	return h.run(ctx, payload)
}
