package pool

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/backend"
)

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
			case n.interrupted():
				err = s.failInterrupted(ctx, tx, owner, reason, n)
			default:
				nothing = append(nothing, n.ID)
			}
			if err != nil {
				return err
			}
		}
		if len(nothing) > 0 {
			if _, err := s.fail(ctx, tx, Provisioning, owner, reason, time.Time{}, nothing...); err != nil {
				return err
			}
		}
		if err := s.forgetFailed(ctx, tx, nodes[0].Pool); err != nil {
			return err
		}
		return s.failedTx(ctx, tx, nodes[0].Pool, reason)
	})
}

// handBack lets go of nodes whose provisioning was stopped by the end of the
// worker. Those in got are cleaned up, the others start over or fail.
func (s *Service) handBack(ctx context.Context, owner string, nodes []*Node, got map[int64]backend.Node) error {
	const why = "the worker was shut down"
	var errs []error
	var unknown []*Node
	for _, n := range nodes {
		known := got[n.ID]
		if len(known.Provision) == 0 {
			unknown = append(unknown, n)
			continue
		}
		errs = append(errs, s.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
			return s.halfMade(ctx, tx, owner, why, n, known)
		}))
	}
	if len(unknown) > 0 {
		errs = append(errs, s.startOver(ctx, why, unknown))
	}
	return errors.Join(errs...)
}

// halfMade fails a node of which enough is known to clean it up.
func (s *Service) halfMade(ctx context.Context, tx bun.Tx, owner, reason string, n *Node, known backend.Node) error {
	q := setData(s.update(tx, Provisioning, n.ID), "provision", known.Provision).
		Where("lease_owner = ?", owner).
		Set("attempts = 0")
	if _, err := q.Exec(ctx); err != nil {
		return err
	}
	failed, err := s.fail(ctx, tx, Provisioning, owner, reason, s.now(), n.ID)
	if err == nil && len(failed) == 0 {
		err = s.late(ctx, tx, n, known)
	}
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
				freed, err := returning(ctx, setData(s.freed(tx, Provisioning, n), "error", interruption(s.now(), why)))
				if err != nil {
					return err
				}
				again = append(again, freed...)
				continue
			}
			if err := s.failInterrupted(ctx, tx, n.LeaseOwner, why, n); err != nil {
				return err
			}
		}
		return s.queue.Insert(ctx, tx, append(s.provisionJobs(again), s.FillJobs(poolsOf(nodes)...)...)...)
	})
}

// failInterrupted fails a node of which an instance may exist that nobody knows.
func (s *Service) failInterrupted(ctx context.Context, tx bun.Tx, owner, why string, n *Node) error {
	reason := "provisioning was interrupted, an instance of it may exist: " + why
	q := setData(s.move(tx, Provisioning, Failed, n.ID), "error", interruption(s.now(), reason)).
		Where("lease_owner = ?", owner).
		Set("retry_at = NULL")
	failed, err := returning(ctx, q)
	s.logFailed(ctx, failed, Provisioning, reason)
	return err
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
