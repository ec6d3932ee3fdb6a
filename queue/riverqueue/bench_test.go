package riverqueue_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/queue"
	"github.com/duffy-ci/duffy/queue/riverqueue"
)

type benchJob struct{ Pool string }

func (benchJob) Kind() string { return "riverqueue.bench" }

var databases = map[string]func(testing.TB) *db.DB{
	"postgres": dbtest.Postgres, "durable": dbtest.PostgresDurable, "sqlite": dbtest.SQLite,
}

// BenchmarkInsert tells what two jobs add to a transaction, as insert-ns/op; the
// rest is the transaction.
func BenchmarkInsert(b *testing.B) {
	for name, open := range databases {
		b.Run(name, func(b *testing.B) {
			d := open(b)
			q := newQueue(b, d, riverqueue.Config{})
			require.NoError(b, q.Migrate(b.Context()))
			var inserting time.Duration
			for b.Loop() {
				require.NoError(b, d.RunInTx(b.Context(), nil, func(ctx context.Context, tx bun.Tx) error {
					start := time.Now()
					err := q.Insert(ctx, tx, benchJob{"one"}, benchJob{"two"})
					inserting += time.Since(start)
					return err
				}))
			}
			b.ReportMetric(float64(inserting.Nanoseconds())/float64(b.N), "insert-ns/op")
		})
	}
}

// BenchmarkPickUp tells how long it takes from the commit until a job starts.
func BenchmarkPickUp(b *testing.B) {
	for name, open := range databases {
		b.Run(name, func(b *testing.B) {
			d := open(b)
			q := newQueue(b, d, riverqueue.Config{})
			require.NoError(b, q.Migrate(b.Context()))
			started := make(chan time.Time)
			var mux queue.Mux
			queue.Handle(&mux, time.Minute, func(context.Context, benchJob) error { started <- time.Now(); return nil })
			ctx, stop := context.WithCancel(b.Context())
			done := make(chan error, 1)
			go func() { done <- q.Work(ctx, &mux) }()
			var waiting time.Duration
			for b.Loop() {
				require.NoError(b, d.RunInTx(b.Context(), nil, func(ctx context.Context, tx bun.Tx) error {
					return q.Insert(ctx, tx, benchJob{})
				}))
				committed := time.Now()
				waiting += (<-started).Sub(committed)
			}
			b.ReportMetric(float64(waiting.Nanoseconds())/float64(b.N), "wait-ns/op")
			stop()
			require.NoError(b, <-done)
		})
	}
}
