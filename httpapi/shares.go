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
// requests without a login, and another one that of logins. Few are enough: most of
// the time a request waits for its nodes, and those of a tenant wait for each other.
const part = 8

// errBusy is the error that requests of a tenant or an address take too long for
// there to be another one.
var errBusy = &fault.Error{
	Kind: fault.TooMany, Detail: "too many requests at once, try again in 5 s", RetryAfter: turnRetry,
}

// shares divide the server. Each tenant, and each address from where requests
// without a login come, has so many requests in progress at once; others wait for
// these. Each tenant has a part of the connections to the database, and so have
// requests without a login and logins, wherever they come from.
type shares struct {
	size        int64
	connections int

	anonymous *db.Share
	logins    *db.Share
	pages     *semaphore.Weighted // of lists, which keep processors busy

	mu sync.Mutex
	of map[any]*share // of tenants, by their id, and addresses that have requests
}

// A share is that of a tenant or an address.
type share struct {
	turns    *semaphore.Weighted
	requests int64 // in progress and waiting
	database *db.Share
}

func newShares(concurrency, connections int) *shares {
	return &shares{
		size: int64(concurrency), connections: connections,
		anonymous: db.NewShare(connections / part), logins: db.NewShare(connections / part),
		pages: semaphore.NewWeighted(int64(max(1, runtime.GOMAXPROCS(0)/2))),
		of:    map[any]*share{},
	}
}

// tenant waits for a turn of the tenant with id. The context it returns is for all
// that the request does, until leave is called.
func (s *shares) tenant(ctx context.Context, id int64) (in context.Context, leave func(), err error) {
	return s.enter(ctx, id, func() *db.Share { return db.NewShare(s.connections / part) })
}

// stranger waits for a turn of an address whose requests use the database by a
// share of all addresses.
func (s *shares) stranger(ctx context.Context, from netip.Addr, all *db.Share) (in context.Context, leave func(), err error) {
	in, leave, err = s.enter(ctx, from, func() *db.Share { return nil })
	return all.With(in), leave, err
}

func (s *shares) enter(ctx context.Context, key any, database func() *db.Share) (in context.Context, leave func(), err error) {
	s.mu.Lock()
	sh := s.of[key]
	if sh == nil {
		sh = &share{turns: semaphore.NewWeighted(s.size), database: database()}
		s.of[key] = sh
	}
	full := sh.requests >= s.size*(1+queued)
	if !full {
		sh.requests++
	}
	s.mu.Unlock()
	if full {
		return ctx, nil, errBusy
	}
	within, cancel := context.WithTimeout(ctx, turnTimeout)
	defer cancel()
	if err := sh.turns.Acquire(within, 1); err != nil {
		s.left(key, sh)
		if ctx.Err() == nil {
			err = errBusy
		}
		return ctx, nil, err
	}
	leave = sync.OnceFunc(func() {
		sh.turns.Release(1)
		s.left(key, sh)
	})
	return sh.database.With(ctx), leave, nil
}

// page waits until a page of a list may be read with what ctx uses of the database.
// A tenant has one at a time, so have all strangers together, and half of the
// processors are left for what is no list. Turns rest for as long as they were
// used, so that lists one after the other leave as much time to everything else.
func (s *shares) page(ctx context.Context) (in context.Context, done func(), err error) {
	in, release, err := db.ShareOf(ctx).Whole(ctx)
	if err != nil {
		return ctx, nil, err
	}
	if err := s.pages.Acquire(ctx, 1); err != nil {
		release()
		return ctx, nil, err
	}
	began := time.Now()
	return in, func() {
		time.AfterFunc(time.Since(began), func() { s.pages.Release(1); release() })
	}, nil
}

// left forgets a share that nothing uses any more.
func (s *shares) left(key any, sh *share) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sh.requests--; sh.requests == 0 {
		delete(s.of, key)
	}
}
