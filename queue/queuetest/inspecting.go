package queuetest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/queue"
)

// inspectTellsWhatWaits is for engines that are a [queue.Inspector].
func inspectTellsWhatWaits(t *testing.T, db *bun.DB, newQueue func() queue.Queue) {
	q := newQueue()
	inspector, ok := q.(queue.Inspector)
	if !ok {
		t.Skip("the engine does not tell")
	}
	inspect := func() queue.Load {
		t.Helper()
		load, err := inspector.Inspect(t.Context())
		assert.NoError(t, err)
		return load
	}
	require.Zero(t, inspect(), "nothing was ever inserted")

	insert(t, db, q, job{1}, job{2}, delayed{3, time.Now().Add(-time.Hour)}, delayed{4, time.Now().Add(time.Hour)}, long{5})
	require.Error(t, db.RunInTx(t.Context(), nil, func(ctx context.Context, tx bun.Tx) error {
		return errors.Join(q.Insert(ctx, tx, job{6}), errors.New("boom"))
	}))
	eventually(t, func() bool { return inspect().Short.Latency > 0 && inspect().Long.Latency > 0 }, "waiting takes time")
	load := inspect()
	require.Equal(t, 3, load.Short.Waiting, "what is due and committed")
	require.Equal(t, 1, load.Long.Waiting)
	require.Less(t, load.Short.Latency, time.Hour, "no job waits before it is inserted")
	require.Zero(t, load.Short.Running+load.Long.Running)

	mux, ran := logs()
	release := make(chan struct{})
	free := sync.OnceFunc(func() { close(release) })
	defer free()
	queue.Handle(mux, patience, func(_ context.Context, d delayed) error { ran.add(d.N); return nil })
	queue.Handle(mux, patience, func(context.Context, long) error { <-release; return nil })
	work(t, newQueue(), mux) // in another process
	busy := queue.Load{Long: queue.Backlog{Running: 1}}
	eventually(t, func() bool { return inspect() == busy }, "short jobs are over, the long one runs")
	free()
	eventually(t, func() bool { return inspect() == queue.Load{} }, "all are over")

	ended, end := context.WithCancel(t.Context())
	end()
	_, err := inspector.Inspect(ended)
	require.Error(t, err)
}
