package pool

import (
	"context"
	"errors"
	"time"

	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/queue"
)

const (
	// Work that nobody has begun after this time is hinted at again: the job
	// may have been lost, or the workers are busy.
	hintAfter = 30 * time.Second
	hintEvery = time.Minute
)

// Reconcile finds nodes that stand still and has them go on: those whose worker
// died, if takeOver is set, those whose job was lost, failed ones that can be
// cleaned up; and it fills the pools. It may run anywhere, any number of times.
func (s *Service) Reconcile(ctx context.Context, takeOver bool) error {
	errs := []error{s.adopt(ctx)}
	if takeOver {
		errs = append(errs, s.takeOver(ctx))
	}
	errs = append(errs, s.hint(ctx), s.cleanUp(ctx))
	for _, c := range s.cfg.Pools.Concrete() {
		errs = append(errs, s.fills.do(ctx, c.Name, func() error { return s.Fill(ctx, c.Name) }))
	}
	return errors.Join(errs...)
}

// adopt has nodes that Duffy 3 was provisioning look like those of a worker that
// died. They are not waiting for their first worker: an instance may exist.
// Only Duffy 3 makes nodes that do not say since when they are in their state.
func (s *Service) adopt(ctx context.Context) error {
	now := s.now()
	_, err := s.db.NewUpdate().Model((*Node)(nil)).
		Where("state = ?", Provisioning).Where("retired_at IS NULL").
		Where("state_since IS NULL").Where("lease_owner IS NULL").
		Set("state_since = ?", now).
		Set("lease_owner = ?", "Duffy 3").
		Set("lease_until = ?", now).Exec(ctx)
	return err
}

// takeOver frees nodes whose lease has run out.
func (s *Service) takeOver(ctx context.Context) error {
	var nodes []*Node
	err := s.db.NewSelect().Model(&nodes).
		Where("state IN (?)", bun.List([]State{Provisioning, Deprovisioning})).
		Where("retired_at IS NULL").Where("lease_until < ?", s.now()).Scan(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range nodes {
		s.log.WarnContext(ctx, "taking over from a worker that is gone", "node", n.ID, "pool", n.Pool,
			"state", n.State, "owner", n.LeaseOwner)
		s.TookOver(n.State)
		if n.State == Provisioning {
			errs = append(errs, s.startOver(ctx, "its worker is gone", []*Node{n}))
			continue
		}
		errs = append(errs, s.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
			freed, err := returning(ctx, s.freed(tx, Deprovisioning, n))
			if err != nil || len(freed) == 0 {
				return err
			}
			return s.queue.Insert(ctx, tx, s.deprovisionJobs(freed, time.Time{})...)
		}))
	}
	return errors.Join(errs...)
}

// hint inserts jobs again for nodes that wait for a worker.
func (s *Service) hint(ctx context.Context) error {
	now := s.now()
	return s.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		nodes, err := returning(ctx, tx.NewUpdate().Model((*Node)(nil)).
			Where("state IN (?)", bun.List([]State{Provisioning, Deprovisioning})).
			Where("retired_at IS NULL").Where("lease_owner IS NULL").
			Where("retry_at <= ? OR (retry_at IS NULL AND (state_since IS NULL OR state_since < ?))", now, now.Add(-hintAfter)).
			Set("retry_at = ?", now.Add(hintEvery)))
		if err != nil || len(nodes) == 0 {
			return err
		}
		var jobs []queue.Job
		for _, n := range nodes {
			if n.State == Provisioning {
				jobs = append(jobs, provisionJob{n.Pool, []int64{n.ID}})
			} else {
				jobs = append(jobs, deprovisionJob{Pool: n.Pool, Nodes: []int64{n.ID}})
			}
		}
		return s.queue.Insert(ctx, tx, jobs...)
	})
}

// cleanUp deprovisions failed nodes of which enough is known for that. Those of
// pools that have no configuration wait for it.
func (s *Service) cleanUp(ctx context.Context) error {
	var known []string
	for _, c := range s.cfg.Pools.Concrete() {
		known = append(known, c.Name)
	}
	var ids []int64
	err := s.db.NewSelect().Model((*Node)(nil)).Column("id").
		Where("state = ?", Failed).Where("retired_at IS NULL").
		Where("pool IN (?)", bun.List(known)).
		Where("retry_at <= ?", s.now()).Scan(ctx, &ids)
	if err != nil {
		return err
	}
	var errs []error
	for _, id := range ids {
		err := s.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
			nodes, err := returning(ctx, s.move(tx, Failed, Deprovisioning, id).
				Set("retry_at = NULL"))
			if err != nil || len(nodes) == 0 {
				return err
			}
			return s.queue.Insert(ctx, tx, s.deprovisionJobs(nodes, time.Time{})...)
		})
		if _, taken := db.UniqueViolation(err); taken {
			s.log.WarnContext(ctx, "cannot clean up a failed node: another one has its hostname or address", "node", id)
			_, err = s.update(s.db, Failed, id).Set("retry_at = NULL").Exec(ctx)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
