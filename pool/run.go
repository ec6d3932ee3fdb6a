package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/internal/foreign/seam"
)

// A run is one run of a pool's backend, with all that is known once it is over.
type run struct {
	owner        string // of the lease on the nodes
	pool         string
	installation string
	config       *Config // nil if the pool is not configured
	nodes        []*Node // as they were when the run began

	got     []backend.Node
	err     error
	stopped bool // it had to end early, since the worker is to end
	lost    bool // it had to end early, since the lease was lost
}

// run has the backend do something with nodes, within a time limit. held ends with
// the lease on the nodes.
func (s *Service) run(held context.Context, owner, pool, installation string, nodes []*Node,
	call func(backend.Backend, context.Context, backend.Request) ([]backend.Node, error),
	limit func(*Config) time.Duration,
) *run {
	slices.SortFunc(nodes, func(a, b *Node) int { return int(a.ID - b.ID) })
	r := &run{owner: owner, pool: pool, installation: installation, config: s.cfg.Pools.Get(pool), nodes: nodes}
	r.got, r.err = s.call(held, r, call, limit)
	r.lost = errors.Is(context.Cause(held), ErrLeaseLost)
	r.stopped = interrupted(held)
	for i := range r.got {
		r.got[i].Provision = told(r.got[i])
	}
	return r
}

// call calls the backend of a run within the pool's time limit.
func (s *Service) call(ctx context.Context, r *run,
	call func(backend.Backend, context.Context, backend.Request) ([]backend.Node, error),
	limit func(*Config) time.Duration,
) ([]backend.Node, error) {
	c := r.config
	if c == nil || c.Abstract {
		return nil, noPoolError(r.pool)
	}
	b := s.cfg.Backends[c.Backend]
	if b == nil {
		return nil, fmt.Errorf("pool '%s': there is no backend called '%s'", r.pool, c.Backend)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit(c), errTimeLimit)
	defer cancel()
	req := backend.Request{Installation: r.installation, Pool: c.backendPool()}
	for _, n := range r.nodes {
		req.Nodes = append(req.Nodes, n.ForBackend())
	}
	got, err := call(seam.Backend(b), ctx, req)
	if err != nil && errors.Is(context.Cause(ctx), errTimeLimit) {
		err = fmt.Errorf("%w of %s: %w", errTimeLimit, limit(c), err)
	}
	return got, err
}

// told returns what a backend told of a machine: its address at least, if it told that
// much, so that there is always something to remove the machine by.
func told(n backend.Node) map[string]any {
	if len(n.Provision) > 0 || n.IPAddr == "" {
		return n.Provision
	}
	return map[string]any{"ipaddr": n.IPAddr}
}

func byID(nodes []backend.Node) map[int64]backend.Node {
	m := make(map[int64]backend.Node, len(nodes))
	for _, n := range nodes {
		m[n.ID] = n
	}
	return m
}

// result says in a word what became of a run that succeeded for some of its nodes.
func (r *run) result(done int) string {
	switch {
	case r.lost:
		return "lease_lost"
	case r.err == nil && done == len(r.nodes):
		return "ok"
	case r.stopped:
		return "interrupted"
	case errors.Is(r.err, errTimeLimit):
		return "timeout"
	case errors.As(r.err, new(noPoolError)):
		return "no_pool"
	case r.err == nil && done > 0:
		return "partial"
	}
	return "failed"
}

// A noPoolError names a pool that has no configuration, or is empty if it is not
// known which pool it is.
type noPoolError string

func (name noPoolError) Error() string {
	if name == "" {
		return "it is not known which pool the node is of"
	}
	return fmt.Sprintf("pool '%s' not found", string(name))
}

var errTimeLimit = errors.New("not finished within the time limit")
