package pool

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/internal/db"
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
	got, runErr := s.run(held, c, j.Pool, nodes, backend.Backend.Provision, (*Config).provisionTimeout)

	if errors.Is(context.Cause(held), ErrLeaseLost) {
		runErr = ErrLeaseLost
	}
	stopped := interrupted(held)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	return s.settleProvisioned(ctx, owner, c, nodes, got, runErr, stopped)
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
	got, err := call(b, ctx, req)
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
	results []backend.Node, runErr error, stopped bool,
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
	case len(missing) == 0 || errors.Is(runErr, ErrLeaseLost):
	case stopped:
		errs = append(errs, s.startOver(ctx, "the worker was shut down", missing))
	default:
		reason := fmt.Sprintf("the backend provisioned %d of %d nodes", len(nodes)-len(missing), len(nodes))
		if runErr != nil {
			reason = runErr.Error()
		}
		errs = append(errs, s.unprovisioned(ctx, owner, reason, missing, got))
	}
	return errors.Join(errs...)
}

// ready moves a node to ready with what the backend said about it. It reports
// false if that could not be.
func (s *Service) ready(ctx context.Context, owner string, n *Node, result backend.Node) (bool, error) {
	hostname := result.Hostname
	if hostname == "" {
		hostname = lookup(ctx, result.IPAddr)
	}
	set := func(q *bun.UpdateQuery) *bun.UpdateQuery {
		return q.Set("ipaddr = ?", result.IPAddr).Set("hostname = ?", hostname).
			Where("lease_owner = ?", owner)
	}
	moved, err := returning(ctx, setData(set(s.move(s.db, Provisioning, Ready, n.ID)),
		"provision", result.Provision, "error").Set("attempts = 0").Set("retry_at = NULL"))
	switch _, taken := db.UniqueViolation(err); {
	case taken:
		reason := fmt.Sprintf("the backend returned hostname %q, ipaddr %q, and an active node has one of them already", hostname, result.IPAddr)
		_, err = returning(ctx, setData(set(s.update(s.db, Provisioning, n.ID)), "provision", result.Provision))
		if err == nil {
			_, err = s.fail(ctx, s.db, Provisioning, owner, reason, false, n.ID)
		}
		return false, err
	case err != nil:
		return false, err
	case len(moved) == 0:
		return false, s.late(ctx, n, hostname, result)
	}
	s.log.InfoContext(ctx, "node ready", "node", n.ID, "pool", n.Pool, "hostname", hostname, "ipaddr", result.IPAddr)
	return true, nil
}

// keepSurplus makes nodes of machines that a backend made and nobody asked for,
// so that they are cleaned up. One that another node is known by stays failed.
func (s *Service) keepSurplus(ctx context.Context, pool string, results []backend.Node) error {
	const reason = "the backend made more nodes than it was asked for"
	now := s.now()
	var surplus []*Node
	for _, r := range results {
		if r.ID == 0 && len(r.Provision) > 0 {
			surplus = append(surplus, &Node{
				State: Failed, Pool: pool, Hostname: r.Hostname, IPAddr: r.IPAddr,
				Data:      Data{"provision": r.Provision, "error": failure(now, reason)},
				CreatedAt: now, StateSince: &now, RetryAt: &now,
			})
		}
	}
	if len(surplus) == 0 {
		return nil
	}
	_, err := s.db.NewInsert().Model(&surplus).Returning("id").Exec(ctx)
	s.logFailed(ctx, surplus, Provisioning, reason)
	return err
}

// late keeps what a backend said about a node that was given up meanwhile, so
// that it can be cleaned up.
func (s *Service) late(ctx context.Context, n *Node, hostname string, result backend.Node) error {
	s.log.WarnContext(ctx, "node was provisioned after it was given up", "node", n.ID, "pool", n.Pool)
	_, err := setData(s.update(s.db, Failed, n.ID), "provision", result.Provision).
		Set("ipaddr = ?", result.IPAddr).Set("hostname = ?", hostname).
		Set("retry_at = ?", s.now()).
		Where("ipaddr IS NULL").Exec(ctx)
	return err
}

// unprovisioned lets go of nodes that the backend failed to provision. Of those
// in got it left something behind, which is cleaned up.
func (s *Service) unprovisioned(ctx context.Context, owner, reason string, nodes []*Node, got map[int64]backend.Node) error {
	return s.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		var nothing []int64
		for _, n := range nodes {
			var err error
			switch halfMade := got[n.ID]; {
			case len(halfMade.Provision) > 0:
				err = s.halfMade(ctx, tx, owner, reason, n, halfMade)
			case n.Reusable:
				err = s.returnUnused(ctx, tx, owner, reason, n)
			default:
				nothing = append(nothing, n.ID)
			}
			if err != nil {
				return err
			}
		}
		if len(nothing) > 0 {
			if _, err := s.fail(ctx, tx, Provisioning, owner, reason, false, nothing...); err != nil {
				return err
			}
		}
		if err := s.forgetFailed(ctx, tx, nodes[0].Pool); err != nil {
			return err
		}
		return s.failedTx(ctx, tx, nodes[0].Pool, reason)
	})
}

// halfMade fails a node of which enough is known to clean it up.
func (s *Service) halfMade(ctx context.Context, tx bun.Tx, owner, reason string, n *Node, known backend.Node) error {
	q := setData(s.update(tx, Provisioning, n.ID), "provision", known.Provision).Where("lease_owner = ?", owner)
	if _, err := q.Exec(ctx); err != nil {
		return err
	}
	_, err := s.fail(ctx, tx, Provisioning, owner, reason, true, n.ID)
	return err
}

// returnUnused gives a reusable node back. One that never works is tried less
// and less often.
func (s *Service) returnUnused(ctx context.Context, tx bun.Tx, owner, reason string, n *Node) error {
	q := s.move(tx, Provisioning, Unused, n.ID).
		Where("lease_owner = ?", owner).
		Set("pool = NULL").
		Set("attempts = ?", n.Attempts+1).
		Set("retry_at = ?", s.now().Add(pause(n.Attempts+1)))
	_, err := setData(q, "error", failure(s.now(), reason), "provision").Exec(ctx)
	return err
}

// failedKept is how many failed nodes a pool shows whose backend said that it
// could not make them.
const failedKept = 10

// forgetFailed retires the older ones of those failed nodes of a pool of which
// nothing is known but that the backend failed, so that they do not pile up.
func (s *Service) forgetFailed(ctx context.Context, tx bun.Tx, pool string) error {
	var ids []int64
	q := tx.NewSelect().Model((*Node)(nil)).Column("id").
		Where("pool = ?", pool).Where("state = ?", Failed).Where("retired_at IS NULL").
		Where("NOT reusable").Where("ipaddr IS NULL").
		Order("id DESC").Limit(1000).Offset(failedKept)
	if err := notInterrupted(q).Where("retry_at IS NULL").Scan(ctx, &ids); err != nil || len(ids) == 0 {
		return err
	}
	_, err := s.move(tx, Failed, Done, ids...).Set("retired_at = ?", s.now()).Exec(ctx)
	return err
}

// startOver does as the pools' configuration says with nodes whose
// provisioning stopped half-way: they start over or fail.
func (s *Service) startOver(ctx context.Context, why string, nodes []*Node) error {
	return s.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		var again []*Node
		for _, n := range nodes {
			c := s.cfg.Pools.Get(n.Pool)
			if n.Reusable || c != nil && c.OnInterrupted == OnInterruptedRetry {
				freed, err := returning(ctx, s.freed(tx, Provisioning, n))
				if err != nil {
					return err
				}
				again = append(again, freed...)
				continue
			}
			reason := "provisioning was interrupted, an instance of it may exist: " + why
			q := setData(s.move(tx, Provisioning, Failed, n.ID), "error", interruption(s.now(), reason)).
				Where("lease_owner = ?", n.LeaseOwner)
			failed, err := returning(ctx, q)
			if err != nil {
				return err
			}
			s.logFailed(ctx, failed, Provisioning, reason)
		}
		return s.queue.Insert(ctx, tx, append(s.provisionJobs(again), s.FillJobs(poolsOf(nodes)...)...)...)
	})
}

// freed starts the UPDATE that takes the lease on n away from who had it when n
// was read.
func (s *Service) freed(db bun.IDB, state State, n *Node) *bun.UpdateQuery {
	return s.update(db, state, n.ID).
		Where("lease_owner = ?", n.LeaseOwner).
		Set("lease_owner = NULL").
		Set("lease_until = NULL")
}

func poolsOf(nodes []*Node) []string {
	var names []string
	for _, n := range nodes {
		if !slices.Contains(names, n.Pool) {
			names = append(names, n.Pool)
		}
	}
	return names
}

const lookupTimeout = 2 * time.Second

// lookup returns the name of an address, or the address if it has none.
func lookup(ctx context.Context, ipaddr string) string {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	if names, err := net.DefaultResolver.LookupAddr(ctx, ipaddr); err == nil && len(names) > 0 {
		return strings.TrimSuffix(names[0], ".")
	}
	return ipaddr
}
