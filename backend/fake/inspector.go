package fake

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/duffy-ci/duffy/backend"
)

// An Inspector is a Backend that is a [backend.Inspector] and a [backend.Keeper] too.
// Calls of Inspect are recorded, and befallen by faults, like all others.
type Inspector struct {
	*Backend

	// Kept has Deprovision leave machines as they are, keys of tenants and all.
	Kept bool

	mu      sync.Mutex
	hostKey map[int64]int    // how often it was changed
	letIn   map[int64]string // by somebody else than Contextualize
}

// Inspect is the Op of [Inspector.Inspect].
const Inspect Op = "inspect"

// NewInspector returns an inspector without machines.
func NewInspector() *Inspector {
	return &Inspector{Backend: New(), hostKey: map[int64]int{}, letIn: map[int64]string{}}
}

// ChangeHostKey gives the machine of a node another host key.
func (i *Inspector) ChangeHostKey(id int64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.hostKey[id]++
}

// LetIn lets in the holder of sshKey, who is not the tenant, and nobody else if it is
// empty.
func (i *Inspector) LetIn(id int64, sshKey string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.letIn[id] = sshKey
}

// Keeps tells that machines are kept.
func (i *Inspector) Keeps(backend.Pool) bool { return i.Kept }

// Deprovision removes the machines of nodes, unless they are kept.
func (i *Inspector) Deprovision(ctx context.Context, req backend.Request) ([]backend.Node, error) {
	if i.Kept {
		return i.call(ctx, Deprovision, req.Nodes, func(*backend.Node) error { return nil })
	}
	return i.Backend.Deprovision(ctx, req)
}

// Provision makes new machines for nodes, or takes those that are kept.
func (i *Inspector) Provision(ctx context.Context, req backend.Request) ([]backend.Node, error) {
	before := map[string]Machine{}
	for _, m := range i.Machines() {
		before[m.IPAddr] = m
	}
	nodes, err := i.Backend.Provision(ctx, req)
	for _, n := range nodes {
		switch kept, ok := before[n.IPAddr]; {
		case i.Kept && ok:
			i.Backend.mu.Lock()
			i.machines[kept.owner()] = kept
			i.Backend.mu.Unlock()
		default:
			i.ChangeHostKey(n.ID)
			i.LetIn(n.ID, "")
		}
	}
	return nodes, err
}

// Inspect implements [backend.Inspector].
func (i *Inspector) Inspect(ctx context.Context, node backend.Node) (backend.Inspection, error) {
	var seen backend.Inspection
	_, err := i.call(ctx, Inspect, []backend.Node{node}, func(*backend.Node) error {
		if _, ok := i.at(&node); !ok {
			return fmt.Errorf("node %d: its machine is not at %q", node.ID, node.IPAddr)
		}
		seen = i.look(node.ID)
		return nil
	})
	return seen, err
}

func (i *Inspector) look(id int64) backend.Inspection {
	i.mu.Lock()
	defer i.mu.Unlock()
	sum := sha256.Sum256([]byte(i.letIn[id]))
	return backend.Inspection{
		User: "root", Port: 22, HostKeys: []string{fmt.Sprintf("fake node-%d-%d", id, i.hostKey[id])},
		AuthorizedKeysSHA256: hex.EncodeToString(sum[:]),
	}
}

// Contextualize implements [backend.Contextualizer].
func (i *Inspector) Contextualize(ctx context.Context, node backend.Node, sshKey string) error {
	if err := i.checkHostKey(node); err != nil {
		return err
	}
	return i.Backend.Contextualize(ctx, node, sshKey)
}

// Decontextualize implements [backend.Contextualizer].
func (i *Inspector) Decontextualize(ctx context.Context, node backend.Node) error {
	if err := i.checkHostKey(node); err != nil {
		return err
	}
	if err := i.Backend.Decontextualize(ctx, node); err != nil {
		return err
	}
	if node.Inspection != nil && node.Inspection.AuthorizedKeysSHA256 != i.look(node.ID).AuthorizedKeysSHA256 {
		return errors.New("somebody else than the tenant was let in")
	}
	return nil
}

func (i *Inspector) checkHostKey(node backend.Node) error {
	if node.Inspection != nil && node.HostKeys != backend.AnyHostKey && !slices.Equal(node.Inspection.HostKeys, i.look(node.ID).HostKeys) {
		return errors.New("its host key is another one")
	}
	return nil
}
