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
	mu            sync.Mutex
	machines      map[owner]Machine
	installations []string // that asked for something, in order
	faults        []Fault
	calls         []Call
}

// An owner is whose machine it is: a node of a Duffy.
type owner struct {
	installation string
	id           int64
}

// New returns a backend without machines.
func New() *Backend { return &Backend{} }

// A Machine is what stands behind a provisioned node.
type Machine struct {
	Installation string // as the request that made it says
	ID           int64  // of the node

	Hostname string
	IPAddr   string
	SSHKey   string // of the tenant that has access, as handed to Contextualize
}

// Machines returns the machines that exist, by rising ID.
func (b *Backend) Machines() []Machine {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.SortedFunc(maps.Values(b.machines), func(x, y Machine) int {
		return cmp.Or(cmp.Compare(x.ID, y.ID), cmp.Compare(x.IPAddr, y.IPAddr))
	})
}

// Machine returns the machine of a node, and whether there is one. Of several
// Duffys' it is that of the Duffy that asked for something first.
func (b *Backend) Machine(id int64) (Machine, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.find(id, func(Machine) bool { return true })
}

// find returns the machine of a node that is as told. b.mu is held.
func (b *Backend) find(id int64, is func(Machine) bool) (Machine, bool) {
	for _, installation := range b.installations {
		if m, ok := b.machines[owner{installation, id}]; ok && is(m) {
			return m, true
		}
	}
	return Machine{}, false
}

// at finds the machine of a node by its address.
func (b *Backend) at(node *backend.Node) (Machine, bool) {
	return b.find(node.ID, func(m Machine) bool { return m.IPAddr == node.IPAddr })
}

func (m Machine) owner() owner { return owner{m.Installation, m.ID} }

// Provision makes a machine for each node, with the address 10.x.y.z where x.y.z
// is the ID, or 11.x.y.z and so on for other Duffys than the first. A node that has a
// machine gets a fresh one, without the tenant.
func (b *Backend) Provision(ctx context.Context, req backend.Request) ([]backend.Node, error) {
	return b.call(ctx, Provision, req.Nodes, func(node *backend.Node) error {
		m, ok := b.at(node)
		if !ok {
			m = b.newMachine(req.Installation, node.ID)
		}
		m.SSHKey = ""
		b.machines[m.owner()] = m
		node.Hostname, node.IPAddr = m.Hostname, m.IPAddr
		node.Provision = map[string]any{"hostname": m.Hostname, "ipaddr": m.IPAddr}
		return nil
	})
}

// newMachine returns what the machine of a node is like that has no address yet.
func (b *Backend) newMachine(installation string, id int64) Machine {
	if b.machines == nil {
		b.machines = map[owner]Machine{}
	}
	network := slices.Index(b.installations, installation)
	if network < 0 {
		network = len(b.installations)
		b.installations = append(b.installations, installation)
	}
	return Machine{
		Installation: installation, ID: id,
		Hostname: fmt.Sprintf("node-%d.test", id),
		IPAddr:   fmt.Sprintf("%d.%d.%d.%d", 10+network, byte(id>>16), byte(id>>8), byte(id)),
	}
}

// Deprovision removes the machines of nodes: those at their addresses, or else those
// that this Duffy had made for them.
func (b *Backend) Deprovision(ctx context.Context, req backend.Request) ([]backend.Node, error) {
	return b.call(ctx, Deprovision, req.Nodes, func(node *backend.Node) error {
		if m, ok := b.at(node); ok {
			delete(b.machines, m.owner())
		}
		delete(b.machines, owner{req.Installation, node.ID})
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
	m, ok := b.at(node)
	if !ok {
		return fmt.Errorf("node %d: its machine is not at %q", node.ID, node.IPAddr)
	}
	m.SSHKey = sshKey
	b.machines[m.owner()] = m
	return nil
}
