package httpapi

import (
	"context"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/fault"
)

// DefaultConcurrency is how many requests a tenant has in progress at once.
const DefaultConcurrency = 64

const (
	// queued is how many requests may wait for each that is in progress.
	queued = 4

	// turnTimeout is how long a request waits for others of the same tenant, and
	// turnRetry when the tenant may ask again after that.
	turnTimeout = 30 * time.Second
	turnRetry   = 5 * time.Second
)

// part of the connections to the database is a tenant's, another one that of all
// requests without a login, another one that of logins, and another one that of lists.
// Few are enough: most of the time a request waits for its nodes, and those of a tenant
// wait for each other.
const part = 8

// listsMax is how many lists a tenant or an address receives at once. Each may take its
// time over that, so they have turns apart from other requests.
const listsMax = 16

// longestRest is how long nothing else of its kind is done at most after what keeps
// processors or the database busy.
const longestRest = 100 * time.Millisecond

// errBusy is the error that requests of a tenant or an address take too long for
// there to be another one.
var errBusy = &fault.Error{
	Kind: fault.TooMany, Detail: "too many requests at once, try again in 5 s", RetryAfter: turnRetry,
}

// A holder is what has a share: a tenant or an address, for one kind of requests.
type holder struct {
	tenant   int64
	readOnly bool       // the tenant's keys that only read: they cannot keep the others waiting
	from     netip.Addr // of requests without a login, and of logins
	kind     kind
}

type kind int

const (
	requests kind = iota
	lists
	logins // of credentials that were not right before
)

// shares divide the server. Each holder has so many requests in progress at once;
// others wait for these. Each tenant has a part of the connections to the database,
// and so have requests without a login and logins, wherever they come from.
type shares struct {
	size        int64
	connections int

	anonymous *db.Share
	logins    *db.Share
	pages     *semaphore.Weighted // of lists, which keep processors and the database busy

	mu sync.Mutex
	of map[holder]*share // those with requests
}

// A share is that of a holder.
type share struct {
	size     int64
	turns    *semaphore.Weighted
	requests int64 // in progress and waiting
	database *db.Share
	page     *semaphore.Weighted // one at a time
}

func newShares(concurrency, connections int) *shares {
	return &shares{
		size: int64(concurrency), connections: connections,
		anonymous: db.NewShare(connections / part), logins: db.NewShare(connections / part),
		pages: semaphore.NewWeighted(int64(max(1, min(runtime.GOMAXPROCS(0)/2, connections/part)))),
		of:    map[holder]*share{},
	}
}

type shareKey struct{}

// enter waits for a turn of a holder. The context it returns is for all that the request
// does, until leave is called.
func (s *shares) enter(ctx context.Context, h holder) (in context.Context, leave func(), err error) {
	s.mu.Lock()
	sh := s.of[h]
	if sh == nil {
		sh = s.newShare(h)
		s.of[h] = sh
	}
	full := sh.requests >= sh.size*(1+queued)
	if !full {
		sh.requests++
	}
	s.mu.Unlock()
	if full {
		return ctx, nil, errBusy
	}
	if err := wait(ctx, sh.turns); err != nil {
		s.left(h, sh)
		return ctx, nil, err
	}
	leave = sync.OnceFunc(func() {
		sh.turns.Release(1)
		s.left(h, sh)
	})
	return context.WithValue(sh.database.With(ctx), shareKey{}, sh), leave, nil
}

func (s *shares) newShare(h holder) *share {
	sh := &share{size: s.size, page: semaphore.NewWeighted(1)}
	switch {
	case h.kind == logins:
		sh.database = s.logins
	case h.from.IsValid() || h.tenant == 0:
		sh.database = s.anonymous
	default:
		sh.database = db.NewShare(s.connections / part)
	}
	if h.kind == lists {
		sh.size = min(s.size, listsMax)
	}
	sh.turns = semaphore.NewWeighted(sh.size)
	return sh
}

// wait takes a turn, for which it waits for a limited time.
func wait(ctx context.Context, turns *semaphore.Weighted) error {
	within, cancel := context.WithTimeout(ctx, turnTimeout)
	defer cancel()
	err := turns.Acquire(within, 1)
	if err != nil && ctx.Err() == nil {
		return errBusy
	}
	return err
}

// page waits until a page of a list may be read. A holder has one at a time, so that
// holders take turns whatever they have waiting, and half of the processors are left
// for what is no list. Turns rest after each page, so that lists one after the other
// leave time to everything else. Pages have connections to the database of their own.
func (s *shares) page(ctx context.Context) (in context.Context, done func(), err error) {
	sh := ctx.Value(shareKey{}).(*share)
	if err := wait(ctx, sh.page); err != nil {
		return ctx, nil, err
	}
	if err := wait(ctx, s.pages); err != nil {
		sh.page.Release(1)
		return ctx, nil, err
	}
	began := time.Now()
	return (*db.Share)(nil).With(ctx), func() {
		time.AfterFunc(min(time.Since(began), longestRest), func() {
			s.pages.Release(1)
			sh.page.Release(1)
		})
	}, nil
}

// left forgets a share that nothing uses any more.
func (s *shares) left(h holder, sh *share) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sh.requests--; sh.requests == 0 {
		delete(s.of, h)
	}
}
