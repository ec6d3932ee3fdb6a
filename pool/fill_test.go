package pool_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/pool"
)

// afterCount does something once a statement has counted nodes.
type afterCount struct {
	once sync.Once
	do   func()
}

func (*afterCount) BeforeQuery(ctx context.Context, _ *bun.QueryEvent) context.Context { return ctx }

func (h *afterCount) AfterQuery(_ context.Context, e *bun.QueryEvent) {
	if strings.Contains(e.Query, "count(*)") && strings.Contains(e.Query, "nodes") {
		h.once.Do(h.do)
	}
}

// TestFillWhileNodesBecomeReady fills a pool whose nodes become ready meanwhile.
// On SQLite they cannot: one transaction has to wait for the other.
func TestFillWhileNodesBecomeReady(t *testing.T) {
	t.Parallel()
	d := dbtest.Postgres(t)
	l := newLab(t, d, throwAway("a", 3))
	require.NoError(t, l.pools.Fill(t.Context(), "a"))
	set, err := pool.NewSet(throwAway("a", 3))
	require.NoError(t, err)
	meanwhile := pool.New(d.WithQueryHook(&afterCount{do: l.work}), l.jobs, pool.ServiceConfig{
		Pools: set, Backends: map[string]backend.Backend{"fake": l.machines},
	})
	require.NoError(t, meanwhile.Fill(t.Context(), "a"))
	require.Equal(t, map[pool.State]int{pool.Ready: 3}, l.levels("a"))
}
