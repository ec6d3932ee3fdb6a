package session

import (
	"context"
	"errors"
	"time"

	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/fault"
	"github.com/duffy-ci/duffy/pool"
	"github.com/duffy-ci/duffy/queue"
	"github.com/duffy-ci/duffy/tenant"
)

// expireJob asks to retire a session that has expired.
type expireJob struct {
	Session int64     `json:"session"`
	At      time.Time `json:"at,omitzero"`
}

func (expireJob) Kind() string           { return "expire_session" }
func (j expireJob) NotBefore() time.Time { return j.At }

const expireTimeout = time.Minute

// Handle registers the sessions' background work with mux.
func (s *Service) Handle(mux *queue.Mux) {
	queue.Handle(mux, expireTimeout, func(ctx context.Context, j expireJob) error {
		return s.expire(ctx, j.Session)
	})
}

// nobody acts when nobody asked.
var nobody = &tenant.Tenant{IsAdmin: true}

// expire retires the session with id if it has expired. It does not wait for who has
// locked it: the next reconcile comes soon.
func (s *Service) expire(ctx context.Context, id int64) error {
	return unlessHeld(db.Briefly(ctx, s.db, func(ctx context.Context, tx bun.Tx) error {
		ses, err := s.lockTx(ctx, tx, nobody, id)
		switch {
		case errors.Is(err, fault.NotFound):
			return nil
		case err != nil:
			return err
		case !ses.Active() || ses.ExpiresAt == nil || ses.ExpiresAt.After(s.now()):
			return nil
		}
		s.log.InfoContext(ctx, "session expired", "session", id, "tenant", ses.Tenant.Name)
		return s.retireTx(ctx, tx, ses)
	}))
}

// unlessHeld returns err unless it says that somebody else has locked what there is to
// do, which waits for the next reconcile then.
func unlessHeld(err error) error {
	if db.Held(err) {
		return nil
	}
	return err
}

// sweepMax bounds how many sessions or nodes one reconcile deals with.
const sweepMax = 1000

// Reconcile retires expired sessions, ends requests whose process died, see
// [pool.Service.Abandoned], and takes back nodes that no active session holds. Before,
// it takes up what Duffy 3 did on the same database. What somebody else has locked it
// leaves to the next time. It may run anywhere, any number of times.
func (s *Service) Reconcile(ctx context.Context) error {
	return errors.Join(s.findPools(ctx), s.settleStrays(ctx), s.expireAll(ctx), s.takeOver(ctx))
}

func (s *Service) expireAll(ctx context.Context) error {
	var ids []int64
	err := db.SkipLocked(s.db.NewSelect().Model((*Session)(nil)).Column("id").
		Where("retired_at IS NULL").Where("expires_at <= ?", s.now()).
		Limit(sweepMax)).Scan(ctx, &ids)
	if err != nil {
		return err
	}
	var errs []error
	for _, id := range ids {
		errs = append(errs, s.expire(ctx, id))
	}
	return errors.Join(errs...)
}

// takeOver ends requests whose process died between reserving nodes and
// answering: nobody knows of their sessions.
func (s *Service) takeOver(ctx context.Context) error {
	nodes, err := s.pools.Abandoned(ctx, pool.Contextualizing)
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range nodes {
		errs = append(errs, unlessHeld(db.Briefly(ctx, s.db, func(ctx context.Context, tx bun.Tx) error {
			return s.abandonTx(ctx, tx, n)
		})))
	}
	return errors.Join(errs...)
}

func (s *Service) abandonTx(ctx context.Context, tx bun.Tx, n *pool.Node) error {
	log := s.log.With("node", n.ID, "pool", n.Pool, "owner", n.LeaseOwner)
	var ses *Session
	if n.SessionID != nil {
		var err error
		ses, err = s.lockTx(ctx, tx, nobody, *n.SessionID)
		if err != nil && !errors.Is(err, fault.NotFound) {
			return err
		}
	}
	seized, err := s.pools.Seize(ctx, tx, n)
	switch {
	case err != nil || seized == nil:
		return err
	case ses == nil:
		log.WarnContext(ctx, "taking back a node whose request is gone")
		return s.pools.ReclaimNodesTx(ctx, tx, pool.Contextualizing, n.ID)
	}
	log.WarnContext(ctx, "ending a request whose process is gone", "session", ses.ID)
	if ses.Active() {
		return s.retireTx(ctx, tx, ses, pool.Contextualizing)
	}
	return s.pools.ReclaimTx(ctx, tx, ses.ID, pool.Contextualizing)
}
