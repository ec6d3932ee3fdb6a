package pool

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/backend"
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
	owner := NewOwner()
	nodes, err := s.claim(ctx, Deprovisioning, owner, j.Pool, j.Nodes)
	if err != nil || len(nodes) == 0 {
		return err
	}
	held, release := s.HoldLease(ctx, owner)
	defer release()
	open := s.decontextualize(held, nodes)
	c := s.cfg.Pools.Get(j.Pool)
	began := time.Now()
	got, runErr := s.run(held, c, j.Pool, nodes, backend.Backend.Deprovision, (*Config).deprovisionTimeout)
	s.metrics.ran(held, Deprovisioning, j.Pool, began, nodes, got, runErr)

	stopped := interrupted(held)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	return s.settleDeprovisioned(ctx, owner, nodes, got, open, runErr, stopped)
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

// settleDeprovisioned writes down what became of nodes. stopped tells that the run
// had to end early.
func (s *Service) settleDeprovisioned(ctx context.Context, owner string, nodes []*Node,
	results []backend.Node, open map[int64]error, runErr error, stopped bool,
) error {
	got := byID(results)
	return s.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		var jobs []queue.Job
		for _, n := range nodes {
			var more []queue.Job
			var err error
			switch _, ok := got[n.ID]; {
			case ok && runErr == nil && (open[n.ID] == nil || !s.carriesOver(n)):
				more, err = s.gone(ctx, tx, owner, n)
			case stopped:
				var freed []*Node
				freed, err = returning(ctx, s.freed(tx, Deprovisioning, n))
				more = s.deprovisionJobs(freed, time.Time{})
			case ok && runErr == nil && errors.Is(open[n.ID], backend.ErrNotTried): // which is not up to the node
				more, err = s.notGone(ctx, tx, owner, n, "the last tenant could not be locked out: "+open[n.ID].Error())
			case ok && runErr == nil:
				reason := "the last tenant may still have access, and nothing reinstalls the node: " + open[n.ID].Error()
				_, err = s.fail(ctx, tx, Deprovisioning, owner, reason, s.now().Add(failedPause), n.ID)
			case errors.As(runErr, new(noPoolError)):
				_, err = s.fail(ctx, tx, Deprovisioning, owner, "deprovisioning failed: "+runErr.Error(), s.now(), n.ID)
			default:
				reason := fmt.Sprintf("the backend deprovisioned %d of %d nodes", len(got), len(nodes))
				if runErr != nil {
					reason = runErr.Error()
				}
				more, err = s.notGone(ctx, tx, owner, n, reason)
			}
			if err != nil {
				return err
			}
			jobs = append(jobs, more...)
		}
		return s.queue.Insert(ctx, tx, jobs...)
	})
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
		Set("retry_at = NULL")
	_, err := dropData(q, ephemeral...).Exec(ctx)
	return s.fillReusing(), err
}

// notGone has another try made later, or gives the node up. Pool and provision
// data stay, so that somebody can clean up.
func (s *Service) notGone(ctx context.Context, tx bun.Tx, owner string, n *Node, reason string) ([]queue.Job, error) {
	n.Attempts++
	if n.Attempts >= deprovisionTries {
		reason = fmt.Sprintf("deprovisioning failed %d times, the last time: %s", n.Attempts, reason)
		_, err := s.fail(ctx, tx, Deprovisioning, owner, reason, s.now().Add(failedPause), n.ID)
		return nil, err
	}
	retry := s.now().Add(pause(n.Attempts))
	s.log.WarnContext(ctx, "deprovisioning failed", "node", n.ID, "pool", n.Pool,
		"attempts", n.Attempts, "retry_at", retry, "reason", reason)
	q := s.update(tx, Deprovisioning, n.ID).
		Where("lease_owner = ?", owner).
		Set("lease_owner = NULL").
		Set("lease_until = NULL").
		Set("attempts = ?", n.Attempts).
		Set("retry_at = ?", retry)
	_, err := setData(q, "error", failure(s.now(), reason)).Exec(ctx)
	return s.deprovisionJobs([]*Node{n}, retry), err
}
