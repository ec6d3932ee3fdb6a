package pool

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/fault"
)

// Failed returns the active nodes that are failed, in the order of their IDs.
// [Node.Reason] tells why.
func (s *Service) Failed(ctx context.Context) ([]*Node, error) {
	var nodes []*Node
	err := s.db.NewSelect().Model(&nodes).Where("state = ?", Failed).Where("retired_at IS NULL").Order("id").Scan(ctx)
	return nodes, err
}

// Reason returns what was last wrong with the node, empty if nothing was.
func (n *Node) Reason() string {
	failure, _ := n.Data["error"].(map[string]any)
	detail, _ := failure["detail"].(string)
	return detail
}

// interrupted tells whether an attempt at n was interrupted that may have left an
// instance behind.
func (n *Node) interrupted() bool {
	failure, _ := n.Data["error"].(map[string]any)
	return failure["interrupted"] == true
}

// RetryNodes has failed nodes deprovisioned, by whatever is known of them. All of
// them, or none if one is not failed, or nothing is known of its machine: fault.Invalid, or is
// unknown: fault.NotFound, or another node has its hostname or address, so that removing it could
// remove that one's machine: fault.Conflict. How they were when they were inspected counts no
// more: the caller has seen to them. With force the caller also says that the backend finds
// machines by the ids of nodes alone.
func (s *Service) RetryNodes(ctx context.Context, force bool, ids ...int64) error {
	return s.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		var nodes []*Node
		for _, id := range ids {
			n, err := s.retryTx(ctx, tx, force, id)
			if err != nil {
				return err
			}
			nodes = append(nodes, n)
		}
		return s.queue.Insert(ctx, tx, s.deprovisionJobs(nodes, time.Time{})...)
	})
}

func (s *Service) retryTx(ctx context.Context, tx bun.Tx, force bool, id int64) (*Node, error) {
	n := &Node{ID: id}
	err := tx.NewSelect().Model(n).WherePK().Where("state = ?", Failed).Where("retired_at IS NULL").Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return s.leaveFailed(ctx, tx, id, s.move(tx, Failed, Deprovisioning, id)) // says why not
	}
	if err != nil {
		return nil, err
	}
	if n.Forced = force; !s.canDeprovision(n) {
		return nil, fault.Newf(fault.Invalid, "node %d: %s: look for it, and retire the node; "+
			"or force it, if the backend finds machines by the ids of nodes alone, which on-interrupted: retry says of a pool", id, nothingKnown)
	}
	holder, err := s.holder(ctx, tx, n)
	if err != nil {
		return nil, err
	}
	if why := s.hits(n, holder); why != "" && !(force && !n.Reusable) {
		return nil, fault.Newf(fault.Conflict, "node %d: %s: retire it, or try again when that one is gone", id, why)
	}
	return s.leaveFailed(ctx, tx, id, dropData(s.removes(s.update(tx, Failed, id), holder), "ssh").
		Set("attempts = 0").Set("forced = ?", force))
}

// RetireNodes forgets failed nodes: nothing is left of them, or somebody has seen
// to it. Its errors are those of RetryNodes.
func (s *Service) RetireNodes(ctx context.Context, ids ...int64) error {
	return s.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		for _, id := range ids {
			if _, err := s.leaveFailed(ctx, tx, id, s.move(tx, Failed, Done, id).
				Set("retry_at = NULL").Set("retired_at = ?", s.now())); err != nil {
				return err
			}
		}
		return nil
	})
}

// leaveFailed runs a move of a failed node.
func (s *Service) leaveFailed(ctx context.Context, tx bun.Tx, id int64, move *bun.UpdateQuery) (*Node, error) {
	moved, err := returning(ctx, move)
	if _, taken := db.UniqueViolation(err); taken {
		return nil, fault.Wrap(fault.Conflict, err, "another active node has the hostname or address of this one: retire it instead")
	}
	if err != nil {
		return nil, err
	}
	if len(moved) == 1 {
		return moved[0], nil
	}
	n := &Node{ID: id}
	err = tx.NewSelect().Model(n).WherePK().Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fault.Newf(fault.NotFound, "there is no node %d", id)
	}
	if err != nil {
		return nil, err
	}
	return nil, fault.Newf(fault.Invalid, "node %d is %s, not failed", id, n.State)
}
