package pool

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"time"

	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/queue"
)

// ErrLeaseLost is why the context of [Service.HoldLease] ends when somebody else
// has taken over.
var ErrLeaseLost = errors.New("the lease was lost: work took longer than its lease while the database could not be reached")

// NewOwner returns a name for the holder of leases, which nobody else uses.
func NewOwner() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return host + "/" + rand.Text()
}

// HoldLease renews the lease that owner has on nodes until release is called.
// The context that it returns ends with ctx, and with ErrLeaseLost as its cause
// as soon as the lease may have gone to somebody else.
func (s *Service) HoldLease(ctx context.Context, owner string) (held context.Context, release func()) {
	held, lose := context.WithCancelCause(ctx)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		s.renew(held, owner, lose)
	}()
	return held, func() {
		lose(context.Canceled)
		<-stopped
	}
}

// interrupted tells whether held ended because the worker is to stop, in whatever
// way the queue says so. It did not if the work itself took too long.
func interrupted(held context.Context) bool {
	why := context.Cause(held)
	return why != nil && !errors.Is(why, ErrLeaseLost) && !errors.Is(why, queue.ErrTimeout)
}

func (s *Service) renew(ctx context.Context, owner string, lose context.CancelCauseFunc) {
	every := s.cfg.Lease / 3
	next := time.NewTimer(every)
	defer next.Stop()
	// Not at the next tick, when somebody else may be at work already.
	ends := time.AfterFunc(s.cfg.Lease, func() { lose(ErrLeaseLost) })
	defer ends.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
		}
		next.Reset(every)
		began := time.Now()
		n, err := s.extend(ctx, owner)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.log.WarnContext(ctx, "cannot renew lease", "owner", owner, "err", err)
			next.Reset(every / 10) // an outage may be over any moment, and the lease soon
		case n == 0:
			lose(ErrLeaseLost)
			return
		default:
			ends.Reset(time.Until(began.Add(s.cfg.Lease)))
		}
	}
}

func (s *Service) extend(ctx context.Context, owner string) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Lease/3)
	defer cancel()
	res, err := s.db.NewUpdate().Model((*Node)(nil)).
		Where("lease_owner = ?", owner). // in whatever state something other than Duffy puts it
		Set("lease_until = ?", s.now().Add(s.cfg.Lease)).Exec(ctx)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// claim takes the lease on those nodes of a pool with ids that are in a state and
// that nobody works on, and returns them. Since the job was inserted nodes may
// have come to another pool. If it is not known whether that worked, it is done again:
// nobody else can give the lease back. Nodes that somebody has locked are left to another
// job: waiting for them would take a worker.
func (s *Service) claim(ctx context.Context, state State, owner, pool string, ids []int64) (nodes []*Node, err error) {
	failed := func(err error) {
		s.log.WarnContext(ctx, "cannot begin to work on nodes, trying again", "pool", pool, "nodes", ids, "err", err)
	}
	err = db.Insist(ctx, s.db, 0, failed, func(ctx context.Context, tx bun.Tx) error {
		picked := db.SkipLocked(tx.NewSelect().Model((*Node)(nil)).Column("id").
			Where("id IN (?)", bun.List(ids)).Where("state = ?", state).Where("retired_at IS NULL").
			Where("COALESCE(pool, '') = ?", pool).
			Where("lease_owner IS NULL OR lease_owner = ?", owner))
		nodes, err = returning(ctx, tx.NewUpdate().Model((*Node)(nil)).With("picked", picked).
			Where("id IN (SELECT id FROM picked)").
			Set("lease_owner = ?", owner).
			Set("lease_until = ?", s.now().Add(s.cfg.Lease)))
		return err
	})
	return nodes, err
}
