package duffy_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy"
	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/backend/fake"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/pool"
)

// TestClockOfMachineIsWrong has a process whose clock is a day ahead work on a database
// that others share: all times are the database's, work goes on, and the skew is told.
func TestClockOfMachineIsWrong(t *testing.T) {
	t.Parallel()
	pools, err := pool.NewSet(pool.Config{Name: "a", FillLevel: new(1), Backend: "fake"})
	require.NoError(t, err)
	machines := fake.New()
	d, err := duffy.New(t.Context(),
		duffy.Config{Database: dbtest.PostgresURL(t), Pools: pools, ReconcileEvery: glance},
		duffy.Options{
			Backends: map[string]backend.Backend{"fake": machines}, Contextualizer: machines,
			Now: func() time.Time { return time.Now().Add(24 * time.Hour) },
		})
	require.NoError(t, err)
	defer d.Close()
	require.NoError(t, d.Migrate(t.Context()))
	began := time.Now().Add(-time.Minute)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Work(ctx) }()
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		nodes, err := d.Pools.Nodes(t.Context())
		require.NoError(c, err)
		require.Len(c, nodes, 1)
		require.Equal(c, pool.Ready, nodes[0].State)
		require.WithinRange(t, nodes[0].CreatedAt, began, time.Now().Add(time.Minute))
		require.WithinRange(t, *nodes[0].StateSince, began, time.Now().Add(time.Minute))
	}, patience, glance)
	require.InDelta(t, 24*3600, scrape(t, serve(t, d.Monitor()))["duffy_clock_skew_seconds"], 600)
	stop()
	require.NoError(t, <-ended)
}

// TestReconcileIsWatched has somebody lock the table of nodes, which nothing can pass
// over: the age of the last pass that succeeded tells, and it goes on after that.
func TestReconcileIsWatched(t *testing.T) {
	t.Parallel()
	w := newWatched(t, dbtest.PostgresURL(t)+"&options=-c%20lock_timeout%3D1s")
	age := func() float64 { return scrape(t, w.monitor)["duffy_reconcile_age_seconds"] }
	require.Eventually(t, func() bool { return age() < 1 }, patience, glance)
	tx, err := w.duffy.DB().BeginTx(t.Context(), nil)
	require.NoError(t, err)
	_, err = tx.ExecContext(t.Context(), "LOCK TABLE nodes")
	require.NoError(t, err)
	require.Eventually(t, func() bool { return age() > 5 }, patience, glance)
	require.Equal(t, http.StatusOK, status(t, w.monitor+"/readyz"), "it may pass")
	require.NoError(t, tx.Rollback())
	require.Eventually(t, func() bool { return age() < 1 }, patience, glance)
}

func status(t *testing.T, url string) int {
	t.Helper()
	res, err := http.Get(url)
	require.NoError(t, err)
	defer res.Body.Close()
	return res.StatusCode
}
