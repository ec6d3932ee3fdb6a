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

// lock waits until no other run has any of the nodes, or ctx ends.
func (l *nodeLocks) lock(ctx context.Context, ids []int64) (unlock func(), err error) {
	for {
		busy := l.take(ids)
		if busy == nil {
			return func() { l.release(ids) }, nil
		}
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// take takes all nodes or, if one is held, none: it returns when to try again.
func (l *nodeLocks) take(ids []int64) (busy <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		if held, ok := l.held[id]; ok {
			return held
		}
	}
	if l.held == nil {
		l.held = map[int64]chan struct{}{}
	}
	for _, id := range ids {
		l.held[id] = make(chan struct{})
	}
	return nil
}

func (l *nodeLocks) release(ids []int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		close(l.held[id])
		delete(l.held, id)
	}
}
