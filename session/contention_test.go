package session_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/internal/fault"
	"github.com/duffy-ci/duffy/pool"
	"github.com/duffy-ci/duffy/tenant"
)

// TestRequestsForTheLastNodes has requests take the last nodes of a pool away from
// each other: one gets them, and nobody waits for somebody who waits in turn.
func TestRequestsForTheLastNodes(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 3))
		var tenants [6]*tenant.Tenant
		for i := range tenants {
			tenants[i] = l.tenant(fmt.Sprintf("tenant%d", i))
		}
		for range 3 {
			l.fill()
			var requests sync.WaitGroup
			var errs [len(tenants)]error
			for i, by := range tenants {
				requests.Go(func() { _, errs[i] = l.request(by, spec(1, "a"), spec(2, "a")) })
			}
			requests.Wait()
			served := 0
			for _, err := range errs {
				if err == nil {
					served++
				} else {
					require.ErrorIs(t, err, fault.Invalid)
				}
			}
			require.Equal(t, 1, served)
		}
	})
}

// TestReserveWhatOthersMayTake has one transaction hold a node that others need.
// On SQLite there are no others.
func TestReserveWhatOthersMayTake(t *testing.T) {
	t.Parallel()
	d := dbtest.Postgres(t)
	l := newLab(t, d, throwAway("a", 2))
	l.fill()
	session := l.mustRequest(l.tenant("alice"))
	begin := func() bun.Tx {
		tx, err := d.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		return tx
	}
	reserve := func(tx bun.Tx, quantity int, wait bool) ([]*pool.Node, error) {
		return l.pools.ReserveTx(t.Context(), tx, pool.Reservation{
			Session: session.ID, Pool: "a", Quantity: quantity, Owner: pool.NewOwner(), Wait: wait,
		})
	}
	first, second, third := begin(), begin(), begin()
	_, err := reserve(first, 1, false)
	require.NoError(t, err)

	_, err = reserve(second, 2, false)
	require.ErrorIs(t, err, pool.ErrContended)
	_, err = reserve(second, 3, false)
	require.NoError(t, err, "there are too few, whatever others do")
	require.NoError(t, second.Rollback())

	got := make(chan int)
	go func() {
		nodes, err := reserve(third, 2, true)
		if err != nil {
			t.Error(err)
		}
		got <- len(nodes)
	}()
	require.NoError(t, first.Rollback())
	require.Equal(t, 2, <-got)
	require.NoError(t, third.Rollback())
}
