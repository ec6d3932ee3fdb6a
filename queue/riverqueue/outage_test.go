package riverqueue_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/queue"
	"github.com/duffy-ci/duffy/queue/riverqueue"
)

// Work waits for a database that is away, at its start too, and goes on: with jobs
// that are to run at once, and with delayed ones, for which there has to be a leader.
func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	postgres := dbtest.NewServer(t)
	d, err := db.Open(t.Context(), postgres.URL(), db.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	q := newQueue(t, d, riverqueue.Config{})
	require.NoError(t, q.Migrate(t.Context()))
	ran := make(chan string, 10)
	var mux queue.Mux
	queue.Handle(&mux, patience, func(context.Context, job) error { ran <- "job"; return nil })
	queue.Handle(&mux, patience, func(context.Context, tick) error { ran <- "tick"; return nil })

	postgres.Stop(t)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- q.Work(ctx, &mux) }()
	for name, away := range map[string]func(testing.TB){"stopped": postgres.Stop, "killed": postgres.Kill} {
		postgres.Start(t)
		require.Eventually(t, func() bool { return d.PingContext(t.Context()) == nil }, patience, 10*time.Millisecond)
		insert(t, d, q, job{}, tick{At: time.Now().Add(time.Second)})
		for _, want := range []string{"job", "tick"} {
			select {
			case got := <-ran:
				require.Equal(t, want, got)
			case err := <-done:
				require.Fail(t, "Work has returned", "%s: %v", name, err)
			case <-time.After(patience):
				require.Fail(t, "nothing runs", "%s before it was %s", want, name)
			}
		}
		away(t)
	}
	stop()
	require.NoError(t, <-done)
}
