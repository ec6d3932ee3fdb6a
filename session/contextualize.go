package session

import (
	"context"
	"errors"
	"fmt"

	"github.com/uptrace/bun"
	"golang.org/x/sync/errgroup"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/internal/fault"
	"github.com/duffy-ci/duffy/pool"
)

var errContextualize = fault.Newf(fault.Unavailable, "contextualization of nodes failed")

// contextualize lets the tenant into all nodes at once.
func (h *handOut) contextualize(ctx context.Context) error {
	var all errgroup.Group
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	for _, sl := range h.slots {
		all.Go(func() error {
			err := h.contextualizeSlot(ctx, sl)
			if err != nil {
				cancel(err) // all or none
			}
			return err
		})
	}
	err := all.Wait()
	if errors.Is(err, backend.ErrNotTried) {
		h.reach.couldNotTry(err)
	}
	return err
}

// nodesTried is how many nodes of a pool are tried in one place.
const nodesTried = 3

// contextualizeSlot lets the tenant into the slot's node, or into another one of
// its pool if that does not answer.
func (h *handOut) contextualizeSlot(ctx context.Context, sl *slot) error {
	for tried := 1; ; tried++ {
		err := h.contextualizeNode(ctx, sl)
		switch {
		case err == nil:
			h.reach.answered()
			return nil
		case errors.Is(context.Cause(ctx), errContextualize): // of another slot
			return context.Cause(ctx)
		case ctx.Err() != nil:
			return fmt.Errorf("%w: %w", errContextualize, context.Cause(ctx))
		case errors.Is(err, backend.ErrNotTried), !h.reach.blame(sl.node, err):
			return unreachable(err)
		}
		if err := h.replace(ctx, sl, err, tried < nodesTried); err != nil {
			return err
		}
	}
}

func (h *handOut) contextualizeNode(ctx context.Context, sl *slot) error {
	limited, cancel := context.WithTimeout(ctx, h.cfg.NodeTimeout)
	defer cancel()
	err := h.pools.InspectFirst(limited, h.owner, sl.node)
	if err == nil {
		err = h.cfg.Contextualizer.Contextualize(limited, h.pools.ForContextualizer(sl.node), h.session.Tenant.SSHKey)
		sl.touched = !errors.Is(err, backend.ErrUntouched)
	}
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("no answer within %s: %w", h.cfg.NodeTimeout, err)
	}
	return err
}

// replace fails the slot's node, which does not answer, and puts another ready
// node of the pool in its place, if there is to be one.
func (h *handOut) replace(ctx context.Context, sl *slot, why error, another bool) error {
	bad := sl.node
	h.log.WarnContext(ctx, "node does not answer", "node", bad.ID, "pool", bad.Pool, "session", h.session.ID, "err", why)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	err := h.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		if err := h.pools.FailTx(ctx, tx, h.owner, "contextualizing node failed: "+why.Error(), bad.ID); err != nil {
			return err
		}
		gone := &hold{SessionID: h.session.ID, NodeID: bad.ID}
		if _, err := tx.NewDelete().Model(gone).WherePK().Exec(ctx); err != nil {
			return err
		}
		if err := h.queue.Insert(ctx, tx, h.pools.FillJobs(bad.Pool)...); err != nil {
			return err
		}
		if !another {
			return nil
		}
		h.newest = true // what befell a node may have befallen all that are as old
		nodes, err := h.reserveTx(ctx, tx, sl.spec, 1, false)
		if errors.Is(err, pool.ErrContended) {
			nodes, err = h.reserveTx(ctx, tx, sl.spec, 1, true)
		}
		if err != nil || len(nodes) == 0 {
			return err
		}
		sl.node, sl.touched = nodes[0], false
		return h.record(ctx, tx, []*slot{sl})
	})
	if err == nil && sl.node == bad {
		err = errContextualize
	}
	return err
}
