package asynqqueue_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/internal/redistest"
	"github.com/duffy-ci/duffy/queue/asynqqueue"
)

// Sentinels are asked who the master is, again when it has gone.
func TestSentinel(t *testing.T) {
	t.Parallel()
	redis := redistest.NewWatched(t)
	d := dbtest.SQLite(t)
	q := newQueue(t, d, redis.URL, asynqqueue.Config{})
	mux, runs := counts()
	work(t, q, mux)
	insert(t, d, q, job{1})
	require.Eventually(t, func() bool { return runs(1) == 1 }, patience, 10*time.Millisecond)

	redis.Master.Stop()
	insert(t, d, q, job{2})
	require.Eventually(t, func() bool { return runs(2) == 1 }, patience, 10*time.Millisecond)
	require.NoError(t, q.Ping(t.Context()))
}

// The jobs of both of asynq's queues run on a cluster, where they are apart.
func TestCluster(t *testing.T) {
	t.Parallel()
	d := dbtest.SQLite(t)
	q := newQueue(t, d, redistest.ClusterURL(t), asynqqueue.Config{})
	mux, runs := counts()
	work(t, q, mux)
	for n := range 20 {
		insert(t, d, q, job{n}, long{100 + n})
	}
	require.Eventually(t, func() bool {
		for n := range 20 {
			if runs(n) != 1 || runs(100+n) != 1 {
				return false
			}
		}
		return true
	}, patience, 10*time.Millisecond)
	require.NoError(t, q.Ping(t.Context()))
}
