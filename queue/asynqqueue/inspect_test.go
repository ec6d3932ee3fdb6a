package asynqqueue_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/internal/redistest"
	"github.com/duffy-ci/duffy/queue/asynqqueue"
)

// Without Redis nobody knows what there is to do, which is told in time.
func TestInspectWithoutRedis(t *testing.T) {
	t.Parallel()
	server := redistest.New(t)
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		q := newQueue(t, d, server.URL(), asynqqueue.Config{})
		require.NoError(t, q.Migrate(t.Context()))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := q.Inspect(ctx)
		require.ErrorContains(t, err, "count jobs in Redis")
	})
}
