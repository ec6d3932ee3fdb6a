package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/httpapi/apiv1"
	"github.com/duffy-ci/duffy/httpapi/client"
	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/pool"
)

// BenchmarkServe has 16 tenants request and retire sessions of one node from 1, 2
// and 4 "duffy serve" on one PostgreSQL with its default settings. Nodes answer SSH
// at once and are ready again 20 ms after they were given back. Clients, nodes,
// servers and database share the machine. An op is a session requested and retired;
// the p99 is of requests.
func BenchmarkServe(b *testing.B) {
	for _, servers := range []int{1, 2, 4} {
		b.Run(fmt.Sprint("serve=", servers), func(b *testing.B) {
			f := newFleet(b, dbtest.PostgresDurableURL(b), "app: {loglevel: warning}\n")
			d := f.open(b)
			require.NoError(b, f.addNodes(b.Context(), d, 200))
			during(b, func(ctx context.Context) { restock(ctx, d) })
			members := make([]*member, servers)
			for i := range members {
				members[i] = f.serving(b)
			}
			front := newBalancer(b, members...)
			clients := make([]*client.Client, 16)
			for i := range clients {
				clients[i] = f.client(b, fmt.Sprint("tenant-", i), front)
			}
			handOuts(b, clients, len(clients)*servers*2) // every server comes to know every tenant

			b.ResetTimer()
			took := handOuts(b, clients, b.N)
			b.StopTimer()
			slices.Sort(took)
			b.ReportMetric(float64(len(took))/b.Elapsed().Seconds(), "handouts/s")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
		})
	}
}

// handOuts has clients request and retire n sessions, and returns how long each
// request took.
func handOuts(b *testing.B, clients []*client.Client, n int) (took []time.Duration) {
	b.Helper()
	took = make([]time.Duration, n)
	var next atomic.Int64
	var all sync.WaitGroup
	for _, c := range clients {
		all.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				began := time.Now()
				s, err := c.RequestSession(b.Context(), apiv1.SessionCreate{NodesSpecs: []apiv1.NodesSpec{spec("a", 1)}})
				took[i] = time.Since(began)
				if err == nil {
					_, err = c.RetireSession(b.Context(), s.ID)
				}
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	return took
}

// restock makes nodes that were given back ready again.
func restock(ctx context.Context, d *db.DB) {
	_, _ = d.NewUpdate().Model((*pool.Node)(nil)).
		Set("state = ?", pool.Ready).Set("session_id = NULL").
		Where("state = ?", pool.Deprovisioning).Where("retired_at IS NULL").Exec(ctx)
	time.Sleep(20 * time.Millisecond)
}
