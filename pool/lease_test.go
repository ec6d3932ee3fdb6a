package pool_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/pool"
)

// TestLeaseIsLostInTime has the database go away: work ends no later than others
// may take it over.
func TestLeaseIsLostInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d, err := db.Open(t.Context(), "sqlite://", db.Config{})
		require.NoError(t, err)
		require.NoError(t, d.Close())
		pools := pool.New(d.DB, nil, pool.ServiceConfig{Lease: 30 * time.Second})
		began := time.Now()
		held, release := pools.HoldLease(t.Context(), pool.NewOwner())
		defer release()
		<-held.Done()
		require.Equal(t, 30*time.Second, time.Since(began))
		require.ErrorIs(t, context.Cause(held), pool.ErrLeaseLost)
	})
}
