package session

import (
	"context"
	"errors"

	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/pool"
)

// A stray is a node in the state of one that is in a session, whose row names no
// active session.
type stray struct {
	ID    int64
	State pool.State
	Held  *int64 // the active session that has it according to sessions_nodes
}

// settleStrays has strays name the session that holds them: Duffy 3, which may
// have run on the database at any time, writes that to sessions_nodes only. It
// takes back those that are deployed and that no session holds.
func (s *Service) settleStrays(ctx context.Context) error {
	strays, err := s.strays(ctx)
	if err != nil {
		return err
	}
	errs := []error{s.letGo(ctx)}
	for _, n := range strays {
		errs = append(errs, unlessHeld(db.Briefly(ctx, s.db, func(ctx context.Context, tx bun.Tx) error {
			return s.settleTx(ctx, tx, n)
		})))
	}
	return errors.Join(errs...)
}

func (s *Service) strays(ctx context.Context) ([]stray, error) {
	held := s.db.NewSelect().Model((*hold)(nil)).ColumnExpr("max(sn.session_id)").
		Join("JOIN sessions AS s ON s.id = sn.session_id").
		Where("sn.node_id = n.id").Where("s.retired_at IS NULL")
	var strays []stray
	err := s.db.NewSelect().Model((*pool.Node)(nil)).Column("n.id", "n.state").ColumnExpr("(?) AS held", held).
		Join("LEFT JOIN sessions AS named ON named.id = n.session_id AND named.retired_at IS NULL").
		Where("n.state IN (?)", bun.List([]pool.State{pool.Contextualizing, pool.Deployed})).
		Where("n.retired_at IS NULL").Where("named.id IS NULL").
		Where("n.lease_owner IS NULL OR n.state = ?", pool.Deployed). // the others are their requests'
		Limit(sweepMax).Scan(ctx, &strays)
	return strays, err
}

// letGo has failed nodes be cleaned up that something other than Duffy made fail while a session
// had them, once that is over.
func (s *Service) letGo(ctx context.Context) error {
	over := s.db.NewSelect().Model((*Session)(nil)).Column("id").Where("retired_at IS NOT NULL")
	picked := db.SkipLocked(s.db.NewSelect().Model((*pool.Node)(nil)).Column("id").
		Where("state = ?", pool.Failed).Where("retired_at IS NULL").
		Where("session_id IN (?)", over))
	_, err := s.db.NewUpdate().Model((*pool.Node)(nil)).With("picked", picked).
		Where("id IN (SELECT id FROM picked)").
		Set("session_id = NULL").Set("retry_at = ?", s.now()).Exec(ctx)
	return err
}

func (s *Service) settleTx(ctx context.Context, tx bun.Tx, n stray) error {
	switch {
	case n.Held != nil:
		s.log.InfoContext(ctx, "taking over a node that Duffy 3 handed out", "node", n.ID, "session", *n.Held)
		_, err := tx.NewUpdate().Model((*pool.Node)(nil)).
			Where("id = ?", n.ID).Where("state = ?", n.State).
			Set("session_id = ?", *n.Held).Exec(ctx)
		return err
	case n.State == pool.Deployed:
		s.log.WarnContext(ctx, "taking back a node without a session", "node", n.ID)
		return s.pools.ReclaimNodesTx(ctx, tx, pool.Deployed, n.ID)
	}
	return nil
}

// findPools gives nodes back their pool, of which their last session knows: Duffy
// 3 takes it away when it begins to deprovision them.
func (s *Service) findPools(ctx context.Context) error {
	last := s.db.NewSelect().Model((*hold)(nil)).Column("sn.pool").
		Where("sn.node_id = n.id").Order("sn.session_id DESC").Limit(1)
	picked := db.SkipLocked(s.db.NewSelect().Model((*pool.Node)(nil)).Column("id").
		Where("n.pool IS NULL").
		Where("n.state IN (?)", bun.List([]pool.State{pool.Deprovisioning, pool.Failed})).
		Where("n.retired_at IS NULL").
		Where("EXISTS (SELECT 1 FROM sessions_nodes AS sn WHERE sn.node_id = n.id)"))
	_, err := s.db.NewUpdate().Model((*pool.Node)(nil)).With("picked", picked).
		Set("pool = (?)", last).
		Where("n.id IN (SELECT id FROM picked)").Exec(ctx)
	return err
}
