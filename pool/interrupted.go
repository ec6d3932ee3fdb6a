package pool

import (
	"context"
	"errors"
	"time"

	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/queue"
)

// takeOver takes over nodes that their worker has abandoned, those of a pool together.
func (s *Service) takeOver(ctx context.Context) error {
	nodes, err := s.Abandoned(ctx, Provisioning, Deprovisioning, Failed)
	if err != nil {
		return err
	}
	byPool := map[string][]*Node{}
	for _, n := range nodes {
		byPool[n.Pool] = append(byPool[n.Pool], n)
	}
	var errs []error
	for _, nodes := range byPool {
		errs = append(errs, s.briefly(ctx, func(ctx context.Context, tx bun.Tx) error {
			seized, err := s.seizeAll(ctx, tx, nodes)
			if err != nil || len(seized) == 0 {
				return err
			}
			return s.takeOverTx(ctx, tx, seized)
		}))
	}
	return errors.Join(errs...)
}

// seizeAll is Seize for nodes, of which it returns those that it got.
func (s *Service) seizeAll(ctx context.Context, tx bun.Tx, nodes []*Node) (seized []*Node, err error) {
	for _, n := range nodes {
		got, err := s.Seize(ctx, tx, n)
		if err != nil {
			return nil, err
		}
		if got != nil {
			s.log.WarnContext(ctx, "taking over from a worker that is gone", "node", n.ID, "pool", n.Pool,
				"state", n.State, "owner", n.LeaseOwner)
			seized = append(seized, got)
		}
	}
	return seized, nil
}

// takeOverTx has the backend go on with nodes of a pool whose worker is gone. Throw-away
// ones that were provisioning fail, unless the pool says that they start over.
func (s *Service) takeOverTx(ctx context.Context, tx bun.Tx, nodes []*Node) error {
	const why = "its worker is gone"
	freed := map[State][]*Node{}
	for _, n := range nodes {
		var moved []*Node
		var err error
		switch again := startsAgain(s.cfg.Pools.Get(n.Pool), n); {
		case n.State == Deprovisioning:
			moved, err = returning(ctx, s.freed(tx, n))
		case n.State == Provisioning && again:
			moved, err = returning(ctx, setData(s.freed(tx, n), "error", interruption(s.now(), why)))
		default:
			err = s.failInterrupted(ctx, tx, n, why)
		}
		if err != nil {
			return err
		}
		freed[n.State] = append(freed[n.State], moved...)
	}
	jobs := append(s.provisionJobs(freed[Provisioning]), s.deprovisionJobs(freed[Deprovisioning], time.Time{})...)
	return s.queue.Insert(ctx, tx, append(jobs, s.FillJobs(nodes[0].Pool)...)...)
}

// failInterrupted fails a node of which an instance may exist that nobody knows. If another
// attempt told of one, it is cleaned up.
func (s *Service) failInterrupted(ctx context.Context, tx bun.Tx, n *Node, why string) error {
	q := setData(s.becomes(s.held(tx, n), Failed), "error", interruption(s.now(), mayExist+why))
	if len(n.provision()) > 0 {
		q.Set("retry_at = ?", s.now())
	} else {
		q.Set("retry_at = NULL")
	}
	failed, err := returning(ctx, q)
	s.logFailed(ctx, failed, Provisioning, mayExist+why)
	return err
}

// held starts the UPDATE of n if it is still in its state and leased as it was when it was
// read.
func (s *Service) held(db bun.IDB, n *Node) *bun.UpdateQuery {
	return s.update(db, n.State, n.ID).Where("lease_owner = ?", n.LeaseOwner)
}

// freed starts the UPDATE that takes the lease on n away from who had it when n
// was read.
func (s *Service) freed(db bun.IDB, n *Node) *bun.UpdateQuery { return free(s.held(db, n)) }

// hint inserts jobs again for nodes that wait for a worker, if the queue lost some.
func (s *Service) hint(ctx context.Context) error {
	if lost, err := s.lostJobs(ctx); err != nil || !lost {
		return err
	}
	now := s.now()
	return s.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		picked := db.SkipLocked(tx.NewSelect().Model((*Node)(nil)).Column("id").
			Where("state IN (?)", bun.List([]State{Provisioning, Deprovisioning})).
			Where("retired_at IS NULL").Where("lease_owner IS NULL").
			WhereGroup(" AND ", func(q *bun.SelectQuery) *bun.SelectQuery {
				return due(q, now, hintEvery).
					WhereOr("retry_at IS NULL AND (state_since IS NULL OR state_since < ? OR state_since > ?)",
						now.Add(-hintAfter), now.Add(hintAfter))
			}))
		nodes, err := returning(ctx, tx.NewUpdate().Model((*Node)(nil)).With("picked", picked).
			Where("id IN (SELECT id FROM picked)").
			Set("retry_at = ?", now.Add(hintEvery)))
		if err != nil || len(nodes) == 0 {
			return err
		}
		return s.queue.Insert(ctx, tx, s.jobs(nodes)...)
	})
}

// lostJobs tells whether fewer jobs wait than there is to do: then some were lost. If there
// are enough, the workers are busy, and more jobs would only pile up.
func (s *Service) lostJobs(ctx context.Context) (bool, error) {
	var idle []*Node
	err := s.db.NewSelect().Model(&idle).Column("id", "pool", "state").
		Where("state IN (?)", bun.List([]State{Provisioning, Deprovisioning})).
		Where("retired_at IS NULL").Where("lease_owner IS NULL").
		WhereGroup(" AND ", func(q *bun.SelectQuery) *bun.SelectQuery {
			return due(q, s.now(), hintEvery).WhereOr("retry_at IS NULL OR attempts = 0") // others have jobs that wait, too
		}).Scan(ctx)
	inspector, ok := s.queue.(queue.Inspector)
	if err != nil || len(idle) == 0 || !ok {
		return len(idle) > 0, err
	}
	load, err := inspector.Inspect(ctx)
	return load.Long.Waiting < len(s.jobs(idle)), err
}

// jobs returns the jobs for nodes that are provisioning or deprovisioning.
func (s *Service) jobs(nodes []*Node) []queue.Job {
	in := map[State][]*Node{}
	for _, n := range nodes {
		in[n.State] = append(in[n.State], n)
	}
	return append(s.provisionJobs(in[Provisioning]), s.deprovisionJobs(in[Deprovisioning], time.Time{})...)
}
