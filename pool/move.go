package pool

import (
	"context"
	"time"

	"github.com/uptrace/bun"
)

// move starts the UPDATE of a compare-and-set: it changes the state of those
// nodes with ids that are in state from. Leases and retries end with the old
// state.
func (s *Service) move(db bun.IDB, from, to State, ids ...int64) *bun.UpdateQuery {
	return s.becomes(s.update(db, from, ids...), to)
}

// becomes has q change the state.
func (s *Service) becomes(q *bun.UpdateQuery, to State) *bun.UpdateQuery {
	return free(q).
		Set("state = ?", to).
		Set("state_since = ?", s.now())
}

// free has q end the lease.
func free(q *bun.UpdateQuery) *bun.UpdateQuery {
	return q.Set("lease_owner = NULL").Set("lease_until = NULL")
}

// update starts an UPDATE of those nodes with ids that are in a state.
func (s *Service) update(db bun.IDB, state State, ids ...int64) *bun.UpdateQuery {
	return db.NewUpdate().Model((*Node)(nil)).
		Where("id IN (?)", bun.List(ids)).
		Where("state = ?", state).
		Where("retired_at IS NULL")
}

// fail moves nodes to failed. They are deprovisioned by the first reconcile after
// cleanUp; if that is zero, they wait for an operator. An owner restricts it to
// nodes that it holds the lease of.
func (s *Service) fail(ctx context.Context, db bun.IDB, from State, owner, reason string, cleanUp time.Time, ids ...int64) ([]*Node, error) {
	q := setData(s.move(db, from, Failed, ids...), "error", failure(s.now(), reason)).
		Set("session_id = NULL").
		Set("retry_at = ?", bun.NullTime{Time: cleanUp})
	if owner != "" {
		q = q.Where("lease_owner = ?", owner)
	}
	nodes, err := returning(ctx, q)
	s.logFailed(ctx, nodes, from, reason)
	return nodes, err
}

func (s *Service) logFailed(ctx context.Context, nodes []*Node, while State, reason string) {
	for _, b := range s.batches(nodes) {
		s.metrics.failed.WithLabelValues(b.pool, string(while)).Add(float64(len(b.nodes)))
		s.log.WarnContext(ctx, "nodes failed", "nodes", b.nodes, "pool", b.pool, "while", while, "reason", reason)
	}
}

func returning(ctx context.Context, q *bun.UpdateQuery) ([]*Node, error) {
	var nodes []*Node
	_, err := q.Returning("*").Exec(ctx, &nodes)
	return nodes, err
}

func (s *Service) now() time.Time { return s.cfg.Now().UTC().Truncate(time.Microsecond) }
