package pool

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect"

	"github.com/duffy-ci/duffy/internal/db"
)

// A Reservation takes ready nodes of a pool for a session.
type Reservation struct {
	Session  int64
	Pool     string
	Quantity int
	Spec     any    // becomes data.nodes_spec of the nodes
	Owner    string // of the lease under which the nodes are contextualized
	Newest   bool   // takes the newest nodes, not the oldest

	// Wait for nodes that other transactions are about to take, instead of passing
	// them over. These must not wait in turn for nodes that tx has taken: it takes
	// all with Wait, pool by pool in the order of their names, or has none yet.
	Wait bool
}

// ErrContended is why a Reservation that does not wait gets too few nodes, if
// those that other transactions are about to take would be enough.
var ErrContended = errors.New("others are about to take nodes of the pool")

// ReserveTx moves r.Quantity ready nodes to contextualizing and returns them. It
// takes none, and locks none, if the pool has not so many; it takes fewer if other
// transactions are faster.
func (s *Service) ReserveTx(ctx context.Context, tx bun.Tx, r Reservation) ([]*Node, error) {
	if r.Wait {
		if err := s.lockPool(ctx, tx, r.Pool); err != nil {
			return nil, err
		}
		return s.reserve(ctx, tx, r, "FOR UPDATE")
	}
	nodes, err := s.reserve(ctx, tx, r, "FOR UPDATE SKIP LOCKED")
	if err != nil || len(nodes) == r.Quantity || tx.Dialect().Name() != dialect.PG {
		return nodes, err
	}
	passedOver, _, err := s.stock(ctx, tx, r.Pool)
	if err == nil && len(nodes)+passedOver >= r.Quantity {
		err = ErrContended
	}
	return nodes, err
}

// ReadyTx counts the ready nodes of the pool called name, those that other
// transactions are about to take among them, up to most.
func (s *Service) ReadyTx(ctx context.Context, tx bun.Tx, name string, most int) (int, error) {
	var count struct{ Ready int }
	err := db.SelectOne(ctx, tx, &count, countReady, name, most)
	return count.Ready, err
}

const countReady = `SELECT count(*) AS ready FROM (
	SELECT 1 FROM nodes WHERE pool = ? AND state = 'ready' AND retired_at IS NULL LIMIT ?
) AS enough`

// reserveQuery is written by hand, for [db.Select], since every request runs it.
// It counts before it locks. What stands in it are, in turn, the order, a lock and
// how data is made.
const reserveQuery = `WITH picked AS (
	SELECT id FROM nodes WHERE pool = ? AND state = 'ready' AND retired_at IS NULL
		AND (` + countReady + `) = ?
	ORDER BY id %s LIMIT ? %s
)
UPDATE nodes SET state = 'contextualizing', state_since = ?, session_id = ?, lease_owner = ?, lease_until = ?, data = %s
WHERE id IN (SELECT id FROM picked)
RETURNING id, hostname, ipaddr, state, comment, pool, reusable, data, created_at, session_id`

func (s *Service) reserve(ctx context.Context, tx bun.Tx, r Reservation, lock string) ([]*Node, error) {
	spec, err := encode(r.Spec)
	if err != nil {
		return nil, err
	}
	order := "ASC"
	if r.Newest {
		order = "DESC"
	}
	on := tx.Dialect().Name()
	if on != dialect.PG {
		lock = ""
	}
	query := fmt.Sprintf(reserveQuery, order, lock, merged(on, []string{"nodes_spec"}, nil))
	now := s.now()
	var nodes []*Node
	err = db.Select(ctx, tx, &nodes, query,
		r.Pool, r.Pool, r.Quantity, r.Quantity, r.Quantity, now, r.Session, r.Owner, now.Add(s.cfg.Lease), spec)
	return nodes, err
}

// Deploy moves the nodes that owner holds from contextualizing to deployed, if
// active selects the id of their session, and returns them. Both happen at once.
func (s *Service) Deploy(ctx context.Context, db bun.IDB, active *bun.SelectQuery, owner string) ([]*Node, error) {
	return returning(ctx, db.NewUpdate().Model((*Node)(nil)).With("active", active).
		Where("session_id IN (SELECT id FROM active)").
		Where("state = ?", Contextualizing).
		Where("lease_owner = ?", owner).
		Set("state = ?", Deployed).
		Set("state_since = ?", s.now()).
		Set("lease_owner = NULL").
		Set("lease_until = NULL"))
}

// FailTx moves nodes that owner holds from contextualizing to failed, since they
// do not answer. They are cleaned up by the next reconcile.
func (s *Service) FailTx(ctx context.Context, tx bun.Tx, owner, reason string, ids ...int64) error {
	_, err := s.fail(ctx, tx, Contextualizing, owner, reason, s.now(), ids...)
	return err
}

// ReturnTx makes nodes ready again that were reserved and that no tenant's key
// ever got to.
func (s *Service) ReturnTx(ctx context.Context, tx bun.Tx, owner string, ids ...int64) error {
	if len(ids) == 0 {
		return nil
	}
	q := s.move(tx, Contextualizing, Ready, ids...).
		Where("lease_owner = ?", owner).
		Set("session_id = NULL")
	_, err := dropData(q, "nodes_spec").Exec(ctx)
	return err
}

// ReclaimNodesTx takes back those nodes with ids that are in a state: they are
// deprovisioned.
func (s *Service) ReclaimNodesTx(ctx context.Context, tx bun.Tx, state State, ids ...int64) error {
	nodes, err := returning(ctx, s.move(tx, state, Deprovisioning, ids...).Set("attempts = 0"))
	if err != nil || len(nodes) == 0 {
		return err
	}
	return s.queue.Insert(ctx, tx, s.deprovisionJobs(nodes, time.Time{})...)
}

// reclaimQuery is written by hand for the same reason as reserveQuery.
const reclaimQuery = `UPDATE nodes
SET state = 'deprovisioning', state_since = ?, lease_owner = NULL, lease_until = NULL, attempts = 0
WHERE session_id = ? AND state IN (%s) RETURNING id, pool`

func quoted(states []State) string {
	texts := make([]string, len(states))
	for i, state := range states {
		texts[i] = "'" + string(state) + "'"
	}
	return strings.Join(texts, ", ")
}

// ReclaimTx takes back the nodes of a session that are in one of the given
// states: they are deprovisioned, whoever is working on them.
func (s *Service) ReclaimTx(ctx context.Context, tx bun.Tx, session int64, states ...State) error {
	var nodes []*Node
	err := db.Select(ctx, tx, &nodes, fmt.Sprintf(reclaimQuery, quoted(states)), s.now(), session)
	if err != nil || len(nodes) == 0 {
		return err
	}
	return s.queue.Insert(ctx, tx, s.deprovisionJobs(nodes, time.Time{})...)
}
