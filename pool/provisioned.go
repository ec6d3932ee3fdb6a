package pool

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"time"

	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/foreign"
)

// ready moves a node to ready with what the backend said about it. It reports
// false if that could not be.
func (s *Service) ready(ctx context.Context, owner string, n *Node, result backend.Node) (bool, error) {
	hostname := result.Hostname
	if hostname == "" {
		hostname = lookup(ctx, result.IPAddr)
	}
	set := func(q *bun.UpdateQuery) *bun.UpdateQuery {
		return q.Set("ipaddr = ?", result.IPAddr).Set("hostname = ?", hostname).
			Where("lease_owner = ?", owner)
	}
	data := map[string]any{"provision": result.Provision}
	if result.Inspection != nil {
		data["ssh"] = result.Inspection
	}
	moved, err := returning(ctx, mergeData(set(s.move(s.db, Provisioning, Ready, n.ID)), data, "error", "ssh").
		Set("attempts = 0").Set("retry_at = NULL"))
	switch _, taken := db.UniqueViolation(err); {
	case taken:
		reason := fmt.Sprintf("the backend returned hostname %q, ipaddr %q, and an active node has one of them already", hostname, result.IPAddr)
		_, err = returning(ctx, setData(set(s.update(s.db, Provisioning, n.ID)), "provision", result.Provision))
		if err == nil {
			_, err = s.fail(ctx, s.db, Provisioning, owner, reason, time.Time{}, n.ID)
		}
		return false, err
	case err != nil:
		return false, err
	case len(moved) == 0:
		result.Hostname = hostname
		return false, s.late(ctx, s.db, n, result)
	}
	s.log.InfoContext(ctx, "node ready", "node", n.ID, "pool", n.Pool, "hostname", hostname, "ipaddr", result.IPAddr)
	return true, nil
}

// keepSurplus makes nodes of machines that a backend made and nobody asked for,
// so that they are cleaned up. One that another node is known by stays failed.
func (s *Service) keepSurplus(ctx context.Context, pool string, results []backend.Node) error {
	const reason = "the backend made more nodes than it was asked for"
	now := s.now()
	var surplus []*Node
	for _, r := range results {
		if r.ID == 0 && len(r.Provision) > 0 {
			surplus = append(surplus, &Node{
				State: Failed, Pool: pool, Hostname: r.Hostname, IPAddr: r.IPAddr,
				Data:      Data{"provision": r.Provision, "error": failure(now, reason)},
				CreatedAt: now, StateSince: &now, RetryAt: &now,
			})
		}
	}
	if len(surplus) == 0 {
		return nil
	}
	_, err := s.db.NewInsert().Model(&surplus).Returning("id").Exec(ctx)
	s.logFailed(ctx, surplus, Provisioning, reason)
	return err
}

// late keeps what a backend said about a node that was given up meanwhile, so
// that it can be cleaned up.
func (s *Service) late(ctx context.Context, db bun.IDB, n *Node, result backend.Node) error {
	s.log.WarnContext(ctx, "node was provisioned after it was given up", "node", n.ID, "pool", n.Pool)
	_, err := setData(s.update(db, Failed, n.ID), "provision", result.Provision).
		Set("ipaddr = ?", bun.NullZero(result.IPAddr)).Set("hostname = ?", bun.NullZero(result.Hostname)).
		Set("retry_at = ?", s.now()).
		Where("ipaddr IS NULL").Exec(ctx)
	return err
}

const lookupTimeout = 2 * time.Second

// lookup returns the name of an address, or the address if it has none.
func lookup(ctx context.Context, ipaddr string) string {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	if names, err := net.DefaultResolver.LookupAddr(ctx, ipaddr); err == nil && len(names) > 0 {
		return cmp.Or(foreign.Hostname(names[0]), ipaddr)
	}
	return ipaddr
}
