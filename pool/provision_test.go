package pool_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/backend/fake"
	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/pool"
)

var errNoCapacity = errors.New("the cloud has no capacity left")

func TestFillTogetherAndOneByOne(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		together := throwAway("together", 4)
		together.Together = true
		idle := pool.Config{Name: "idle", Backend: "fake"}
		l := newLab(t, d, together, throwAway("single", 3), idle, pool.Config{Name: "base", Abstract: true})
		l.later(0)
		require.Equal(t, 4, l.levels("together")[pool.Ready])
		require.Equal(t, 3, l.levels("single")[pool.Ready])
		require.Empty(t, l.levels("idle"))
		sizes := map[int]int{}
		for _, c := range l.machines.Calls() {
			sizes[len(c.Nodes)]++
		}
		require.Equal(t, map[int]int{4: 1, 1: 3}, sizes)
		l.later(time.Minute)
		require.Equal(t, 4, l.levels("together")[pool.Ready], "a full pool stays as it is")
	})
}

// TestNeverOverfilled has many processes fill the same pool.
func TestNeverOverfilled(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		processes := []*lab{newLab(t, d, throwAway("a", 7)), newLab(t, d, throwAway("a", 7)), newLab(t, d, throwAway("a", 7))}
		var wg sync.WaitGroup
		for _, l := range processes {
			for range 5 {
				wg.Go(func() {
					if err := l.pools.Fill(t.Context(), "a"); err != nil {
						t.Error(err)
					}
				})
			}
		}
		wg.Wait()
		require.Equal(t, map[pool.State]int{pool.Provisioning: 7}, processes[0].levels("a"))
	})
}

// TestFailingPoolRests provisions for a pool whose backend fails for an hour.
func TestFailingPoolRests(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 5))
		l.machines.Inject(fake.Fault{In: fake.Provision, Err: errNoCapacity})
		l.later(0)
		require.Len(t, l.nodes(pool.Failed), 5)
		for _, n := range l.nodes(pool.Failed) {
			require.Equal(t, errNoCapacity.Error(), n.Reason())
			require.Equal(t, "a", n.Pool)
		}
		require.Equal(t, 1, l.trouble("a").Failures, "nodes that fail together are one failure")
		require.Equal(t, errNoCapacity.Error(), l.trouble("a").LastError)

		for range 60 * 60 / 10 {
			l.later(10 * time.Second)
		}
		require.Less(t, len(l.machines.Calls()), 130, "the pauses grow")
		require.Greater(t, len(l.machines.Calls()), 100)
		require.LessOrEqual(t, len(l.nodes(pool.Failed)), 11, "failed nodes do not pile up")

		l.machines.Heal()
		l.later(time.Minute)
		require.Equal(t, 5, l.levels("a")[pool.Ready], "a pool that works again is filled at once")
		require.Zero(t, l.trouble("a").Failures)
	})
}

func TestBackendReturnsTooFew(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := throwAway("a", 3)
		c.Together = true
		l := newLab(t, d, c)
		l.machines.Inject(fake.Fault{In: fake.Provision, Missing: 1, Times: 1})
		l.later(0)
		require.Equal(t, 2, l.levels("a")[pool.Ready])
		require.Len(t, l.nodes(pool.Failed), 1)
		require.Equal(t, "the backend provisioned 2 of 3 nodes", l.nodes(pool.Failed)[0].Reason())
		l.later(time.Minute)
		require.Equal(t, 3, l.levels("a")[pool.Ready])
	})
}

// TestBackendReturnsNoAddress leaves a machine that cannot be used, but removed.
func TestBackendReturnsNoAddress(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 1))
		l.machines.Inject(fake.Fault{In: fake.Provision, Times: 1, Change: func(n *backend.Node) { n.IPAddr = "" }})
		l.later(0)
		failed := l.nodes(pool.Failed)
		require.Len(t, failed, 1)
		require.Contains(t, failed[0].Data, "provision")
		l.later(time.Minute)
		require.Len(t, l.nodes(pool.Ready), 1)
		require.Len(t, l.machines.Machines(), 1, "nothing leaks")
		n, err := l.pools.Node(t.Context(), failed[0].ID)
		require.NoError(t, err)
		require.Equal(t, pool.Done, n.State)
	})
}

// surplus is a backend that makes one machine too many, now and then.
type surplus struct {
	*fake.Backend
	extra backend.Node
	times int
}

func (s *surplus) Provision(ctx context.Context, req backend.Request) ([]backend.Node, error) {
	nodes, err := s.Backend.Provision(ctx, req)
	if s.times > 0 {
		s.times--
		made, _ := s.Backend.Provision(ctx, backend.Request{Nodes: []backend.Node{{ID: 77}}})
		s.extra = made[0]
		s.extra.ID = 0
		nodes = append(nodes, s.extra)
	}
	return nodes, err
}

func (s *surplus) Deprovision(ctx context.Context, req backend.Request) ([]backend.Node, error) {
	for _, n := range req.Nodes {
		if n.IPAddr == s.extra.IPAddr {
			_, err := s.Backend.Deprovision(ctx, backend.Request{Nodes: []backend.Node{{ID: 77}}})
			return req.Nodes, err
		}
	}
	return s.Backend.Deprovision(ctx, req)
}

func TestBackendMakesTooMany(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 1))
		l.backends["fake"] = &surplus{Backend: l.machines, times: 1}
		l.later(0)
		require.Len(t, l.nodes(pool.Ready), 1)
		require.Len(t, l.machines.Machines(), 2)
		l.later(time.Minute)
		require.Len(t, l.nodes(pool.Ready), 1)
		require.Empty(t, l.nodes(pool.Failed))
		require.Len(t, l.machines.Machines(), 1, "nothing leaks")
	})
}

// TestReusableNodeFailsToProvision goes on with the machines that work.
func TestReusableNodeFailsToProvision(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := throwAway("metal", 2)
		c.ReuseNodes = map[string]any{"arch": "x86_64", "slots": int64(4)}
		l := newLab(t, d, c)
		for _, name := range []string{"1", "2"} {
			_, err := l.pools.CreateNode(t.Context(), pool.Node{
				Hostname: "m" + name, IPAddr: "192.0.2." + name, Reusable: true, Data: pool.Data{"arch": "x86_64", "slots": 4},
			})
			require.NoError(t, err)
		}
		broken := l.nodes(pool.Unused)[0].ID
		l.machines.Inject(fake.Fault{In: fake.Provision, Node: broken, Err: errNoCapacity})
		for range 60 {
			l.later(10 * time.Second)
		}
		require.Equal(t, 1, l.levels("metal")[pool.Ready])
		n, err := l.pools.Node(t.Context(), broken)
		require.NoError(t, err)
		require.Equal(t, pool.Unused, n.State)
		require.Empty(t, n.Pool)
		require.Equal(t, errNoCapacity.Error(), n.Reason())
		require.Less(t, len(l.machines.Calls()), 26, "a machine that never works is tried less and less often")

		l.machines.Heal()
		l.later(time.Minute)
		require.Equal(t, 2, l.levels("metal")[pool.Ready])
		require.Empty(t, l.nodes(pool.Ready)[0].Reason())
	})
}

func TestProvisionTimeout(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := throwAway("a", 1)
		c.ProvisionTimeout = 50 * time.Millisecond
		l := newLab(t, d, c)
		l.machines.Inject(fake.Fault{In: fake.Provision, Hang: true, Times: 1})
		l.later(0)
		require.Contains(t, l.nodes(pool.Failed)[0].Reason(), "not finished within the time limit of 50ms")
	})
}

func TestUnknownBackend(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := throwAway("a", 1)
		c.Backend = "cloud"
		l := newLab(t, d, c)
		l.later(0)
		require.Contains(t, l.nodes(pool.Failed)[0].Reason(), "there is no backend called 'cloud'")
	})
}
