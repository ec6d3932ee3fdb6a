package pool

import (
	"context"
	"sync"
	"time"
)

// fills runs at most one Fill of a pool at a time in this process. Hints that
// come meanwhile, and a busy pool gets hundreds a second, share the next run.
type fills struct {
	mu      sync.Mutex
	running map[string]*filling
}

type filling struct{ again bool }

const fillRest = 100 * time.Millisecond

func (f *fills) do(ctx context.Context, pool string, fill func() error) error {
	if !f.begin(pool) {
		return nil
	}
	for {
		err := fill()
		if f.end(pool, err != nil) {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(fillRest):
		}
	}
}

func (f *fills) begin(pool string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := f.running[pool]; now != nil {
		now.again = true
		return false
	}
	if f.running == nil {
		f.running = map[string]*filling{}
	}
	f.running[pool] = &filling{}
	return true
}

// end reports whether the fill that ended was the last for now.
func (f *fills) end(pool string, failed bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.running[pool]
	if now.again && !failed {
		now.again = false
		return false
	}
	delete(f.running, pool)
	return true
}
