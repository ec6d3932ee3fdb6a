package duffy_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy"
	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/backend/fake"
	"github.com/duffy-ci/duffy/httpapi/apiv1"
	"github.com/duffy-ci/duffy/httpapi/client"
	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/pool"
	"github.com/duffy-ci/duffy/session"
	"github.com/duffy-ci/duffy/tenant"
)

// The databases of the benchmarks. PostgreSQL has its default settings: it waits
// for its disk.
var benchDatabases = []struct {
	name string
	url  func(testing.TB) string
}{
	{"postgres", dbtest.PostgresDurableURL},
	{"sqlite", func(t testing.TB) string { return "sqlite:///" + filepath.Join(t.TempDir(), "duffy.db") }},
}

// BenchmarkRequest hands out one node without SSH, from tables of different size
// all of whose nodes are ready.
func BenchmarkRequest(b *testing.B) {
	for _, database := range benchDatabases {
		for _, nodes := range []int{1_000, 100_000} {
			b.Run(fmt.Sprintf("%s/nodes=%d", database.name, nodes), func(b *testing.B) {
				s := newBench(b, database.url(b), nodes)
				admin, _ := s.tenant(b, tenant.Tenant{Name: "admin", SSHKey: "k", IsAdmin: true})
				r := session.Request{Specs: []session.Spec{{Quantity: 1, Pool: "a"}}}
				var took []time.Duration
				for b.Loop() {
					began := time.Now()
					ses, err := s.duffy.Sessions.Request(b.Context(), admin, r)
					took = append(took, time.Since(began))
					require.NoError(b, err)

					b.StopTimer()
					_, err = s.duffy.Sessions.Update(b.Context(), admin, ses.ID, session.Update{Retire: true})
					require.NoError(b, err)
					require.NoError(b, s.restock(b.Context()))
					b.StartTimer()
				}
				slices.Sort(took)
				b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
				b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
			})
		}
	}
}

// BenchmarkHandOuts has 16 tenants request and retire sessions of one node over
// HTTP, without SSH; clients, server and database share the machine. Retired
// nodes are ready again within 20 ms, so that it is the handing out that is
// measured. An op is a session requested and retired.
func BenchmarkHandOuts(b *testing.B) {
	for _, nodes := range []int{200, 100_000} {
		b.Run(fmt.Sprintf("postgres/nodes=%d", nodes), func(b *testing.B) {
			s := newBench(b, dbtest.PostgresDurableURL(b), nodes)
			clients := s.clients(b, 16)
			stop := s.keepStocked(b)
			defer stop()
			var left atomic.Int64
			left.Store(int64(b.N))
			var wg sync.WaitGroup
			b.ResetTimer()
			for _, c := range clients {
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

// BenchmarkGetSession reads a session of one node, with credentials, over HTTP.
func BenchmarkGetSession(b *testing.B) {
	for _, database := range benchDatabases {
		b.Run(database.name, func(b *testing.B) {
			s := newBench(b, database.url(b), 200)
			t, key := s.tenant(b, tenant.Tenant{Name: "alice", SSHKey: "k"})
			ses, err := s.duffy.Sessions.Request(b.Context(), t, session.Request{Specs: []session.Spec{{Quantity: 1, Pool: "a"}}})
			require.NoError(b, err)
			url := fmt.Sprintf("%s/api/v1/sessions/%d", s.url, ses.ID)
			b.SetParallelism(4)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := get(s.http, url, t.Name, key); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
		})
	}
}

func get(c *http.Client, url, name, key string) error {
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.SetBasicAuth(name, key)
	res, err := c.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return errors.New(res.Status)
	}
	_, err = io.Copy(io.Discard, res.Body)
	return err
}

// A bench is Duffy with ready nodes of pool "a", to which tenants are let in
// without anything being done.
type bench struct {
	duffy *duffy.Duffy
	db    *db.DB // another way to its database
	url   string
	http  *http.Client
}

func newBench(b *testing.B, url string, nodes int) *bench {
	b.Helper()
	pools, err := pool.NewSet(pool.Config{Name: "a", Backend: "fake", FillLevel: &nodes})
	require.NoError(b, err)
	d, err := duffy.New(b.Context(), duffy.Config{Database: url, Pools: pools}, duffy.Options{
		Backends: map[string]backend.Backend{"fake": fake.New()}, Contextualizer: noAccess{},
	})
	require.NoError(b, err)
	b.Cleanup(func() { d.Close() })
	require.NoError(b, d.Migrate(b.Context()))
	server := httptest.NewServer(d.Handler())
	b.Cleanup(server.Close)
	s := &bench{
		duffy: d, url: server.URL,
		http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32}},
	}
	s.db, err = db.Open(b.Context(), url, db.Config{})
	require.NoError(b, err)
	b.Cleanup(func() { s.db.Close() })
	s.addNodes(b, nodes)
	return s
}

func (s *bench) addNodes(b *testing.B, nodes int) {
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
	_, err := s.db.ExecContext(b.Context(), "ANALYZE")
	require.NoError(b, err)
}

func (s *bench) tenant(b *testing.B, t tenant.Tenant) (created *tenant.Tenant, key string) {
	b.Helper()
	created, id, err := s.duffy.Tenants.Create(b.Context(), t)
	require.NoError(b, err)
	_, err = s.duffy.Tenants.Authenticate(b.Context(), t.Name, id.String())
	require.NoError(b, err)
	return created, id.String()
}

// clients returns clients of so many tenants.
func (s *bench) clients(b *testing.B, n int) []*client.Client {
	b.Helper()
	clients := make([]*client.Client, n)
	for i := range clients {
		t, key := s.tenant(b, tenant.Tenant{Name: fmt.Sprintf("tenant-%d", i), SSHKey: "k"})
		var err error
		clients[i], err = client.New(s.url+"/api/v1", client.Config{Tenant: t.Name, Key: key, HTTPClient: s.http})
		require.NoError(b, err)
	}
	return clients
}

// restock makes retired nodes ready again.
func (s *bench) restock(ctx context.Context) error {
	_, err := s.db.NewUpdate().Model((*pool.Node)(nil)).
		Set("state = ?", pool.Ready).Set("session_id = NULL").
		Where("state = ?", pool.Deprovisioning).Where("retired_at IS NULL").Exec(ctx)
	return err
}

// keepStocked restocks until stop is called.
func (s *bench) keepStocked(b *testing.B) (stop func()) {
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if err := s.restock(ctx); err != nil && ctx.Err() == nil {
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
