package riverqueue_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/queue"
	"github.com/duffy-ci/duffy/queue/queuetest"
	"github.com/duffy-ci/duffy/queue/riverqueue"
)

// newQueue returns a Queue in a database whose River tables are there.
func newQueue(t testing.TB, d *db.DB, cfg riverqueue.Config) *riverqueue.Queue {
	t.Helper()
	q, err := riverqueue.NewSQLite(d.DB, cfg)
	if d.Postgres() {
		q, err = riverqueue.NewPostgres(d.DB, d.Pool, cfg)
	}
	require.NoError(t, err)
	return q
}

func suite(open func(testing.TB) *db.DB) func(*testing.T) (*bun.DB, func() queue.Queue) {
	return func(t *testing.T) (*bun.DB, func() queue.Queue) {
		d := open(t)
		require.NoError(t, newQueue(t, d, riverqueue.Config{}).Migrate(t.Context()))
		return d.DB, func() queue.Queue {
			return newQueue(t, d, riverqueue.Config{
				ShortWorkers: 4, LongWorkers: 2, ShutdownTimeout: 5 * time.Second, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
			})
		}
	}
}

func TestPostgres(t *testing.T) {
	t.Parallel()
	queuetest.Run(t, suite(dbtest.Postgres))
}

func TestSQLite(t *testing.T) {
	t.Parallel()
	queuetest.Run(t, suite(dbtest.SQLite))
}
