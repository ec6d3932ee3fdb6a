// Package backendtest has the suites that every [backend.Backend] and every
// [backend.Contextualizer] passes. A backend's whole test is
//
//	func TestBackend(t *testing.T) {
//		backendtest.Run(t, func(t *testing.T) backendtest.Subject {
//			return backendtest.Subject{Backend: mine.New(mine.Config{...})}
//		})
//	}
package backendtest

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/duffy-ci/duffy/backend"
)

// patience bounds every call, so that a backend that hangs fails its test
// instead of stopping it.
const patience = 2 * time.Minute

// A Subject is a backend to put to the test. Only Backend is required.
type Subject struct {
	Backend backend.Backend

	// Pool is the pool that all requests are for.
	Pool backend.Pool

	// Node returns what Duffy knows about a node before it is first provisioned,
	// for a backend that needs to be told, for example, which physical machine a
	// node is. IDs are 1 to 3. The default is a node with an ID and nothing else.
	Node func(id int64) backend.Node

	// Running reports whether the machine of a node that was provisioned exists.
	// With it, the suite sees for itself that machines come and go as told.
	Running func(t *testing.T, node backend.Node) bool

	// Exclusive tells that the machines are those of one Duffy, whatever others do:
	// they end with its process, for example.
	Exclusive bool

	// Unreachable cuts the backend off from its provider of machines, so that it
	// cannot see which ones exist, until back is called. Running still works.
	Unreachable func(t *testing.T) (back func())

	// Refusing has the provider refuse, or fail, to remove machines until back is
	// called. Otherwise it works.
	Refusing func(t *testing.T) (back func())

	installation string // of the Duffy that asks, empty is the usual one
}

// Run tests a backend. It calls open once for each of a few subtests, which run
// one after the other, provision the same three IDs again and again, and clean
// up behind them unless they fail. All in all a node is provisioned or
// deprovisioned about 40 times.
func Run(t *testing.T, open func(t *testing.T) Subject) {
	t.Run("Lifecycle", func(t *testing.T) { testLifecycle(t, open(t)) })
	t.Run("Several", func(t *testing.T) { testSeveral(t, open(t)) })
	t.Run("Concurrent", func(t *testing.T) { testConcurrent(t, open(t)) })
	t.Run("NeverProvisioned", func(t *testing.T) { testNeverProvisioned(t, open(t)) })
	t.Run("Cancelled", func(t *testing.T) { testCancelled(t, open(t)) })
	s := open(t) // which tells what else can be tried
	if !s.Exclusive && s.Node == nil {
		t.Run("Installations", func(t *testing.T) { testInstallations(t, open(t)) })
	}
	if s.Unreachable != nil {
		t.Run("Unreachable", func(t *testing.T) { testUnreachable(t, open(t)) })
	}
	if s.Refusing != nil {
		t.Run("Refusing", func(t *testing.T) { testRefusing(t, open(t)) })
	}
}

func testLifecycle(t *testing.T, s Subject) {
	node := s.provision(t, s.nodes(1))
	s.requireRunning(t, true, node)

	again := s.provision(t, s.nodes(1))
	s.requireRunning(t, true, again)

	s.deprovision(t, again)
	s.requireRunning(t, false, again)
	s.deprovision(t, again)

	anew := s.provision(t, s.nodes(1))
	s.requireRunning(t, true, anew)
	s.deprovision(t, anew)
	s.requireRunning(t, false, anew)
}

func testSeveral(t *testing.T, s Subject) {
	nodes := s.provision(t, s.nodes(1, 2, 3))
	s.requireRunning(t, true, nodes)

	s.deprovision(t, nodes[1:2])
	s.requireRunning(t, false, nodes[1:2])
	s.requireRunning(t, true, []backend.Node{nodes[0], nodes[2]})

	s.deprovision(t, nodes)
	s.requireRunning(t, false, nodes)
}

func testConcurrent(t *testing.T, s Subject) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()

	// The same node twice: a job that is believed lost may still be running.
	nodes := s.nodes(1, 2, 2)
	got := make([][]backend.Node, len(nodes))
	var calls errgroup.Group
	for i := range nodes {
		calls.Go(func() (err error) {
			got[i], err = s.Backend.Provision(ctx, s.request(nodes[i:i+1]))
			return err
		})
	}
	require.NoError(t, calls.Wait())
	for i := range nodes {
		require.Equal(t, ids(nodes[i:i+1]), ids(got[i]), "provisioned nodes")
	}

	first, second := stored(t, nodes[0], got[0][0]), stored(t, nodes[1], got[1][0])
	requireAddresses(t, []backend.Node{first, second})
	for _, node := range []backend.Node{first, second} {
		calls.Go(func() error {
			gone, err := s.Backend.Deprovision(ctx, s.request([]backend.Node{node}))
			if err == nil && len(gone) != 1 {
				err = fmt.Errorf("node %d was not deprovisioned", node.ID)
			}
			return err
		})
	}
	require.NoError(t, calls.Wait())
	s.requireRunning(t, false, []backend.Node{first, second})
}

// testNeverProvisioned asks for the removal of a node that is not there, which
// Duffy does when it does not know how far an interrupted Provision came.
func testNeverProvisioned(t *testing.T, s Subject) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	nodes := s.nodes(1)
	gone, err := s.Backend.Deprovision(ctx, s.request(nodes))
	require.NoError(t, err)
	require.Subset(t, ids(nodes), ids(gone), "deprovisioned nodes")
}

func testCancelled(t *testing.T, s Subject) {
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()

	_, err := s.Backend.Provision(cancelled, s.request(s.nodes(1)))
	require.Error(t, err, "Provision with a cancelled context")
	nodes := s.provision(t, s.nodes(1))

	_, err = s.Backend.Deprovision(cancelled, s.request(nodes))
	require.Error(t, err, "Deprovision with a cancelled context")
	s.deprovision(t, nodes)
}

// testInstallations has two Duffys, whose nodes have the same IDs, work with one
// provider.
func testInstallations(t *testing.T, s Subject) {
	other := s
	other.installation = "another"
	nodes := s.provision(t, s.nodes(1, 2))
	others := other.provision(t, other.nodes(1))
	requireAddresses(t, append(others, nodes...))

	other.deprovision(t, others)
	other.deprovision(t, other.nodes(1, 2)) // of which nothing is known
	s.requireRunning(t, false, others)
	s.requireRunning(t, true, nodes)

	others = other.provision(t, other.nodes(1))
	s.deprovision(t, nodes)
	s.deprovision(t, s.nodes(1))
	s.requireRunning(t, false, nodes)
	s.requireRunning(t, true, others)
	other.deprovision(t, others)
}

// testUnreachable shows that what cannot be looked at is not taken for gone.
func testUnreachable(t *testing.T, s Subject) {
	nodes := s.provision(t, s.nodes(1))
	never := s.nodes(2)
	back := s.Unreachable(t)
	s.requireNotGone(t, append(nodes, never...))
	got, err := s.provisioned(t, never)
	require.True(t, err != nil || len(got) == 0 || got[0].IPAddr == "", "a node was provisioned without its provider")
	s.requireRunning(t, true, nodes)
	back()
	s.deprovision(t, append(nodes, never...))
	s.requireRunning(t, false, nodes)
}

// testRefusing shows that a machine is not gone because its removal was asked for.
func testRefusing(t *testing.T, s Subject) {
	nodes := s.provision(t, s.nodes(1))
	back := s.Refusing(t)
	s.requireNotGone(t, nodes)
	s.requireRunning(t, true, nodes)
	back()
	s.deprovision(t, nodes)
	s.requireRunning(t, false, nodes)
}

// requireNotGone asks for the removal of nodes, one by one, which must fail.
func (s Subject) requireNotGone(t *testing.T, nodes []backend.Node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, node := range nodes {
		gone, err := s.Backend.Deprovision(ctx, s.request([]backend.Node{node}))
		require.True(t, err != nil || len(gone) == 0, "node %d is reported as gone", node.ID)
	}
}

func (s Subject) provisioned(t *testing.T, nodes []backend.Node) ([]backend.Node, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return s.Backend.Provision(ctx, s.request(nodes))
}

func (s Subject) request(nodes []backend.Node) backend.Request {
	return backend.Request{Installation: cmp.Or(s.installation, "usual"), Pool: s.Pool, Nodes: nodes}
}

func (s Subject) nodes(ids ...int64) []backend.Node {
	nodes := make([]backend.Node, len(ids))
	for i, id := range ids {
		nodes[i] = backend.Node{ID: id}
		if s.Node != nil {
			nodes[i] = s.Node(id)
			nodes[i].ID = id
		}
	}
	return nodes
}

// provision requires that all nodes get provisioned, and returns them as Duffy
// has them afterwards, in the same order.
func (s Subject) provision(t *testing.T, nodes []backend.Node) []backend.Node {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()

	req := s.request(nodes)
	before := fmt.Sprintf("%#v", req)
	got, err := s.Backend.Provision(ctx, req)
	require.NoError(t, err)
	require.Equal(t, before, fmt.Sprintf("%#v", req), "Provision changed its request")
	require.ElementsMatch(t, ids(nodes), ids(got), "provisioned nodes")

	made := make([]backend.Node, len(nodes))
	for i, node := range nodes {
		for _, g := range got {
			if g.ID == node.ID {
				made[i] = stored(t, node, g)
			}
		}
	}
	requireAddresses(t, made)
	return made
}

func (s Subject) deprovision(t *testing.T, nodes []backend.Node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()

	req := s.request(nodes)
	before := fmt.Sprintf("%#v", req)
	got, err := s.Backend.Deprovision(ctx, req)
	require.NoError(t, err)
	require.Equal(t, before, fmt.Sprintf("%#v", req), "Deprovision changed its request")
	require.ElementsMatch(t, ids(nodes), ids(got), "deprovisioned nodes")
}

func (s Subject) requireRunning(t *testing.T, want bool, nodes []backend.Node) {
	t.Helper()
	if s.Running == nil {
		return
	}
	for _, node := range nodes {
		require.Equal(t, want, s.Running(t, node), "node %d (%s) is running", node.ID, node.IPAddr)
	}
}

// stored returns asked with what provisioning told about it, after the way
// through the database, where numbers become float64.
func stored(t *testing.T, asked, made backend.Node) backend.Node {
	t.Helper()
	asked.Hostname, asked.IPAddr, asked.Provision = made.Hostname, made.IPAddr, nil
	text, err := json.Marshal(made.Provision)
	require.NoError(t, err, "what provisioning node %d told must be JSON", made.ID)
	require.NoError(t, json.Unmarshal(text, &asked.Provision))
	return asked
}

func requireAddresses(t *testing.T, nodes []backend.Node) {
	t.Helper()
	owner := map[netip.Addr]int64{}
	for _, node := range nodes {
		addr, err := netip.ParseAddr(node.IPAddr)
		require.NoError(t, err, "address of node %d", node.ID)
		other, taken := owner[addr]
		require.False(t, taken, "nodes %d and %d have the same address %s", other, node.ID, addr)
		owner[addr] = node.ID
	}
}

func ids(nodes []backend.Node) []int64 {
	ids := make([]int64, len(nodes))
	for i, node := range nodes {
		ids[i] = node.ID
	}
	return ids
}
