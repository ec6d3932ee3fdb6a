package pool

import (
	"context"
	"errors"
	"time"
)

const (
	// Work that nobody has begun after this time is hinted at again: the job
	// may have been lost, or the workers are busy.
	hintAfter = 30 * time.Second
	hintEvery = time.Minute
)

// Reconcile finds nodes that stand still and has them go on: those whose worker
// died, if takeOver is set, those whose job was lost, failed ones that can be
// cleaned up, those that wait for their address; and it fills the pools. It may run anywhere, any number of times.
func (s *Service) Reconcile(ctx context.Context, takeOver bool) error {
	errs := []error{s.adopt(ctx)}
	if takeOver {
		errs = append(errs, s.takeOver(ctx))
	}
	errs = append(errs, s.hint(ctx), s.cleanUp(ctx), s.recheck(ctx))
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
