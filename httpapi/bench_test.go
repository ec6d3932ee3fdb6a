package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/httpapi"
	"github.com/duffy-ci/duffy/httpapi/apiv1"
	"github.com/duffy-ci/duffy/httpapi/client"
	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/pool"
	"github.com/duffy-ci/duffy/queue/riverqueue"
	"github.com/duffy-ci/duffy/session"
	"github.com/duffy-ci/duffy/tenant"
)

// BenchmarkHandOuts has 16 tenants request and retire sessions of one node over
// HTTP, without SSH, on a PostgreSQL that waits for its disk; client, server and
// database share the machine. Retired nodes are ready again at once, so that it
// is the handing out that is measured. An op is a session requested and retired.
func BenchmarkHandOuts(b *testing.B) {
	for _, nodes := range []int{200, 100_000} {
		b.Run(fmt.Sprintf("nodes=%d", nodes), func(b *testing.B) {
			s := newBenchServer(b, dbtest.PostgresDurable(b), nodes)
			stop := s.restock(b)
			defer stop()
			var left atomic.Int64
			left.Store(int64(b.N))
			var wg sync.WaitGroup
			b.ResetTimer()
			for _, c := range s.clients {
				wg.Go(func() {
					for left.Add(-1) >= 0 {
						if err := handOut(b.Context(), c); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "handouts/s")
		})
	}
}

func handOut(ctx context.Context, c *client.Client) error {
	s, err := c.RequestSession(ctx, apiv1.SessionCreate{NodesSpecs: []apiv1.NodesSpec{{Quantity: 1, Pool: "a"}}})
	if err != nil {
		return err
	}
	_, err = c.RetireSession(ctx, s.ID)
	return err
}

// BenchmarkGetSession reads a session of 4 nodes, with credentials, over HTTP.
func BenchmarkGetSession(b *testing.B) {
	for name, open := range map[string]func(testing.TB) *db.DB{"postgres": dbtest.PostgresDurable, "sqlite": dbtest.SQLite} {
		b.Run(name, func(b *testing.B) {
			s := newBenchServer(b, open(b), 200)
			ses, err := s.clients[0].RequestSession(b.Context(), apiv1.SessionCreate{NodesSpecs: []apiv1.NodesSpec{{Quantity: 4, Pool: "a"}}})
			require.NoError(b, err)
			b.SetParallelism(4)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := s.clients[0].GetSession(b.Context(), ses.ID); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
		})
	}
}

type benchServer struct {
	db      *db.DB
	clients []*client.Client
}

func newBenchServer(b *testing.B, d *db.DB, nodes int) *benchServer {
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
	set, err := pool.NewSet(pool.Config{Name: "a", Backend: "none", FillLevel: &nodes})
	require.NoError(b, err)
	tenants := tenant.New(d.DB, tenant.Config{BcryptCost: 4})
	pools := pool.New(d.DB, q, pool.ServiceConfig{Pools: set})
	sessions := session.New(d.DB, q, tenants, pools, session.Config{Contextualizer: noAccess{}})
	server := httptest.NewServer(httpapi.New(httpapi.Config{Tenants: tenants, Pools: pools, Sessions: sessions}))
	b.Cleanup(server.Close)

	s := &benchServer{db: d}
	transport := &http.Transport{MaxIdleConnsPerHost: 32}
	for i := range 16 {
		t, key, err := tenants.Create(b.Context(), tenant.Tenant{Name: fmt.Sprintf("tenant-%d", i), SSHKey: "k"})
		require.NoError(b, err)
		c, err := client.New(server.URL+"/api/v1", client.Config{
			Tenant: t.Name, Key: key.String(), HTTPClient: &http.Client{Transport: transport},
		})
		require.NoError(b, err)
		s.clients = append(s.clients, c)
	}
	s.addNodes(b, nodes)
	return s
}

func (s *benchServer) addNodes(b *testing.B, nodes int) {
	b.Helper()
	for first := 0; first < nodes; first += 1000 {
		batch := make([]*pool.Node, min(1000, nodes-first))
		for i := range batch {
			n := first + i
			batch[i] = &pool.Node{
				State: pool.Ready, Pool: "a", Hostname: fmt.Sprintf("node-%d", n),
				IPAddr: fmt.Sprintf("10.%d.%d.%d", n>>16, n>>8&255, n&255),
				Data:   pool.Data{"provision": map[string]any{"ipaddr": "10.0.0.1"}},
			}
		}
		_, err := s.db.NewInsert().Model(&batch).Exec(b.Context())
		require.NoError(b, err)
	}
	_, err := s.db.Exec("ANALYZE")
	require.NoError(b, err)
}

// restock makes retired nodes ready again until stop is called.
func (s *benchServer) restock(b *testing.B) (stop func()) {
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			_, err := s.db.NewUpdate().Model((*pool.Node)(nil)).
				Set("state = ?", pool.Ready).Set("session_id = NULL").
				Where("state = ?", pool.Deprovisioning).Where("retired_at IS NULL").Exec(ctx)
			if err != nil && !errors.Is(err, context.Canceled) {
				b.Error(err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// noAccess contextualizes without doing anything.
type noAccess struct{}

func (noAccess) Contextualize(context.Context, backend.Node, string) error { return nil }

func (noAccess) Decontextualize(context.Context, backend.Node) error { return nil }
