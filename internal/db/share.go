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
// [Share.With]. On SQLite none does, since connections are not opened for each use.
type Share struct{ turns *semaphore.Weighted }

// NewShare returns a share of so many connections, at least 1.
func NewShare(connections int) *Share {
	return &Share{semaphore.NewWeighted(int64(max(connections, 1)))}
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

// take waits for a connection of the share.
func (s *Share) take(ctx context.Context) (release func(), err error) {
	if s == nil {
		return func() {}, nil
	}
	within, cancel := context.WithTimeout(ctx, turnTimeout)
	defer cancel()
	if err := s.turns.Acquire(within, 1); err != nil {
		if ctx.Err() == nil {
			err = ErrShare
		}
		return nil, err
	}
	return sync.OnceFunc(func() { s.turns.Release(1) }), nil
}

// ShareOf returns the share that ctx's use of the database counts in, nil if there
// is none.
func ShareOf(ctx context.Context) *Share {
	s, _ := ctx.Value(shareKey{}).(*Share)
	return s
}
