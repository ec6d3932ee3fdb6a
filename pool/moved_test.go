package pool_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/backend/fake"
	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/pool"
	"github.com/duffy-ci/duffy/queue"
)

// moved is a backend during whose first run something else moves the node. It goes on until its
// lease was renewed, or is gone.
type moved struct {
	*fake.Backend
	d     *db.DB
	sql   string
	whole bool
	ended error

	renewals atomic.Int32 // of leases
}

func (*moved) BeforeQuery(ctx context.Context, _ *bun.QueryEvent) context.Context { return ctx }

func (m *moved) AfterQuery(_ context.Context, e *bun.QueryEvent) {
	if strings.Contains(e.Query, "SET lease_until = ") {
		m.renewals.Add(1)
	}
}

func (m *moved) Provision(ctx context.Context, req backend.Request) ([]backend.Node, error) {
	nodes, err := m.Backend.Provision(ctx, req)
	if err != nil || m.sql == "" {
		return nodes, err
	}
	id := nodes[0].ID
	if _, err := m.d.ExecContext(ctx, "UPDATE nodes SET "+m.sql+" WHERE id = ?", id); err != nil {
		return nodes, err
	}
	m.sql = ""
	for renewals := m.renewals.Load(); ctx.Err() == nil && m.renewals.Load() < renewals+2; {
		time.Sleep(10 * time.Millisecond)
	}
	m.ended = ctx.Err()
	if !m.whole {
		nodes[0].IPAddr = ""
	}
	return nodes, nil
}

// TestOthersMoveNodes has somebody's SQL move a node while it is provisioned, as a cron job of
// Duffy 3's Ansible role does: its backend goes on, and what it told is removed.
func TestOthersMoveNodes(t *testing.T) {
	t.Parallel()
	for name, sql := range map[string]string{
		"failed":                     "state = 'failed'",
		"failed, and the lease gone": "state = 'failed', lease_owner = NULL, lease_until = NULL",
		"failed, and data gone":      "state = 'failed', data = '{}', retry_at = '2001-01-01 00:00:00'",
		"half-made":                  "state = 'failed'",
		"done":                       "state = 'done'",
		"retired":                    "state = 'done', retired_at = CURRENT_TIMESTAMP",
		"retired in its state":       "retired_at = CURRENT_TIMESTAMP",
		"unused":                     "state = 'unused'",
		"ready":                      "state = 'ready'",
		"contextualizing":            "state = 'contextualizing'",
		"deployed":                   "state = 'deployed'",
		"deprovisioning":             "state = 'deprovisioning'",
		"given up and deprovisioned": "state = 'deprovisioning', lease_owner = NULL, lease_until = NULL",
		"free again":                 "lease_owner = NULL, lease_until = NULL",
		"somebody's":                 "lease_owner = 'somebody'",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dbtest.Each(t, func(t *testing.T, d *db.DB) { testOthersMoveNodes(t, d, sql, name != "half-made") })
		})
	}
}

func testOthersMoveNodes(t *testing.T, d *db.DB, sql string, whole bool) {
	l := newLab(t, d, throwAway("a", 1))
	b := &moved{Backend: l.machines, d: d, sql: sql, whole: whole}
	l.backends["fake"] = b
	var log bytes.Buffer
	l.pools = pool.New(d.WithQueryHook(b), l.jobs, pool.ServiceConfig{
		Pools: l.pools.Pools(), Backends: l.backends, Contextualizer: l.machines,
		Now: func() time.Time { return l.now }, Elapsed: l.elapsed, Lease: 1800 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	l.mux = queue.Mux{}
	l.pools.Handle(&l.mux)
	require.NoError(t, l.pools.Fill(t.Context(), "a"))
	id := l.nodes(pool.Provisioning)[0].ID
	ours := !strings.Contains(sql, "lease_owner")
	l.work()
	if ours {
		require.NoError(t, b.ended, "the backend goes on")
		require.Contains(t, log.String(), "something other than Duffy moves nodes")
	}
	for range 12 {
		l.later(10 * time.Second)
	}
	require.Regexp(t, `node=1\b|nodes=\[1\]`, log.String())
	n, err := l.pools.Node(t.Context(), id)
	require.NoError(t, err)
	_, exists := l.machines.Machine(id)
	require.Equal(t, n.State == pool.Ready, exists, "node %d is %s: %v", id, n.State, n.Reason())
	require.Empty(t, l.nodes(pool.Failed))
	require.Equal(t, 1, l.levels("a")[pool.Ready])
	require.Len(t, l.machines.Machines(), 1)
}
