package session_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/pool"
	"github.com/duffy-ci/duffy/queue"
	"github.com/duffy-ci/duffy/queue/riverqueue"
	"github.com/duffy-ci/duffy/session"
	"github.com/duffy-ci/duffy/tenant"
)

// BenchmarkRequest hands out one node without SSH, from tables of different
// size, all of whose nodes are ready. PostgreSQL waits for its disk.
func BenchmarkRequest(b *testing.B) {
	open := map[string]func(testing.TB) *db.DB{"postgres": dbtest.PostgresDurable, "sqlite": dbtest.SQLite}
	for _, dialect := range []string{"postgres", "sqlite"} {
		for _, nodes := range []int{1_000, 100_000} {
			b.Run(fmt.Sprintf("%s/nodes=%d", dialect, nodes), func(b *testing.B) {
				benchmarkRequest(b, open[dialect](b), nodes)
			})
		}
	}
}

func benchmarkRequest(b *testing.B, d *db.DB, nodes int) {
	sessions, admin := benchService(b, d, nodes)
	r := session.Request{Specs: []session.Spec{{Quantity: 1, Pool: "a"}}}
	var took []time.Duration
	for b.Loop() {
		began := time.Now()
		s, err := sessions.Request(b.Context(), admin, r)
		took = append(took, time.Since(began))
		require.NoError(b, err)

		b.StopTimer()
		_, err = sessions.Update(b.Context(), admin, s.ID, session.Update{Retire: true})
		require.NoError(b, err)
		restock(b, d)
		b.StartTimer()
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}

// benchService returns sessions on a database with that many ready nodes.
func benchService(b *testing.B, d *db.DB, nodes int) (*session.Service, *tenant.Tenant) {
	b.Helper()
	q := benchQueue(b, d)
	set, err := pool.NewSet(throwAway("a", nodes))
	require.NoError(b, err)
	tenants := tenant.New(d.DB, tenant.Config{})
	pools := pool.New(d.DB, q, pool.ServiceConfig{Pools: set})
	sessions := session.New(d.DB, q, tenants, pools, session.Config{Contextualizer: noAccess{}})
	admin, _, err := tenants.Create(b.Context(), tenant.Tenant{Name: "admin", SSHKey: "k", IsAdmin: true})
	require.NoError(b, err)
	for first := 0; first < nodes; first += 1000 {
		batch := make([]*pool.Node, 1000)
		for i := range batch {
			n := first + i
			batch[i] = &pool.Node{
				State: pool.Ready, Pool: "a", Hostname: fmt.Sprintf("node-%d", n),
				IPAddr: fmt.Sprintf("10.%d.%d.%d", n>>16, n>>8&255, n&255),
				Data:   pool.Data{"provision": map[string]any{"ipaddr": "10.0.0.1"}},
			}
		}
		_, err := d.NewInsert().Model(&batch).Exec(b.Context())
		require.NoError(b, err)
	}
	_, err = d.Exec("ANALYZE")
	require.NoError(b, err)
	return sessions, admin
}

func benchQueue(b *testing.B, d *db.DB) queue.Inserter {
	b.Helper()
	var q *riverqueue.Queue
	var err error
	if d.Postgres() {
		q, err = riverqueue.NewPostgres(d.DB, d.Pool, riverqueue.Config{})
	} else {
		q, err = riverqueue.NewSQLite(d.DB, riverqueue.Config{})
	}
	require.NoError(b, err)
	require.NoError(b, q.Migrate(b.Context()))
	return q
}

// restock makes retired nodes ready again.
func restock(b *testing.B, d *db.DB) {
	b.Helper()
	_, err := d.NewUpdate().Model((*pool.Node)(nil)).
		Set("state = ?", pool.Ready).Set("session_id = NULL").
		Where("state = ?", pool.Deprovisioning).Where("retired_at IS NULL").Exec(b.Context())
	require.NoError(b, err)
}

// noAccess contextualizes without doing anything.
type noAccess struct{}

func (noAccess) Contextualize(context.Context, backend.Node, string) error { return nil }

func (noAccess) Decontextualize(context.Context, backend.Node) error { return nil }
