package pool

import (
	"context"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/fault"
	"github.com/duffy-ci/duffy/queue"
)

// Fill brings the pool called name up to its fill level: it makes new nodes, or
// takes unused ones, and has them provisioned. It counts nodes that are ready or
// provisioning, one caller at a time, so that a pool is never overfilled. A pool
// in trouble gets nothing before its pause is over, and then one node, to see
// whether it works again.
func (s *Service) Fill(ctx context.Context, name string) error {
	c := s.cfg.Pools.Get(name)
	if c == nil || c.Abstract {
		return fault.Newf(fault.NotFound, "there is no pool called %q", name)
	}
	return s.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error { return s.fillTx(ctx, tx, c) })
}

// fillNow is Fill unless somebody else keeps it from filling the pool.
func (s *Service) fillNow(ctx context.Context, c *Config) error {
	return s.briefly(ctx, func(ctx context.Context, tx bun.Tx) error { return s.fillTx(ctx, tx, c) })
}

func (s *Service) fillTx(ctx context.Context, tx bun.Tx, c *Config) error {
	if c.FillLevel == nil {
		return nil
	}
	if err := s.lockPool(ctx, tx, c.Name); err != nil {
		return err
	}
	missing, err := s.missing(ctx, tx, c)
	if err != nil || missing <= 0 {
		return err
	}
	nodes, err := s.allocate(ctx, tx, c, missing)
	if err != nil || len(nodes) == 0 {
		return err
	}
	s.log.InfoContext(ctx, "filling pool", "pool", c.Name, "nodes", len(nodes))
	return s.queue.Insert(ctx, tx, s.provisionJobs(nodes)...)
}

// lockPool keeps others from filling the pool, and from waiting for its nodes,
// until tx ends. On SQLite the transaction itself does.
func (s *Service) lockPool(ctx context.Context, tx bun.Tx, name string) error {
	if tx.Dialect().Name() != dialect.PG {
		return nil
	}
	_, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock(hashtextextended(?, 0))", "duffy:fill:"+name)
	return err
}

// missing returns how many nodes to provision now.
func (s *Service) missing(ctx context.Context, tx bun.Tx, c *Config) (int, error) {
	ready, provisioning, err := s.stock(ctx, tx, c.Name)
	if err != nil {
		return 0, err
	}
	missing := *c.FillLevel - ready - provisioning
	if missing <= 0 {
		return 0, nil
	}
	trouble, err := s.trouble(ctx, tx, c.Name)
	switch {
	case err != nil:
		return 0, err
	case trouble.rests(s.now()):
		return 0, nil
	case trouble.Failures > 0:
		stuck, err := s.stuck(ctx, tx, c.Name)
		if stuck >= *c.FillLevel {
			return 0, err
		}
		return 1 - provisioning, err
	}
	return missing, nil
}

// stock counts the nodes that count for the fill level, in one statement: between
// two, a node may become ready and be in neither count.
func (s *Service) stock(ctx context.Context, tx bun.Tx, name string) (ready, provisioning int, err error) {
	err = tx.NewSelect().Model((*Node)(nil)).
		ColumnExpr("count(*) FILTER (WHERE state = ?)", Ready).
		ColumnExpr("count(*) FILTER (WHERE state = ?)", Provisioning).
		Where("pool = ?", name).Where("retired_at IS NULL").
		Where("state IN (?)", bun.List([]State{Ready, Provisioning})).Scan(ctx, &ready, &provisioning)
	return ready, provisioning, err
}

// stuck counts failed nodes whose machines cannot be removed yet, see cleanUp. A pool whose
// backend makes more and more of them would have no end.
func (s *Service) stuck(ctx context.Context, tx bun.Tx, name string) (int, error) {
	n, err := tx.NewSelect().Model((*Node)(nil)).
		Where("pool = ?", name).Where("state = ?", Failed).Where("retired_at IS NULL").
		Where("retry_at IS NOT NULL").
		Where("EXISTS (SELECT 1 FROM nodes AS h WHERE h.id <> n.id AND h.ipaddr = n.ipaddr AND h.retired_at IS NULL AND h.state NOT IN (?))",
			bun.List([]State{Provisioning, Failed})).
		Count(ctx)
	return int(n), err
}

func (s *Service) allocate(ctx context.Context, tx bun.Tx, c *Config, n int) ([]*Node, error) {
	if c.Reuses() {
		return s.takeUnused(ctx, tx, c, n)
	}
	now := s.now()
	nodes := make([]*Node, n)
	for i := range nodes {
		nodes[i] = &Node{State: Provisioning, Pool: c.Name, CreatedAt: now, StateSince: &now}
	}
	_, err := tx.NewInsert().Model(&nodes).Returning("id").Exec(ctx)
	return nodes, err
}

func (s *Service) takeUnused(ctx context.Context, tx bun.Tx, c *Config, n int) ([]*Node, error) {
	picked := tx.NewSelect().Model((*Node)(nil)).Column("id").
		Where("state = ?", Unused).Where("retired_at IS NULL").
		Where("reusable").Where("pool IS NULL").
		WhereGroup(" AND ", func(q *bun.SelectQuery) *bun.SelectQuery {
			return due(q, s.now(), pauseMax).WhereOr("retry_at IS NULL")
		}).
		Order("id").Limit(int64(n))
	for key, value := range c.ReuseNodes {
		picked = whereData(picked, key, value)
	}
	picked = db.SkipLocked(picked)
	return returning(ctx, tx.NewUpdate().Model((*Node)(nil)).With("picked", picked).
		Where("id IN (SELECT id FROM picked)").
		Set("state = ?", Provisioning).
		Set("state_since = ?", s.now()).
		Set("pool = ?", c.Name).
		Set("retry_at = NULL"))
}

const (
	pauseMin = 10 * time.Second
	pauseMax = 30 * time.Second
)

// pause is how long a pool or a node rests after so many failures in a row: never
// so long that a minute passes between the end of an outage and the next try.
func pause(failures int) time.Duration {
	return min(pauseMin<<min(failures-1, 10), pauseMax)
}

// failedTx notes that provisioning for a pool failed, and has it filled again
// after a pause. Failures that arrive during a pause are part of the same round.
func (s *Service) failedTx(ctx context.Context, tx bun.Tx, name, reason string) error {
	if err := s.lockPool(ctx, tx, name); err != nil {
		return err
	}
	t, err := s.trouble(ctx, tx, name)
	if err != nil {
		return err
	}
	now := s.now()
	t.LastErrorAt = &now
	if t.LastError, err = storable(ctx, tx, reason); err != nil {
		return err
	}
	var jobs []queue.Job
	if !t.rests(now) {
		t.Failures++
		retry := now.Add(pause(t.Failures))
		t.RetryAt = &retry
		jobs = append(jobs, fillJob{name, retry})
		s.log.WarnContext(ctx, "provisioning failed", "pool", name,
			"failures", t.Failures, "retry_at", retry, "reason", reason)
	}
	_, err = tx.NewInsert().Model(&t).On("CONFLICT (name) DO UPDATE").
		Set("failures = EXCLUDED.failures").Set("retry_at = EXCLUDED.retry_at").
		Set("last_error = EXCLUDED.last_error").Set("last_error_at = EXCLUDED.last_error_at").
		Exec(ctx)
	if err != nil {
		return err
	}
	return s.queue.Insert(ctx, tx, jobs...)
}

// workedTx notes that provisioning for a pool works, and has it filled if that
// is news.
func (s *Service) workedTx(ctx context.Context, tx bun.Tx, name string) error {
	res, err := tx.NewUpdate().Model((*Trouble)(nil)).
		Where("name = ?", name).Where("failures > 0").
		Set("failures = 0").Set("retry_at = NULL").Exec(ctx)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return err
	}
	return s.queue.Insert(ctx, tx, s.FillJobs(name)...)
}
