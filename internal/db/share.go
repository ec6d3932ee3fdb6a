package db

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// A Share limits how many connections to the database are used at once on behalf
// of one tenant, say, so that others find free ones. What is beyond it waits in
// turn. It is safe for concurrent use; nil limits nothing.
//
// On PostgreSQL every connection counts that is used with a context of
// [Share.With]. On SQLite only [Share.Whole] counts, since connections are not
// opened for each use.
type Share struct {
	size  int64
	turns *semaphore.Weighted
}

// NewShare returns a share of so many connections, at least 1.
func NewShare(connections int) *Share {
	size := int64(max(connections, 1))
	return &Share{size, semaphore.NewWeighted(size)}
}

// turnTimeout is how long it may take until there is a free connection of a share.
const turnTimeout = 10 * time.Second

// ErrShare is why something is not done: what else is done by the same share takes
// too long.
var ErrShare = errors.New("the share of connections to the database is used up")

type shareKey struct{}

// With returns a context whose use of the database counts in s.
func (s *Share) With(ctx context.Context) context.Context {
	return context.WithValue(ctx, shareKey{}, s)
}

// Whole waits until nothing else uses the share, and has it for the returned
// context alone until release is called: for what would keep the database and the
// processor busy if several did it at once.
func (s *Share) Whole(ctx context.Context) (whole context.Context, release func(), err error) {
	if s == nil {
		return ctx, func() {}, nil
	}
	release, err = s.take(ctx, s.size)
	return (*Share)(nil).With(ctx), release, err
}

func (s *Share) take(ctx context.Context, n int64) (release func(), err error) {
	if s == nil {
		return func() {}, nil
	}
	within, cancel := context.WithTimeout(ctx, turnTimeout)
	defer cancel()
	if err := s.turns.Acquire(within, n); err != nil {
		if ctx.Err() == nil {
			err = ErrShare
		}
		return nil, err
	}
	return sync.OnceFunc(func() { s.turns.Release(n) }), nil
}

// ShareOf returns the share that ctx's use of the database counts in, nil if there
// is none.
func ShareOf(ctx context.Context) *Share {
	s, _ := ctx.Value(shareKey{}).(*Share)
	return s
}
