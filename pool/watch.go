package pool

import (
	"context"
	"sync"
	"time"

	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/internal/db"
)

// A watch knows since when leases have been as they are. Their holders renew them as
// long as they live, which is seen whatever any clock says: that of the database may be
// set, and that of a machine be wrong.
type watch struct {
	mu   sync.Mutex
	seen map[State]map[int64]sighting
}

// A sighting is the lease of a node, and since when at least it has been the same.
type sighting struct {
	owner string
	until time.Time
	since time.Duration
}

// look notes the leases of all nodes in a state, which were read between two times,
// and returns the nodes whose lease was the same for as long as lease.
func (w *watch) look(state State, nodes []*Node, began, ended, lease time.Duration) (same []*Node) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := make(map[int64]sighting, len(nodes))
	for _, n := range nodes {
		s := sighting{owner: n.LeaseOwner, since: ended}
		if n.LeaseUntil != nil {
			s.until = n.LeaseUntil.UTC()
		}
		if before, ok := w.seen[state][n.ID]; ok && before.owner == s.owner && before.until.Equal(s.until) {
			s.since = before.since
		}
		if began-s.since >= lease {
			same = append(same, n)
		}
		now[n.ID] = s
	}
	if w.seen == nil {
		w.seen = map[State]map[int64]sighting{}
	}
	w.seen[state] = now
	return same
}

// oldest returns since when the lease has been the same that has not changed for
// longest; ok is false if there are no leases.
func (w *watch) oldest() (since time.Duration, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, nodes := range w.seen {
		for _, s := range nodes {
			if !ok || s.since < since {
				since, ok = s.since, true
			}
		}
	}
	return since, ok
}

// Abandoned returns the nodes in some states whose worker is gone: this process has
// seen for a whole lease that nobody renewed theirs. So the first call returns none. A
// worker that is not gone but cannot renew its lease has stopped by then. Nodes that
// are contextualizing need no lease: Duffy 3 has none.
func (s *Service) Abandoned(ctx context.Context, states ...State) ([]*Node, error) {
	var abandoned []*Node
	for _, state := range states {
		var nodes []*Node
		began := s.cfg.Elapsed()
		err := s.db.NewSelect().Model(&nodes).
			Where("state = ?", state).Where("retired_at IS NULL").
			Where("lease_until IS NOT NULL OR state = ?", Contextualizing).Order("id").Scan(ctx)
		if err != nil {
			return nil, err
		}
		abandoned = append(abandoned, s.watch.look(state, nodes, began, s.cfg.Elapsed(), s.cfg.Lease)...)
	}
	return abandoned, nil
}

// NextAbandoned returns how long it takes until Abandoned may return a node, if nobody
// renews its lease meanwhile. It is zero if there are no leases, or one already has.
func (s *Service) NextAbandoned() time.Duration {
	since, ok := s.watch.oldest()
	if !ok {
		return 0
	}
	return max(0, since+s.cfg.Lease-s.cfg.Elapsed())
}

// Seize takes an abandoned node away from who had its lease when it was read, and
// returns it under a new one. It returns nil if the lease was renewed since, the node
// has moved, or somebody has locked it.
func (s *Service) Seize(ctx context.Context, tx bun.IDB, n *Node) (*Node, error) {
	picked := db.SkipLocked(tx.NewSelect().Model((*Node)(nil)).Column("id").
		Where("id = ?", n.ID).Where("state = ?", n.State).Where("retired_at IS NULL").
		Where("lease_owner IS NOT DISTINCT FROM ?", bun.NullZero(n.LeaseOwner)).
		Where("lease_until IS NOT DISTINCT FROM ?", n.LeaseUntil))
	seized, err := returning(ctx, tx.NewUpdate().Model((*Node)(nil)).With("picked", picked).
		Where("id IN (SELECT id FROM picked)").
		Set("lease_owner = ?", NewOwner()).
		Set("lease_until = ?", s.now().Add(s.cfg.Lease)))
	if err != nil || len(seized) == 0 {
		return nil, err
	}
	s.metrics.takenOver.WithLabelValues(string(n.State)).Inc()
	return seized[0], nil
}
