package duffy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/duffy-ci/duffy/pool"
)

// DefaultReconcileEvery is short enough for everything to go on within a minute
// after a process died.
const DefaultReconcileEvery = 10 * time.Second

const (
	// passLimit is how long a pass may take. What it has not got to is up to the next.
	passLimit = pool.DefaultLease

	// overdue is how long no pass may succeed before something is wrong.
	overdue = 2 * time.Minute
)

// passes knows since when no pass of reconcile has succeeded, if there are any.
type passes struct {
	mu   sync.Mutex
	last time.Time // zero if this process does not work
}

func (p *passes) succeeded(at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = at
}

// age returns how long ago the last pass succeeded, or the process began to work. ok is
// false if it does not work.
func (p *passes) age() (age time.Duration, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Since(p.last), !p.last.IsZero()
}

// current returns an error if this process works and no pass has succeeded for long.
func (p *passes) current() error {
	age, ok := p.age()
	if ok && age > overdue {
		return fmt.Errorf("no reconcile has succeeded for %s: the log says why", age.Round(time.Second))
	}
	return nil
}

// reconcile finds, time and again, what stands still.
func (d *Duffy) reconcile(ctx context.Context) {
	every := cmp.Or(d.cfg.ReconcileEvery, DefaultReconcileEvery)
	d.passes.succeeded(time.Now())
	defer d.passes.succeeded(time.Time{})
	for ctx.Err() == nil {
		began := time.Now()
		if err := d.pass(ctx); err == nil {
			d.passes.succeeded(time.Now())
		} else if ctx.Err() == nil {
			d.log.WarnContext(ctx, "cannot reconcile", "err", err)
		}
		next := every
		if abandoned := d.Pools.NextAbandoned(); abandoned > 0 {
			next = min(next, abandoned)
		}
		select {
		case <-ctx.Done():
		case <-time.After(next - time.Since(began)):
		}
	}
}

// pass reconciles once: sessions first, which know of which pool Duffy 3's nodes are.
// Either has half of the time, so that what it waits for does not keep the other.
func (d *Duffy) pass(ctx context.Context) error {
	if err := d.db.Clock.Ask(ctx); err != nil {
		return fmt.Errorf("the database does not tell the time: %w", err)
	}
	return errors.Join(halfPass(ctx, d.Sessions.Reconcile), halfPass(ctx, d.Pools.Reconcile))
}

func halfPass(ctx context.Context, reconcile func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, passLimit/2, fmt.Errorf("not done within %s", passLimit/2))
	defer cancel()
	if err := reconcile(ctx); err != nil {
		return errors.Join(context.Cause(ctx), err)
	}
	return nil
}
