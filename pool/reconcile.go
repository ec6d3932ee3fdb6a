package pool

import (
	"context"
	"errors"
	"time"

	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/internal/db"
)

const (
	// Work that nobody has begun after this time is hinted at again: the job
	// may have been lost, or the workers are busy.
	hintAfter = 30 * time.Second
	hintEvery = time.Minute
)

// Reconcile finds nodes that stand still and has them go on: those whose worker
// died, see [Service.Abandoned], those whose job was lost, failed ones that can be
// cleaned up, those that wait for their address; and it fills the pools. What somebody
// else has locked it leaves to the next time. It may run anywhere, any number of times.
func (s *Service) Reconcile(ctx context.Context) error {
	errs := []error{s.adopt(ctx), s.respell(ctx), s.takeOver(ctx), s.hint(ctx), s.cleanUp(ctx), s.recheck(ctx)}
	for _, c := range s.cfg.Pools.Concrete() {
		errs = append(errs, s.fills.do(ctx, c.Name, func() error { return s.fillNow(ctx, c) }))
	}
	return errors.Join(errs...)
}

// briefly runs do in a transaction, unless somebody else has locked what it needs.
func (s *Service) briefly(ctx context.Context, do func(context.Context, bun.Tx) error) error {
	err := db.Briefly(ctx, s.db, do)
	if db.Held(err) {
		return nil
	}
	return err
}

// due has q select nodes that are to be looked after now, of which none waits for
// longer than longest: a time beyond that was set before the database's clock went back.
func due(q *bun.SelectQuery, now time.Time, longest time.Duration) *bun.SelectQuery {
	return q.WhereGroup(" AND ", func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("retry_at <= ?", now).WhereOr("retry_at > ?", now.Add(longest))
	})
}

// adopt has nodes that Duffy 3 was provisioning look like those of a worker that
// died. They are not waiting for their first worker: an instance may exist.
// Only Duffy 3 makes nodes that do not say since when they are in their state.
func (s *Service) adopt(ctx context.Context) error {
	now := s.now()
	picked := db.SkipLocked(s.db.NewSelect().Model((*Node)(nil)).Column("id").
		Where("state = ?", Provisioning).Where("retired_at IS NULL").
		Where("state_since IS NULL").Where("lease_owner IS NULL"))
	_, err := s.db.NewUpdate().Model((*Node)(nil)).With("picked", picked).
		Where("id IN (SELECT id FROM picked)").
		Set("state_since = ?", now).
		Set("lease_owner = ?", "Duffy 3").
		Set("lease_until = ?", now).Exec(ctx)
	return err
}
