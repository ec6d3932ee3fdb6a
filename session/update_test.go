package session_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/internal/fault"
	"github.com/duffy-ci/duffy/pool"
	"github.com/duffy-ci/duffy/session"
	"github.com/duffy-ci/duffy/tenant"
)

func TestExpiry(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 2))
		l.fill()
		alice, admin := l.tenant("alice"), l.admin()
		s := l.mustRequest(alice, spec(1, "a"))
		require.WithinDuration(t, s.CreatedAt.Add(6*time.Hour), *s.ExpiresAt, 0)

		for _, step := range []struct {
			in   time.Duration
			want time.Duration // after creation
		}{
			{time.Hour, 7 * time.Hour},
			{-30 * time.Minute, 390 * time.Minute},
			{99 * time.Hour, 12 * time.Hour},
			{-99 * time.Hour, 0},
			{2 * time.Hour, 2 * time.Hour},
		} {
			got, err := l.sessions.Update(t.Context(), alice, s.ID, session.Update{ExpiresIn: &step.in})
			require.NoError(t, err)
			require.WithinDuration(t, s.CreatedAt.Add(step.want), *got.ExpiresAt, 0)
		}
		late := s.CreatedAt.Add(100 * time.Hour)
		got, err := l.sessions.Update(t.Context(), admin, s.ID, session.Update{ExpiresAt: &late})
		require.NoError(t, err)
		require.WithinDuration(t, late, *got.ExpiresAt, 0, "administrators are not capped")
		back := s.CreatedAt.Add(3 * time.Hour)
		_, err = l.sessions.Update(t.Context(), alice, s.ID, session.Update{ExpiresAt: &back})
		require.NoError(t, err)

		l.clock.advance(3*time.Hour - time.Minute)
		l.work()
		got, err = l.sessions.Get(t.Context(), alice, s.ID)
		require.NoError(t, err)
		require.True(t, got.Active(), "earlier expiries do not count any more")
		l.clock.advance(2 * time.Minute)
		l.work()
		got, err = l.sessions.Get(t.Context(), alice, s.ID)
		require.NoError(t, err)
		require.False(t, got.Active())
		require.Equal(t, map[pool.State]int{pool.Ready: 2}, l.levels("a"))
		l.accounted()

		_, err = l.sessions.Update(t.Context(), alice, s.ID, session.Update{ExpiresIn: ptr(time.Hour)})
		require.ErrorIs(t, err, fault.Invalid)
		require.ErrorContains(t, err, "is retired")
	})
}

// TestMoreTimeNeverGivesLess has tenants ask for more time than a session may have by
// their own limits: it has more by an administrator, or the limit was lowered.
func TestMoreTimeNeverGivesLess(t *testing.T) {
	t.Parallel()
	const hour = time.Hour
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 1))
		admin := l.admin()
		for i, tt := range []struct {
			is, max, in, at time.Duration // after creation, but for in
			want            time.Duration
		}{
			{is: 72 * hour, max: 12 * hour, in: hour, want: 72 * hour},
			{is: 72 * hour, max: 12 * hour, at: 73 * hour, want: 72 * hour},
			{is: 72 * hour, max: 12 * hour, in: time.Millisecond, want: 72 * hour},
			{is: 72 * hour, max: 12 * hour, in: -hour, want: 71 * hour},
			{is: 72 * hour, max: 12 * hour, at: 24 * hour, want: 24 * hour},
			{is: 6 * hour, max: hour, in: hour, want: 6 * hour},
			{is: 6 * hour, max: hour, in: -hour, want: 5 * hour},
			{is: 6 * hour, max: 8 * hour, in: 99 * hour, want: 8 * hour},
			{is: 6 * hour, max: 8 * hour, in: -99 * hour, want: 0},
		} {
			alice := l.tenant(fmt.Sprint("alice", i))
			s := l.mustRequest(alice)
			start := s.CreatedAt.Add(tt.is)
			_, err := l.sessions.Update(t.Context(), admin, s.ID, session.Update{ExpiresAt: &start})
			require.NoError(t, err)
			alice, _, err = l.tenants.Update(t.Context(), alice.ID, tenant.Update{SessionLifetimeMax: ptr(ptr(tenant.Interval(tt.max)))})
			require.NoError(t, err)
			u := session.Update{ExpiresIn: &tt.in}
			if tt.in == 0 {
				u = session.Update{ExpiresAt: ptr(s.CreatedAt.Add(tt.at))}
			}
			got, err := l.sessions.Update(t.Context(), alice, s.ID, u)
			require.NoError(t, err)
			require.Equal(t, tt.want, got.ExpiresAt.Sub(s.CreatedAt), "%+v", tt)
		}
	})
}

// TestSessionsWithoutAnExpiry are some of Duffy 3's.
func TestSessionsWithoutAnExpiry(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d)
		alice := l.tenant("alice")
		s := l.mustRequest(alice)
		_, err := d.NewUpdate().Model(s).WherePK().Set("expires_at = NULL").Exec(t.Context())
		require.NoError(t, err)
		got, err := l.sessions.Update(t.Context(), alice, s.ID, session.Update{ExpiresIn: ptr(time.Hour)})
		require.NoError(t, err)
		require.Nil(t, got.ExpiresAt, "it has more than that")
		got, err = l.sessions.Update(t.Context(), alice, s.ID, session.Update{ExpiresAt: ptr(s.CreatedAt.Add(time.Hour))})
		require.NoError(t, err)
		require.Equal(t, s.CreatedAt.Add(time.Hour), *got.ExpiresAt)
	})
}

func TestExpiryIsSweptWhenTheJobIsLost(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 1))
		l.fill()
		alice := l.tenant("alice")
		s := l.mustRequest(alice, spec(1, "a"))
		l.jobs.Lose()
		l.clock.advance(7 * time.Hour)
		l.reconcile()
		got, err := l.sessions.Get(t.Context(), alice, s.ID)
		require.NoError(t, err)
		require.False(t, got.Active())
		l.accounted()
	})
}

func TestUnknownSession(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d)
		alice := l.tenant("alice")
		_, err := l.sessions.Get(t.Context(), alice, 999)
		require.ErrorIs(t, err, fault.NotFound)
		_, err = l.sessions.Update(t.Context(), alice, 999, session.Update{ExpiresIn: ptr(time.Hour)})
		require.ErrorIs(t, err, fault.NotFound)
	})
}
