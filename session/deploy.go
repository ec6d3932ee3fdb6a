package session

import (
	"context"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/fault"
	"github.com/duffy-ci/duffy/pool"
)

const undoTimeout = 30 * time.Second

// deploy makes the session's nodes the tenant's, unless the session was retired
// meanwhile, which locking it keeps from happening now. If it is not known whether that
// worked, it finds out.
func (h *handOut) deploy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	nodes, err := h.deployIn(ctx, h.db)
	if err != nil || len(nodes) != len(h.slots) { // database/sql may have tried twice
		failed := func(err error) {
			h.log.WarnContext(ctx, "cannot hand out a session, trying again", "session", h.session.ID, "err", err)
		}
		err = db.Insist(ctx, h.db, 0, failed, func(ctx context.Context, tx bun.Tx) error {
			if nodes, err = h.deployIn(ctx, tx); err == nil && len(nodes) == 0 {
				nodes, err = h.deployed(ctx, tx)
			}
			return err
		})
	}
	if err != nil {
		return err
	}
	if len(nodes) != len(h.slots) {
		return errTakenAway
	}
	h.session.Nodes = nodes
	h.session.sortNodes()
	return nil
}

func (h *handOut) deployIn(ctx context.Context, db bun.IDB) ([]*pool.Node, error) {
	active := db.NewSelect().Model((*Session)(nil)).Column("id").
		Where("id = ?", h.session.ID).Where("retired_at IS NULL")
	if db.Dialect().Name() == dialect.PG {
		active = active.For("UPDATE")
	}
	return h.pools.Deploy(ctx, db, active, h.owner)
}

// deployed returns the nodes that an attempt made the tenant's whose answer was lost.
func (h *handOut) deployed(ctx context.Context, tx bun.Tx) ([]*pool.Node, error) {
	var nodes []*pool.Node
	err := tx.NewSelect().Model(&nodes).Where("session_id = ?", h.session.ID).Where("state = ?", pool.Deployed).Scan(ctx)
	return nodes, err
}

var errTakenAway = fault.Newf(fault.Unavailable, "the session was taken away while it was being made, try again")

// mayExist tells whether a session exists although making it failed: the commit may have
// worked whose answer was lost. SQLite's is never lost, and it uses the id again of a
// session that was not made: undoing that would undo the next one.
func (h *handOut) mayExist(ctx context.Context, err error) bool {
	return h.db.Dialect().Name() == dialect.PG && h.session != nil && h.session.ID != 0 &&
		(db.Unavailable(err) || ctx.Err() != nil)
}

// undo takes everything back that the request did so far, and returns why. If the database
// is away it goes on in the background, for as long as the session could last: nobody
// is told of it. What it cannot take back, reconcile will once the lease has ended.
func (h *handOut) undo(ctx context.Context, why error) error {
	limited, cancel := context.WithTimeout(ctx, undoTimeout)
	defer cancel()
	h.log.WarnContext(ctx, "session not handed out", "session", h.session.ID,
		"tenant", h.session.Tenant.Name, "reason", why)
	if err := h.db.RunInTx(limited, nil, h.undoTx); err != nil {
		h.log.ErrorContext(ctx, "cannot undo a session, going on to try", "session", h.session.ID, "err", err)
		go h.undoLater(ctx)
	}
	return why
}

func (h *handOut) undoLater(ctx context.Context) {
	ctx, cancel := context.WithDeadline(ctx, time.Now().Add(h.session.ExpiresAt.Sub(h.session.CreatedAt)))
	defer cancel()
	if err := db.Insist(ctx, h.db, undoTimeout, func(error) {}, h.undoTx); err != nil {
		h.log.ErrorContext(ctx, "cannot undo a session", "session", h.session.ID, "err", err)
		return
	}
	h.log.InfoContext(ctx, "session undone", "session", h.session.ID)
}

func (h *handOut) undoTx(ctx context.Context, tx bun.Tx) error {
	var clean []int64
	for _, sl := range h.slots {
		if !sl.touched {
			clean = append(clean, sl.node.ID)
		}
	}
	if err := h.pools.ReturnTx(ctx, tx, h.owner, clean...); err != nil {
		return err
	}
	if err := h.pools.ReclaimTx(ctx, tx, h.session.ID, pool.Contextualizing, pool.Deployed); err != nil {
		return err
	}
	if _, err := tx.NewDelete().Model((*hold)(nil)).Where("session_id = ?", h.session.ID).Exec(ctx); err != nil {
		return err
	}
	if _, err := tx.NewDelete().Model(h.session).WherePK().Exec(ctx); err != nil {
		return err
	}
	return h.queue.Insert(ctx, tx, h.pools.FillJobs(poolsOf(h.session.Data.NodesSpecs)...)...)
}
