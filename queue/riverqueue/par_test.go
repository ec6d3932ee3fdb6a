package riverqueue_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/queue/riverqueue"
)

func BenchmarkPar(b *testing.B) {
	d := dbtest.PostgresDurable(b)
	q := newQueue(b, d, riverqueue.Config{})
	require.NoError(b, q.Migrate(b.Context()))
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			_ = d.RunInTx(context.Background(), nil, func(ctx context.Context, tx bun.Tx) error {
				return q.Insert(ctx, tx, benchJob{"one"}, benchJob{"two"})
			})
		}
	})
}
