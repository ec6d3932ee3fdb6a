package session_test

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/uptrace/bun"
	"golang.org/x/sync/errgroup"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/internal/fault"
	"github.com/duffy-ci/duffy/pool"
	"github.com/duffy-ci/duffy/session"
	"github.com/duffy-ci/duffy/tenant"
)

// TestRequestsAreBounded has requests that are too large refused, whoever asks, by
// the name of what is too large.
func TestRequestsAreBounded(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 2))
		l.fill()
		for _, by := range []*tenant.Tenant{l.tenant("alice"), l.admin()} {
			for _, tt := range []struct {
				specs []session.Spec
				want  string
			}{
				{specs(math.MaxInt/2+1, math.MaxInt/2+1), "nodes_specs[0].quantity: ensure this value is less than or equal to 10000"},
				{specs(1, math.MaxInt), "nodes_specs[1].quantity: ensure this value is less than or equal to 10000"},
				{specs(1, 1, 1, 10_001), "nodes_specs[3].quantity: ensure this value is less than or equal to 10000"},
				{specs(10_000, 1), "nodes_specs: ensure the quantities add up to at most 10000"},
				{specs(make([]int, 101)...), "nodes_specs: ensure this value has at most 100 items"},
				{specs(1, math.MinInt), "nodes_specs[1].quantity: ensure this value is greater than or equal to 1"},
			} {
				_, err := l.request(by, tt.specs...)
				require.ErrorIs(t, err, fault.Invalid)
				require.EqualError(t, err, tt.want)
			}
		}
		require.Equal(t, map[pool.State]int{pool.Ready: 2}, l.levels("a"))
		_, err := l.request(l.tenant("bob"), specs(9_901, 99)...)
		require.EqualError(t, err, "quota exceeded: requested nodes (10000) + current allocation (0) = 10000 > 10")
	})
}

func specs(quantities ...int) (list []session.Spec) {
	for _, q := range quantities {
		list = append(list, spec(q, "a"))
	}
	return list
}

// TestShortPoolEndsRequest has a request that cannot be fulfilled wait for nobody,
// and still name the pool that Duffy 3 names.
func TestShortPoolEndsRequest(t *testing.T) {
	t.Parallel()
	d := dbtest.Postgres(t)
	l := newLab(t, d, throwAway("a", 1), throwAway("b", 1), throwAway("c", 1))
	l.fill()
	alice := l.tenant("alice")
	err := d.RunInTx(t.Context(), nil, func(_ context.Context, tx bun.Tx) error {
		var held []int64
		err := tx.NewSelect().Model((*pool.Node)(nil)).Column("id").Where("pool IN ('b', 'c')").For("UPDATE").Scan(t.Context(), &held)
		require.NoError(t, err)
		require.Len(t, held, 2)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		for _, tt := range []struct {
			specs []session.Spec
			want  session.Spec
		}{
			{[]session.Spec{spec(2, "a"), spec(1, "b")}, spec(2, "a")},
			{[]session.Spec{spec(1, "b"), spec(2, "a")}, spec(2, "a")},
			{[]session.Spec{spec(2, "b"), spec(2, "a")}, spec(2, "b")},
			{[]session.Spec{spec(1, "c"), spec(1, "c"), spec(2, "a")}, spec(1, "c")},
			{[]session.Spec{spec(1, "a"), spec(1, "a"), spec(1, "b")}, spec(1, "a")},
			{[]session.Spec{spec(1, "a"), spec(2, "b"), spec(1, "c")}, spec(2, "b")},
			{[]session.Spec{spec(1, "nosuch"), spec(2, "a")}, spec(1, "nosuch")},
		} {
			_, err := l.sessions.Request(ctx, alice, session.Request{Specs: tt.specs})
			require.ErrorIs(t, err, fault.Invalid)
			require.EqualError(t, err, fmt.Sprintf("can't reserve nodes: quantity=%d pool='%s'", tt.want.Quantity, tt.want.Pool))
		}
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, map[pool.State]int{pool.Ready: 1}, l.levels("a"))
	l.accounted()
}

func TestSessionQuota(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 2))
		l.tenants = tenant.New(d.DB, tenant.Config{BcryptCost: 4, Defaults: tenant.Limits{NodeQuota: 2, SessionQuota: 4}})
		l.sessions = session.New(d.DB, l.jobs, l.tenants, l.pools, session.Config{Contextualizer: l.machines, Now: l.clock.Now})
		l.fill()
		alice, admin := l.tenant("alice"), l.admin()

		var all errgroup.Group
		results := make([]error, 20)
		for i := range results {
			all.Go(func() error {
				_, results[i] = l.request(alice)
				return nil
			})
		}
		require.NoError(t, all.Wait())
		var granted int
		for _, err := range results {
			if err == nil {
				granted++
				continue
			}
			require.ErrorIs(t, err, fault.Forbidden)
			require.EqualError(t, err, "quota exceeded: requested sessions (1) + active sessions (4) = 5 > 4")
		}
		require.Equal(t, 4, granted, "asked for at once")

		_, err := l.request(alice, spec(1, "a"))
		require.EqualError(t, err, "quota exceeded: requested sessions (1) + active sessions (4) = 5 > 4", "with nodes or without")
		require.Equal(t, map[pool.State]int{pool.Ready: 2}, l.levels("a"))
		mine, err := l.sessions.List(t.Context(), alice)
		require.NoError(t, err)
		l.retire(alice, mine[0])
		l.mustRequest(alice, spec(1, "a"))

		for range 10 {
			l.mustRequest(admin)
		}
		big, _, err := l.tenants.Create(t.Context(), tenant.Tenant{Name: "big", SSHKey: "k", NodeQuota: ptr(7)})
		require.NoError(t, err)
		for range 7 { // one for each node of its quota
			l.mustRequest(big)
		}
		_, err = l.request(big)
		require.EqualError(t, err, "quota exceeded: requested sessions (1) + active sessions (7) = 8 > 7")
		_, err = l.sessions.Request(t.Context(), admin, session.Request{TenantID: &big.ID})
		require.ErrorIs(t, err, fault.Forbidden, "an administrator asks for a tenant, whose quota counts")
	})
}

// TestExpiryStaysWritable has an administrator ask for more time until no program
// could read when that is.
func TestExpiryStaysWritable(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d)
		admin := l.admin()
		s := l.mustRequest(admin)
		var err error
		for range 50 {
			var got *session.Session
			if got, err = l.sessions.Update(t.Context(), admin, s.ID, session.Update{ExpiresIn: ptr(time.Duration(math.MaxInt64))}); err != nil {
				break
			}
			require.True(t, got.ExpiresAt.After(*s.ExpiresAt))
			s = got
		}
		require.ErrorIs(t, err, fault.Invalid)
		require.EqualError(t, err, "expires_at: ensure this value is before the year 10000")
		got, err := l.sessions.Get(t.Context(), admin, s.ID)
		require.NoError(t, err)
		require.Equal(t, 9999, max(got.ExpiresAt.Year(), 9999))
	})
}
