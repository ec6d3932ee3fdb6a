package queuetest_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/queue"
	"github.com/duffy-ci/duffy/queue/queuetest"
)

type job struct {
	N  int
	At time.Time
}

func (job) Kind() string           { return "job" }
func (j job) NotBefore() time.Time { return j.At }

func TestRecorder(t *testing.T) {
	t.Parallel()
	now := time.Unix(1, 0).UTC()
	r := queuetest.Recorder{Now: func() time.Time { return now }}
	later := job{3, now.Add(time.Minute)}
	require.NoError(t, r.Insert(t.Context(), bun.Tx{}, job{N: 1}, later))
	require.Equal(t, []queue.Job{job{N: 1}, later}, r.Jobs())

	var ran []int
	var mux queue.Mux
	queue.Handle(&mux, time.Minute, func(ctx context.Context, j job) error {
		ran = append(ran, j.N)
		if j.N == 1 {
			return r.Insert(ctx, bun.Tx{}, job{N: 2})
		}
		return nil
	})
	r.Run(t, &mux)
	require.Equal(t, []int{1, 2}, ran, "what jobs insert runs, what is not due does not")
	require.Equal(t, []queue.Job{later}, r.Jobs())

	now = later.At
	r.Run(t, &mux)
	require.Equal(t, []int{1, 2, 3}, ran)

	require.NoError(t, r.Insert(t.Context(), bun.Tx{}, later))
	r.Lose()
	r.Run(t, &mux)
	require.Empty(t, r.Jobs())
	require.Len(t, ran, 3)
}
