package session

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/internal/fault"
	"github.com/duffy-ci/duffy/pool"
)

const (
	// silenceMax is how many nodes in a row may fail to answer before this process, not
	// they, may be what is broken.
	silenceMax = 5

	// untriedMax is how many requests in a row may fail without having tried a node.
	untriedMax = 3

	// probeEvery is how long nothing is tried then; blameEvery, how often a node that does
	// not answer is failed all the same, since all of them may be dead.
	probeEvery = 10 * time.Second
	blameEvery = 5 * time.Minute
)

// reach knows whether this process gets at nodes. Once many in a row did not answer,
// whatever their pool, or could not be tried, it stops requests: one for each pool goes on
// after a while, and finds out. As soon as any node answers, all is well.
type reach struct {
	now func() time.Time
	log *slog.Logger

	mu      sync.Mutex
	silent  map[int64]bool       // nodes that failed since one answered
	next    map[string]time.Time // when nodes of a pool, of which one is silent, may be tried
	untried int                  // requests in a row that tried no node
	nextTry time.Time            // when a request may, after too many did not
	why     error                // of the last failure
	blamed  time.Time            // when a node failed last
}

func newReach(now func() time.Time, log *slog.Logger) *reach {
	return &reach{now: now, log: log, silent: map[int64]bool{}, next: map[string]time.Time{}}
}

// answered notes that a node let a tenant in.
func (r *reach) answered() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stuck() || r.doubtful() {
		r.log.Info("nodes answer again")
	}
	r.silent, r.next, r.untried, r.why = map[int64]bool{}, map[string]time.Time{}, 0, nil
}

// doubtful tells whether it is doubtful that nodes are to blame for not answering.
func (r *reach) doubtful() bool { return len(r.silent) >= silenceMax }

// stuck tells whether nothing can be tried.
func (r *reach) stuck() bool { return r.untried >= untriedMax }

// enter lets a request try nodes of pools, and no other until it leaves, if nodes may not
// be reached. It tells whether that is doubtful since nodes do not answer, or returns the
// error that the request must not try now.
func (r *reach) enter(pools []string) (doubtful bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	var until time.Time
	if r.stuck() {
		until = r.nextTry
	}
	for _, pool := range pools {
		if next := r.next[pool]; r.doubtful() && next.After(until) {
			until = next
		}
	}
	if until.After(now) {
		return false, unreachable(r.why)
	}
	r.postpone(pools, now.Add(time.Hour))
	return r.doubtful(), nil
}

// leave lets the next request try, after a while if this one tried.
func (r *reach) leave(pools []string, tried bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := r.now()
	if tried {
		next = next.Add(probeEvery)
	}
	r.postpone(pools, next)
}

func (r *reach) postpone(pools []string, until time.Time) {
	if r.stuck() {
		r.nextTry = until
	}
	for _, pool := range pools {
		if _, silent := r.next[pool]; silent {
			r.next[pool] = until
		}
	}
}

// blame notes that a node does not answer, and returns whether it is to fail.
func (r *reach) blame(n *pool.Node, why error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	r.why = why
	if _, silent := r.next[n.Pool]; !silent {
		r.next[n.Pool] = now
	}
	if r.doubtful() && now.Sub(r.blamed) < blameEvery {
		return false
	}
	r.silent[n.ID], r.blamed = true, now
	if len(r.silent) == silenceMax {
		r.log.Error("many nodes in a row do not answer: the network of this machine or its SSH key may be wrong, "+
			"so that no more of them fail, but one now and then", "nodes", silenceMax, "err", why)
	}
	return true
}

// couldNotTry notes that a request failed without trying nodes.
func (r *reach) couldNotTry(why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.why = why
	if r.untried++; r.untried == untriedMax {
		r.log.Error("no node can be tried", "err", why)
	}
}

// stopped returns why nothing could be tried lately, for as long as nothing may be.
func (r *reach) stopped() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stuck() && r.now().Before(r.nextTry) {
		return r.why
	}
	return nil
}

// unreachable returns the error that this process does not get at nodes. Callers are
// told no more: what it is about is for operators.
func unreachable(why error) error {
	return &fault.Error{
		Kind: fault.Unavailable, Detail: errContextualize.Error() + ": this server does not get at nodes, try again later",
		RetryAfter: probeEvery, Err: fmt.Errorf("%w: %w", errContextualize, why),
	}
}

// Ready returns an error if this process could give no tenant access to any node: the
// contextualizer says so, or several requests in a row found that. Nodes that do not
// answer are no reason: the pools of others may be well. Without pools all is well.
func (s *Service) Ready(ctx context.Context) error {
	if c, ok := s.contextualizer.(backend.Readier); ok && len(s.pools.Pools().Concrete()) > 0 {
		if err := c.Ready(ctx); err != nil {
			return fmt.Errorf("nodes cannot be logged in to: %w", err)
		}
	}
	return s.reach.stopped()
}
