package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/internal/foreign/seam"
)

// provision runs a pool's backend for those nodes of j that are provisioning and
// that nobody works on.
func (s *Service) provision(ctx context.Context, j provisionJob) error {
	owner := NewOwner()
	nodes, err := s.claim(ctx, Provisioning, owner, j.Pool, j.Nodes)
	if err != nil || len(nodes) == 0 {
		return err
	}
	held, release := s.HoldLease(ctx, owner)
	defer release()
	c := s.cfg.Pools.Get(j.Pool)
	began := time.Now()
	got, runErr := s.run(held, c, j.Pool, nodes, backend.Backend.Provision, (*Config).provisionTimeout)
	s.metrics.ran(held, Provisioning, j.Pool, began, nodes, got, runErr)

	if errors.Is(context.Cause(held), ErrLeaseLost) {
		runErr = ErrLeaseLost
	}
	stopped := interrupted(held)
	var seen map[int64]backend.Inspection
	if runErr == nil {
		seen = s.inspect(held, c, nodes, got)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	return s.settleProvisioned(ctx, owner, c, nodes, got, seen, runErr, stopped)
}

// run calls a backend for nodes within the pool's time limit.
func (s *Service) run(ctx context.Context, c *Config, pool string, nodes []*Node,
	call func(backend.Backend, context.Context, backend.Request) ([]backend.Node, error),
	limit func(*Config) time.Duration,
) ([]backend.Node, error) {
	if c == nil || c.Abstract {
		return nil, noPoolError(pool)
	}
	b := s.cfg.Backends[c.Backend]
	if b == nil {
		return nil, fmt.Errorf("pool '%s': there is no backend called '%s'", pool, c.Backend)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit(c), errTimeLimit)
	defer cancel()
	slices.SortFunc(nodes, func(a, b *Node) int { return int(a.ID - b.ID) })
	req := backend.Request{Pool: c.backendPool()}
	for _, n := range nodes {
		req.Nodes = append(req.Nodes, n.ForBackend())
	}
	got, err := call(seam.Backend(b), ctx, req)
	if err != nil && errors.Is(context.Cause(ctx), errTimeLimit) {
		err = fmt.Errorf("%w of %s: %w", errTimeLimit, limit(c), err)
	}
	return got, err
}

func byID(nodes []backend.Node) map[int64]backend.Node {
	m := make(map[int64]backend.Node, len(nodes))
	for _, n := range nodes {
		m[n.ID] = n
	}
	return m
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

// settleProvisioned writes down what became of nodes. stopped tells that the run
// had to end early.
func (s *Service) settleProvisioned(ctx context.Context, owner string, c *Config, nodes []*Node,
	results []backend.Node, seen map[int64]backend.Inspection, runErr error, stopped bool,
) error {
	errs := []error{s.keepSurplus(ctx, nodes[0].Pool, results)}
	got := byID(results)
	var missing []*Node
	worked := false
	for _, n := range nodes {
		result, ok := got[n.ID]
		if !ok || result.IPAddr == "" || runErr != nil && !errors.Is(runErr, ErrLeaseLost) {
			missing = append(missing, n)
			continue
		}
		if i, ok := seen[n.ID]; ok {
			result.Inspection = &i
		}
		ready, err := s.ready(ctx, owner, n, result)
		worked = worked || ready
		errs = append(errs, err)
	}
	if worked {
		errs = append(errs, s.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
			return s.workedTx(ctx, tx, c.Name)
		}))
	}
	switch {
	case len(missing) == 0:
	case errors.Is(runErr, ErrLeaseLost):
		for _, n := range missing {
			if halfMade := got[n.ID]; len(halfMade.Provision) > 0 {
				errs = append(errs, s.late(ctx, s.db, n, halfMade))
			}
		}
	case stopped:
		errs = append(errs, s.handBack(ctx, owner, missing, got))
	default:
		reason := fmt.Sprintf("the backend provisioned %d of %d nodes", len(nodes)-len(missing), len(nodes))
		if runErr != nil {
			reason = runErr.Error()
		}
		errs = append(errs, s.unprovisioned(ctx, owner, reason, missing, got))
	}
	return errors.Join(errs...)
}
