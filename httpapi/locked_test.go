package httpapi_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/uptrace/bun"
	"golang.org/x/sync/errgroup"

	"github.com/duffy-ci/duffy/httpapi"
	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/queue/queuetest"
	"github.com/duffy-ci/duffy/session"
)

// openImpatient returns a database in which nobody waits for a lock for more than a
// second, instead of 25.
func openImpatient(t *testing.T) *db.DB {
	d, err := db.Open(t.Context(), dbtest.PostgresURL(t)+"&options=-c%20lock_timeout%3D1s", db.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { d.Close() })
	_, _, err = db.Migrate(t.Context(), d)
	require.NoError(t, err)
	return d
}

// locked holds rows that a query selects while do runs, as an operator's psql does.
func locked(t *testing.T, d *db.DB, do func(), queries ...string) {
	t.Helper()
	require.NoError(t, d.RunInTx(t.Context(), nil, func(ctx context.Context, tx bun.Tx) error {
		for _, q := range queries {
			_, err := tx.ExecContext(ctx, q)
			require.NoError(t, err)
		}
		do()
		return nil
	}))
}

// TestLockedSession has an operator lock a session: its tenant is told to come back,
// and nobody else notices.
func TestLockedSession(t *testing.T) {
	t.Parallel()
	d := openImpatient(t)
	s := newStageOn(t, d)
	created := s.do(t, s.alice, "POST", "/api/v1/sessions", `{"nodes_specs": [{"pool": "a", "quantity": 1}]}`)
	require.Equal(t, 201, created.status, created.text)
	path := fmt.Sprint("/api/v1/sessions/", created.body["session"].(map[string]any)["id"])
	locked(t, d, func() {
		answers := make([]answer, 40)
		var all errgroup.Group
		for i := range answers {
			all.Go(func() error {
				answers[i] = s.do(t, s.alice, "PUT", path, `{"expires_at": "+1h"}`)
				return nil
			})
		}
		within, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		for range 5 {
			for _, path := range []string{"/api/v1/pools", "/api/v1/pools/a", "/api/v1/sessions"} {
				require.Equal(t, 200, s.within(t, within, nobody, "GET", path, "").status, path)
			}
			require.Equal(t, 201, s.within(t, within, s.bob, "POST", "/api/v1/sessions", `{"nodes_specs": []}`).status)
		}
		require.NoError(t, all.Wait())
		unavailable := 0
		for _, a := range answers {
			require.Contains(t, []int{http.StatusServiceUnavailable, http.StatusTooManyRequests}, a.status, a.text)
			require.NotEmpty(t, a.header.Get("Retry-After"))
			if a.status == http.StatusServiceUnavailable {
				unavailable++
			}
		}
		require.NotZero(t, unavailable)
	}, "SELECT FROM sessions FOR UPDATE")
	require.Equal(t, 200, s.do(t, s.alice, "PUT", path, `{"expires_at": "+1h"}`).status)
}

// TestOwnDeadlines has a request take longer than the service lets it. On SQLite the
// whole database is locked.
func TestOwnDeadlines(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newStageOn(t, d, func(cfg *httpapi.Config) {
			cfg.Sessions = session.New(d.DB, &queuetest.Recorder{}, cfg.Tenants, cfg.Pools,
				session.Config{Contextualizer: noAccess{}, RequestTimeout: time.Second})
		})
		lock := "SELECT FROM tenants FOR UPDATE"
		if !d.Postgres() {
			lock = "SELECT 1"
		}
		locked(t, d, func() {
			a := s.do(t, s.alice, "POST", "/api/v1/sessions", `{"nodes_specs": []}`)
			require.Equal(t, http.StatusServiceUnavailable, a.status, a.text)
			require.NotEmpty(t, a.header.Get("Retry-After"))
		}, lock)
	})
}
