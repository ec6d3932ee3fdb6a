package queuetest

import (
	"context"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/queue"
)

// A Recorder is a [queue.Inserter] for tests of what inserts jobs and handles
// them: its jobs wait until the test has them run. It keeps jobs even if their
// transaction is rolled back, which handlers have to stand anyway. The zero value
// is ready to use, and safe for concurrent use.
type Recorder struct {
	Now func() time.Time // tells which jobs are due, time.Now if nil

	mu      sync.Mutex
	waiting []queue.Job
}

// Insert implements [queue.Inserter].
func (r *Recorder) Insert(_ context.Context, _ bun.Tx, jobs ...queue.Job) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = append(r.waiting, jobs...)
	return nil
}

// Jobs returns the jobs that wait, due or not.
func (r *Recorder) Jobs() []queue.Job {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]queue.Job(nil), r.waiting...)
}

// Run has mux handle the jobs that are due, in turn, and those that these insert.
// The test fails if a handler does.
func (r *Recorder) Run(t testing.TB, mux *queue.Mux) {
	t.Helper()
	for {
		job := r.next()
		if job == nil {
			return
		}
		payload, err := json.Marshal(job)
		require.NoError(t, err)
		require.NoError(t, mux.Dispatch(t.Context(), job.Kind(), payload), "%s %s", job.Kind(), payload)
	}
}

// Lose forgets all jobs, as an engine may.
func (r *Recorder) Lose() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = nil
}

func (r *Recorder) next() queue.Job {
	now := time.Now
	if r.Now != nil {
		now = r.Now
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, job := range r.waiting {
		if d, ok := job.(queue.Delayed); ok && d.NotBefore().After(now()) {
			continue
		}
		r.waiting = append(r.waiting[:i], r.waiting[i+1:]...)
		return job
	}
	return nil
}
