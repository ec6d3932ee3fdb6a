package pool

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/queue"
)

const (
	// deprovisionTries is how often deprovisioning is tried, over half an hour,
	// before a node fails. A failed one is tried again once in failedPause.
	deprovisionTries = 60
	failedPause      = 10 * time.Minute

	decontextualizeTimeout = 10 * time.Second
)

// deprovision runs a pool's backend for those nodes of j that are deprovisioning
// and that nobody works on.
func (s *Service) deprovision(ctx context.Context, j deprovisionJob) error {
	installation, err := s.Installation(ctx)
	if err != nil {
		return err
	}
	owner := NewOwner()
	nodes, err := s.claim(ctx, Deprovisioning, owner, j.Pool, j.Nodes)
	if err != nil || len(nodes) == 0 {
		return err
	}
	held, release := s.HoldLease(ctx, owner)
	defer release()
	nodes, err = s.refuse(ctx, owner, nodes)
	if err != nil || len(nodes) == 0 {
		return err
	}
	open := s.decontextualize(held, nodes)
	began := time.Now()
	r := s.run(held, owner, j.Pool, installation, nodes, backend.Backend.Deprovision, (*Config).deprovisionTimeout)
	s.metrics.ran(r, Deprovisioning, began, len(r.got))
	return s.settleDeprovisioned(ctx, r, open)
}

// refuse fails those of nodes whose machines nothing is known of, and returns the others: a
// backend that is told nothing may take that for all that there is.
func (s *Service) refuse(ctx context.Context, owner string, nodes []*Node) (known []*Node, err error) {
	var unknown []int64
	for _, n := range nodes {
		if s.canDeprovision(n) {
			known = append(known, n)
		} else {
			unknown = append(unknown, n.ID)
		}
	}
	if len(unknown) > 0 {
		_, err = s.fail(ctx, s.db, Deprovisioning, owner, "not deprovisioned: "+nothingKnown, time.Time{}, unknown...)
	}
	return known, err
}

const nothingKnown = "nothing is known of its machine, and a backend that is told nothing may remove others"

// canDeprovision tells whether a node's backend can tell its machine from others. Of reusable
// ones it is told what operators entered.
func (s *Service) canDeprovision(n *Node) bool {
	return n.Reusable || n.Forced || len(n.provision()) > 0 || s.cfg.Pools.Get(n.Pool).findsByID()
}

// decontextualize locks tenants out of nodes as far as the nodes let it: after
// use anything may be broken on them, and they are about to go. It returns why
// tenants may still have access, for those nodes where they may.
func (s *Service) decontextualize(ctx context.Context, nodes []*Node) map[int64]error {
	if s.cfg.Contextualizer == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, decontextualizeTimeout)
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex
	open := map[int64]error{}
	for _, n := range nodes {
		if n.IPAddr == "" {
			continue
		}
		wg.Go(func() {
			err := s.cfg.Contextualizer.Decontextualize(ctx, s.ForContextualizer(n))
			if err == nil {
				return
			}
			s.log.WarnContext(ctx, "cannot lock the tenant out of a node", "node", n.ID, "pool", n.Pool, "err", err)
			mu.Lock()
			defer mu.Unlock()
			open[n.ID] = err
		})
	}
	wg.Wait()
	return open
}

// carriesOver tells whether the next tenant of a node gets it with what the last one
// left, if that is unknown. Nodes that were never inspected are no matter: Duffy did
// not look at them before, and operators who have a failed one retried vouch for it.
func (s *Service) carriesOver(n *Node) bool {
	c := s.cfg.Pools.Get(n.Pool)
	return n.Reusable && n.wasHandedOut() && n.inspection() != nil && c != nil && !c.ReinstalledBy(s.cfg.Backends[c.Backend])
}

// settleDeprovisioned writes down what became of the nodes of a run. open tells where the
// last tenant may still have access.
func (s *Service) settleDeprovisioned(ctx context.Context, r *run, open map[int64]error) error {
	failed := func(err error) {
		s.log.WarnContext(ctx, "cannot write down what a backend removed, trying again", "pool", r.pool, "owner", r.owner, "err", err)
	}
	got := byID(r.got)
	return db.Insist(ctx, s.db, settleTimeout, failed, func(ctx context.Context, tx bun.Tx) error {
		var jobs []queue.Job
		for _, n := range r.nodes {
			_, ok := got[n.ID]
			more, err := s.settleNodeTx(ctx, tx, r, n, ok && r.err == nil, open[n.ID])
			if err != nil {
				return err
			}
			jobs = append(jobs, more...)
		}
		return s.queue.Insert(ctx, tx, jobs...)
	})
}

// settleNodeTx writes down what became of a node of a run that was to deprovision it. open is
// why the last tenant may still have access to it, nil if that is not so.
func (s *Service) settleNodeTx(ctx context.Context, tx bun.Tx, r *run, n *Node, removed bool, open error) ([]queue.Job, error) {
	switch {
	case removed && (open == nil || !s.carriesOver(n)):
		return s.gone(ctx, tx, r.owner, n)
	case r.stopped:
		freed, err := returning(ctx, s.freed(tx, n))
		return s.deprovisionJobs(freed, time.Time{}), err
	case removed && errors.Is(open, backend.ErrNotTried): // which is not up to the node
		return s.notGone(ctx, tx, r.owner, n, "the last tenant could not be locked out: "+open.Error())
	case removed:
		reason := "the last tenant may still have access, and nothing reinstalls the node: " + open.Error()
		_, err := s.fail(ctx, tx, Deprovisioning, r.owner, reason, s.now().Add(failedPause), n.ID)
		return nil, err
	case errors.As(r.err, new(noPoolError)):
		_, err := s.fail(ctx, tx, Deprovisioning, r.owner, "deprovisioning failed: "+r.err.Error(), s.now(), n.ID)
		return nil, err
	}
	reason := fmt.Sprintf("the backend deprovisioned %d of %d nodes", len(r.got), len(r.nodes))
	if r.err != nil {
		reason = r.err.Error()
	}
	return s.notGone(ctx, tx, r.owner, n, reason)
}

// gone moves a deprovisioned node to unused, or retires it.
func (s *Service) gone(ctx context.Context, tx bun.Tx, owner string, n *Node) ([]queue.Job, error) {
	if !n.Reusable {
		_, err := s.move(tx, Deprovisioning, Done, n.ID).
			Where("lease_owner = ?", owner).
			Set("session_id = NULL").
			Set("retired_at = ?", s.now()).Exec(ctx)
		return nil, err
	}
	q := s.move(tx, Deprovisioning, Unused, n.ID).
		Where("lease_owner = ?", owner).
		Set("session_id = NULL").
		Set("pool = NULL").
		Set("attempts = 0").
		Set("forced = FALSE").
		Set("retry_at = NULL")
	_, err := dropData(q, ephemeral...).Exec(ctx)
	return s.fillReusing(), err
}

// notGone has another try made later, or gives the node up. Pool and provision
// data stay, so that somebody can clean up.
func (s *Service) notGone(ctx context.Context, tx bun.Tx, owner string, n *Node, reason string) ([]queue.Job, error) {
	attempts := n.Attempts + 1
	if attempts >= deprovisionTries {
		reason = fmt.Sprintf("deprovisioning failed %d times, the last time: %s", attempts, reason)
		_, err := s.fail(ctx, tx, Deprovisioning, owner, reason, s.now().Add(failedPause), n.ID)
		return nil, err
	}
	retry := s.now().Add(pause(attempts))
	s.log.WarnContext(ctx, "deprovisioning failed", "node", n.ID, "pool", n.Pool,
		"attempts", attempts, "retry_at", retry, "reason", reason)
	q := s.freed(tx, n).
		Set("attempts = ?", attempts).
		Set("retry_at = ?", retry)
	freed, err := returning(ctx, setData(q, "error", failure(s.now(), reason)))
	return s.deprovisionJobs(freed, retry), err
}
