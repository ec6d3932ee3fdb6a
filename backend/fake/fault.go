package fake

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/duffy-ci/duffy/backend"
)

// An Op is one of the things that a backend or contextualizer is asked to do.
type Op string

// What can be asked of a Backend.
const (
	Provision       Op = "provision"
	Deprovision     Op = "deprovision"
	Contextualize   Op = "contextualize"
	Decontextualize Op = "decontextualize"
)

// ErrUnreachable is an error to inject for a node that does not answer.
var ErrUnreachable = errors.New("no route to host")

// A Fault is something that goes wrong with calls. Unless it says otherwise, a
// call that fails has changed nothing, which its error tells: see
// [backend.ErrUntouched].
type Fault struct {
	In    Op    // the calls it befalls
	Node  int64 // only those that concern this node; 0 means any node
	Times int   // that many of them; 0 means all, until Heal

	Delay time.Duration // the call takes that long, less if its context ends
	Hang  bool          // the call returns only when its context ends, with its error
	Err   error         // the call fails with this error

	// Late lets Hang and Err strike after the work is done: a machine exists, or
	// a key is in place, and nobody is told.
	Late bool

	Missing int                   // that many nodes, the last ones, are not worked on and missing from the answer
	Change  func(n *backend.Node) // changes each node of the answer: no address, another's address, other data
}

// Inject adds a fault. A call is befallen by one fault at most, the first that
// was injected of those that match.
func (b *Backend) Inject(f Fault) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults = append(b.faults, f)
}

// Heal removes all faults. Calls that hang go on hanging.
func (b *Backend) Heal() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults = nil
}

// A Call is one call of a method.
type Call struct {
	Op    Op
	Nodes []int64
}

// Calls returns all calls so far, in the order in which they began.
func (b *Backend) Calls() []Call {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.calls)
}

// call records a call, does its work for one node after the other with b.mu
// held, and lets the fault that befalls it strike.
func (b *Backend) call(ctx context.Context, op Op, nodes []backend.Node, work func(*backend.Node) error) ([]backend.Node, error) {
	fault := b.begin(op, nodes)
	if !fault.Late {
		if err := fault.strike(ctx); err != nil {
			return nil, backend.Untouched(err)
		}
	}
	done := slices.Clone(nodes[:max(0, len(nodes)-fault.Missing)])
	if err := b.work(done, work); err != nil {
		return nil, err
	}
	if fault.Late {
		if err := fault.strike(ctx); err != nil {
			return nil, err
		}
	}
	if fault.Change != nil {
		for i := range done {
			fault.Change(&done[i])
		}
	}
	return done, nil
}

func (b *Backend) work(nodes []backend.Node, work func(*backend.Node) error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range nodes {
		if err := work(&nodes[i]); err != nil {
			return err
		}
	}
	return nil
}

// begin records a call and returns the fault that befalls it, the zero Fault if
// none does.
func (b *Backend) begin(op Op, nodes []backend.Node) Fault {
	b.mu.Lock()
	defer b.mu.Unlock()
	call := Call{Op: op, Nodes: make([]int64, len(nodes))}
	for i, node := range nodes {
		call.Nodes[i] = node.ID
	}
	b.calls = append(b.calls, call)

	i := slices.IndexFunc(b.faults, func(f Fault) bool {
		return f.In == op && (f.Node == 0 || slices.Contains(call.Nodes, f.Node))
	})
	if i < 0 {
		return Fault{}
	}
	fault := b.faults[i]
	switch fault.Times {
	case 0:
	case 1:
		b.faults = slices.Delete(b.faults, i, i+1)
	default:
		b.faults[i].Times--
	}
	return fault
}

// strike waits as f says, and returns the error that f makes of the call.
func (f Fault) strike(ctx context.Context) error {
	if f.Hang {
		<-ctx.Done()
	} else if f.Delay > 0 {
		select {
		case <-ctx.Done():
		case <-time.After(f.Delay):
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return f.Err
}
