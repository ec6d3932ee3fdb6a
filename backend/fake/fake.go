// Package fake is a backend without machines, for tests: nodes are there at
// once, calls fail on demand, and a test can see what exists, who has access to
// it and what was asked for.
package fake

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/duffy-ci/duffy/backend"
)

// A Backend keeps machines in memory. It is both a [backend.Backend] and a
// [backend.Contextualizer], safe for concurrent use. The zero value has no
// machines and is ready to use.
type Backend struct {
	mu       sync.Mutex
	machines map[int64]Machine
	faults   []Fault
	calls    []Call
}

// New returns a backend without machines.
func New() *Backend { return &Backend{} }

// A Machine is what stands behind a provisioned node.
type Machine struct {
	ID       int64 // of the node
	Hostname string
	IPAddr   string
	SSHKey   string // of the tenant that has access, as handed to Contextualize
}

// Machines returns the machines that exist, by rising ID.
func (b *Backend) Machines() []Machine {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.SortedFunc(maps.Values(b.machines), func(x, y Machine) int { return cmp.Compare(x.ID, y.ID) })
}

// Machine returns the machine of a node, and whether there is one.
func (b *Backend) Machine(id int64) (Machine, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m, ok := b.machines[id]
	return m, ok
}

// Provision makes a machine for each node, with the address 10.x.y.z where x.y.z
// is the ID. A node that has a machine gets a fresh one, without the tenant.
func (b *Backend) Provision(ctx context.Context, req backend.Request) ([]backend.Node, error) {
	return b.call(ctx, Provision, req.Nodes, func(node *backend.Node) error {
		m := Machine{
			ID:       node.ID,
			Hostname: fmt.Sprintf("node-%d.test", node.ID),
			IPAddr:   fmt.Sprintf("10.%d.%d.%d", byte(node.ID>>16), byte(node.ID>>8), byte(node.ID)),
		}
		if b.machines == nil {
			b.machines = map[int64]Machine{}
		}
		b.machines[m.ID] = m
		node.Hostname, node.IPAddr = m.Hostname, m.IPAddr
		node.Provision = map[string]any{"hostname": m.Hostname, "ipaddr": m.IPAddr}
		return nil
	})
}

// Deprovision removes the machines of nodes.
func (b *Backend) Deprovision(ctx context.Context, req backend.Request) ([]backend.Node, error) {
	return b.call(ctx, Deprovision, req.Nodes, func(node *backend.Node) error {
		delete(b.machines, node.ID)
		return nil
	})
}

// Contextualize gives the tenant access to the node's machine, which must exist
// and have the node's address.
func (b *Backend) Contextualize(ctx context.Context, node backend.Node, sshKey string) error {
	_, err := b.call(ctx, Contextualize, []backend.Node{node}, func(node *backend.Node) error {
		return b.setSSHKey(node, sshKey)
	})
	return err
}

// Decontextualize takes the tenant's access away, under the same conditions.
func (b *Backend) Decontextualize(ctx context.Context, node backend.Node) error {
	_, err := b.call(ctx, Decontextualize, []backend.Node{node}, func(node *backend.Node) error {
		return b.setSSHKey(node, "")
	})
	return err
}

func (b *Backend) setSSHKey(node *backend.Node, sshKey string) error {
	m, ok := b.machines[node.ID]
	if !ok || m.IPAddr != node.IPAddr {
		return fmt.Errorf("node %d: its machine is not at %q", node.ID, node.IPAddr)
	}
	m.SSHKey = sshKey
	b.machines[node.ID] = m
	return nil
}
