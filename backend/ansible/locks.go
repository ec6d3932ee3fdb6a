package ansible

import (
	"context"
	"sync"
)

// nodeLocks keep playbooks from working on the same node at the same time, which
// few of them are written for.
type nodeLocks struct {
	mu   sync.Mutex
	held map[int64]chan struct{} // closed when the node is let go
}

// lock waits until it has all of the nodes, or ctx ends.
func (l *nodeLocks) lock(ctx context.Context, ids []int64) (unlock func(), err error) {
	mine := make(chan struct{})
	for {
		theirs := l.take(ids, mine)
		if theirs == nil {
			return func() { l.release(ids, mine) }, nil
		}
		select {
		case <-theirs:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// take takes all nodes, or none if one of them is not free.
func (l *nodeLocks) take(ids []int64, mine chan struct{}) (theirs <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		if theirs, held := l.held[id]; held {
			return theirs
		}
	}
	if l.held == nil {
		l.held = map[int64]chan struct{}{}
	}
	for _, id := range ids {
		l.held[id] = mine
	}
	return nil
}

func (l *nodeLocks) release(ids []int64, mine chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		delete(l.held, id)
	}
	close(mine)
}
