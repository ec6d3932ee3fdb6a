package pool

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/internal/db"
)

// cleanUp deprovisions failed nodes of which enough is known for that. Those of
// pools that have no configuration wait for it, and those whose address another node has may
// have to wait for that one.
func (s *Service) cleanUp(ctx context.Context) error {
	var known []string
	for _, c := range s.cfg.Pools.Concrete() {
		known = append(known, c.Name)
	}
	var nodes []*Node
	q := db.SkipLocked(s.db.NewSelect().Model(&nodes).
		Where("state = ?", Failed).Where("retired_at IS NULL").
		Where("pool IN (?)", bun.List(known)).
		Where("lease_owner IS NULL OR lease_owner = ?", ownAddress))
	if err := due(q, s.now(), failedPause).Scan(ctx); err != nil {
		return err
	}
	var errs []error
	for _, n := range nodes {
		err := s.briefly(ctx, func(ctx context.Context, tx bun.Tx) error { return s.cleanUpTx(ctx, tx, n) })
		if _, taken := db.UniqueViolation(err); taken {
			err = nil // just now: the next reconcile sees by whom
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (s *Service) cleanUpTx(ctx context.Context, tx bun.Tx, n *Node) error {
	holder, err := s.holder(ctx, tx, n)
	if err != nil {
		return err
	}
	q := s.update(tx, Failed, n.ID).Where("COALESCE(lease_owner, '') = ?", n.LeaseOwner)
	if why := s.hits(n, holder); why != "" {
		s.log.WarnContext(ctx, "cannot clean up a failed node yet", "node", n.ID, "pool", n.Pool, "reason", why)
		_, err := q.Set("retry_at = ?", s.now().Add(pauseMin)).Exec(ctx)
		return err
	}
	nodes, err := returning(ctx, s.removes(q, holder))
	if err != nil || len(nodes) == 0 {
		return err
	}
	return s.queue.Insert(ctx, tx, s.deprovisionJobs(nodes, time.Time{})...)
}

// removes has q move failed nodes to deprovisioning. What another node has of names and addresses
// they cannot have then: what the backend needs is in what is known of their machines.
func (s *Service) removes(q *bun.UpdateQuery, holder *Node) *bun.UpdateQuery {
	if holder != nil {
		q.Set("hostname = NULL").Set("ipaddr = NULL")
	}
	return s.becomes(q, Deprovisioning).Set("retry_at = NULL")
}

// holder returns the node that is in use, or about to go, and has the hostname or address of a
// failed one; nil if there is none.
func (s *Service) holder(ctx context.Context, tx bun.Tx, n *Node) (*Node, error) {
	if n.Hostname == "" && n.IPAddr == "" {
		return nil, nil
	}
	var holders []*Node
	err := tx.NewSelect().Model(&holders).
		Where("retired_at IS NULL").Where("id <> ?", n.ID).
		Where("state NOT IN (?)", bun.List([]State{Provisioning, Failed})).
		Where("hostname = ? OR ipaddr = ?", n.Hostname, n.IPAddr).Scan(ctx)
	if err != nil || len(holders) == 0 {
		return nil, err
	}
	for _, h := range holders {
		if s.hits(n, h) != "" {
			return h, nil
		}
	}
	return holders[0], nil
}

// hits returns why removing the machine of a failed node may remove the one of the node that
// has its hostname or address, empty if it does not.
func (s *Service) hits(n, holder *Node) string {
	if holder == nil {
		return ""
	}
	why := fmt.Sprintf("node %d, which is %s, has its hostname or address", holder.ID, holder.State)
	switch {
	case n.Reusable, len(n.provision()) == 0:
		return why
	case s.cfg.Pools.Get(n.Pool).findsByID():
		return ""
	case sameData(n.provision(), holder.provision()):
		return why + ", and they are one machine as far as the backend told"
	case n.IPAddr == holder.IPAddr && (holder.State == Contextualizing || holder.State == Deployed):
		return why + ", and a tenant is on it"
	}
	return ""
}
