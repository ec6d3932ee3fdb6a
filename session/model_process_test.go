package session_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/backend/fake"
	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/pool"
	"github.com/duffy-ci/duffy/queue"
	"github.com/duffy-ci/duffy/session"
	"github.com/duffy-ci/duffy/tenant"
)

// A process is one of several that run Duffy on the same database and machines.
// It may be killed before any statement that it sends and around any call to its
// backend: nothing that it does afterwards has an effect.
type process struct {
	pools    *pool.Service
	sessions *session.Service
	mux      queue.Mux

	clock    *db.Clock
	machines *fake.Inspector
	busy     *busy
	ctx      context.Context // of all that it does
	stop     context.CancelFunc

	mu     sync.Mutex
	dead   bool
	frozen chan struct{}        // until it is closed, nothing goes on; nil if everything does
	cut    bool                 // off from the database, for good if dead
	fuse   int                  // so many more steps, then it is killed; none if 0
	open   []context.CancelFunc // transactions, which end with the connection
	ahead  time.Duration        // of the clock of its machine
	leftIn map[int64]bool       // nodes of which it could not lock out the tenant
	wrong  []string             // what it did that it must not
}

func newProcess(ctx context.Context, d *bun.DB, now func() time.Time, jobs queue.Inserter, machines *fake.Inspector, b *busy, pools *pool.Set, tenants *tenant.Service) *process {
	p := &process{machines: machines, busy: b, leftIn: map[int64]bool{}}
	p.ctx, p.stop = context.WithCancel(ctx)
	d = d.WithQueryHook(p)
	p.clock = db.NewClock(func(context.Context) (time.Time, error) { return now(), p.reach() }, p.wall, nil)
	if err := p.clock.Ask(ctx); err != nil {
		panic(err) // since nothing has happened to it yet
	}
	p.pools = pool.New(d, jobs, pool.ServiceConfig{
		Pools: pools, Backends: map[string]backend.Backend{"fake": p}, Contextualizer: p, Now: p.clock.Now,
	})
	p.sessions = session.New(d, jobs, tenants, p.pools, session.Config{Contextualizer: p, Now: p.clock.Now})
	p.pools.Handle(&p.mux)
	p.sessions.Handle(&p.mux)
	return p
}

// wall is the clock of its machine, which counts for nothing.
func (p *process) wall() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Now().Add(p.ahead)
}

// reach returns an error if the database cannot be reached.
func (p *process) reach() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut {
		return errCut
	}
	return nil
}

var errCut = errors.New("the database cannot be reached")

// work handles a job.
func (p *process) work(ctx context.Context, job queue.Job) error {
	payload, err := json.Marshal(job)
	if err != nil {
		return err
	}
	return p.mux.Dispatch(ctx, job.Kind(), payload)
}

// kill ends the process as SIGKILL does.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end()
}

func (p *process) end() {
	p.dead = true
	p.melt()
	p.disconnect()
	p.stop()
}

// connect connects the process with the database, or cuts it off.
func (p *process) connect(yes bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut = p.dead || !yes; p.cut {
		p.disconnect()
	}
}

func (p *process) disconnect() {
	p.cut = true
	for _, cancel := range p.open {
		cancel()
	}
	p.open = nil
}

// lightFuse has the process be killed after some steps.
func (p *process) lightFuse(steps int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fuse = steps
}

// freeze has the process stand still, as SIGSTOP does, at its next step outside of
// a transaction: within, it would have its locks, and all others stand still, too.
func (p *process) freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.frozen == nil && !p.dead {
		p.frozen = make(chan struct{})
	}
}

func (p *process) thaw() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.melt()
}

func (p *process) melt() {
	if p.frozen != nil {
		close(p.frozen)
	}
	p.frozen = nil
}

func (p *process) waitIfFrozen() {
	p.mu.Lock()
	frozen := p.frozen
	p.mu.Unlock()
	if frozen != nil {
		<-frozen
	}
}

// unwell tells whether the process cannot be blamed for errors.
func (p *process) unwell() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dead || p.cut || p.frozen != nil || p.ctx.Err() != nil
}

// step is what a process may be killed at.
func (p *process) step() {
	if p.fuse == 1 {
		p.end()
	}
	p.fuse = max(0, p.fuse-1)
}

// BeforeQuery implements [bun.QueryHook].
func (p *process) BeforeQuery(ctx context.Context, e *bun.QueryEvent) context.Context {
	if e.Query == "BEGIN" {
		p.waitIfFrozen()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.step()
	if !p.cut && e.Query != "BEGIN" {
		return ctx
	}
	ctx, cancel := context.WithCancel(ctx)
	p.open = append(p.open, cancel)
	if p.cut {
		cancel()
	}
	return ctx
}

// AfterQuery implements [bun.QueryHook].
func (p *process) AfterQuery(context.Context, *bun.QueryEvent) {}
