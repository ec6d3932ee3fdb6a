package session_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/duffy-ci/duffy/backend"
)

var errKilled = errors.New("the process was killed")

// call does something with machines, unless the process is dead.
func (p *process) call(do func() ([]backend.Node, error)) ([]backend.Node, error) {
	alive := func() bool {
		p.waitIfFrozen()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.step()
		return !p.dead
	}
	if !alive() {
		return nil, errKilled
	}
	nodes, err := do()
	if !alive() {
		return nil, errKilled
	}
	return nodes, err
}

// busy knows what nodes backends work on, until the context of that ends, and whom they
// told of machines.
type busy struct {
	mu    sync.Mutex
	until map[int64]context.Context
	told  map[int64]*process
}

// tell notes that a process knows of machines.
func (b *busy) tell(p *process, nodes []backend.Node) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, n := range nodes {
		b.told[n.ID] = p
	}
}

// begin notes that a backend works on nodes, which it must not if one does already.
// It takes some time, for others to come.
func (p *process) begin(ctx context.Context, req backend.Request) (end func()) {
	defer func() {
		select {
		case <-ctx.Done():
		case <-time.After(moment / 5):
		}
	}()
	p.busy.mu.Lock()
	defer p.busy.mu.Unlock()
	for _, n := range req.Nodes {
		if other := p.busy.until[n.ID]; other != nil && other.Err() == nil && ctx.Err() == nil {
			p.mu.Lock()
			p.wrong = append(p.wrong, fmt.Sprintf("somebody else is working on node %d", n.ID))
			p.mu.Unlock()
		}
		if ctx.Err() == nil {
			p.busy.until[n.ID] = ctx
		}
	}
	return func() {
		p.busy.mu.Lock()
		defer p.busy.mu.Unlock()
		for _, n := range req.Nodes {
			if p.busy.until[n.ID] == ctx {
				delete(p.busy.until, n.ID)
			}
		}
	}
}

// Provision implements [backend.Backend].
func (p *process) Provision(ctx context.Context, req backend.Request) ([]backend.Node, error) {
	nodes, err := p.call(func() ([]backend.Node, error) {
		defer p.begin(ctx, req)()
		return p.machines.Provision(ctx, req)
	})
	if err == nil {
		p.busy.tell(p, nodes)
	}
	return nodes, err
}

// Deprovision implements [backend.Backend].
func (p *process) Deprovision(ctx context.Context, req backend.Request) ([]backend.Node, error) {
	return p.call(func() ([]backend.Node, error) {
		defer p.begin(ctx, req)()
		for _, n := range req.Nodes {
			m, _ := p.machines.Machine(n.ID)
			p.mu.Lock()
			if m.SSHKey != "" && !p.leftIn[n.ID] {
				p.wrong = append(p.wrong, fmt.Sprintf("node %d was deprovisioned with its tenant's key on it", n.ID))
			}
			p.mu.Unlock()
		}
		return p.machines.Deprovision(ctx, req)
	})
}

// Inspect implements [backend.Inspector].
func (p *process) Inspect(ctx context.Context, n backend.Node) (seen backend.Inspection, err error) {
	_, err = p.call(func() ([]backend.Node, error) {
		seen, err = p.machines.Inspect(ctx, n)
		return nil, err
	})
	return seen, err
}

// Contextualize implements [backend.Contextualizer].
func (p *process) Contextualize(ctx context.Context, n backend.Node, sshKey string) error {
	_, err := p.call(func() ([]backend.Node, error) { return nil, p.machines.Contextualize(ctx, n, sshKey) })
	return err
}

// Decontextualize implements [backend.Contextualizer].
func (p *process) Decontextualize(ctx context.Context, n backend.Node) error {
	_, err := p.call(func() ([]backend.Node, error) { return nil, p.machines.Decontextualize(ctx, n) })
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leftIn[n.ID] = err != nil
	return err
}
