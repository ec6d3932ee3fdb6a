package session_test

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/backend/fake"
	"github.com/duffy-ci/duffy/queue"
)

func (m *model) wait(t *rapid.T) {
	m.pass(time.Duration(rapid.IntRange(1, 70).Draw(t, "seconds")) * time.Second)
}

// due returns the index of jobs that may run.
func (m *model) due() []int {
	var due []int
	for i, job := range m.waiting {
		if d, ok := job.(queue.Delayed); !ok || !d.NotBefore().After(m.now()) {
			due = append(due, i)
		}
	}
	return due
}

func (m *model) startJob(p *process, job queue.Job) {
	m.start(p, func(ctx context.Context) error { return p.work(ctx, job) }, m.mustWork)
}

// work has some jobs run, some of them twice, and keeps some to be run again.
func (m *model) work(t *rapid.T) {
	for range rapid.IntRange(1, 6).Draw(t, "jobs") {
		due := m.due()
		if len(due) == 0 {
			break
		}
		i := rapid.SampledFrom(due).Draw(t, "job")
		job := m.waiting[i]
		if rapid.IntRange(0, 5).Draw(t, "keep") > 0 {
			m.waiting = slices.Delete(m.waiting, i, i+1)
		}
		m.startJob(m.aProcess(), job)
		if rapid.IntRange(0, 5).Draw(t, "twice") == 0 {
			m.startJob(m.aProcess(), job)
		}
	}
	m.pass(moment)
}

// workForAWhile has a process do what there is to do while others may not.
func (m *model) workForAWhile(t *rapid.T) {
	p := m.aProcess()
	for range rapid.IntRange(1, 5).Draw(t, "times 10 s") {
		m.operate(p)
	}
}

func (m *model) loseJobs(t *rapid.T) {
	for range rapid.IntRange(0, len(m.waiting)).Draw(t, "jobs") {
		i := rapid.IntRange(0, len(m.waiting)-1).Draw(t, "job")
		m.waiting = slices.Delete(m.waiting, i, i+1)
	}
}

func (m *model) reconcile(t *rapid.T) {
	for range rapid.IntRange(1, 3).Draw(t, "at once") {
		m.startReconcile(m.aProcess())
	}
	m.pass(moment)
}

func (m *model) startReconcile(p *process) {
	began := m.now()
	m.start(p, func(ctx context.Context) error {
		if err := p.clock.Ask(ctx); err != nil {
			return err
		}
		return errors.Join(p.sessions.Reconcile(ctx), p.pools.Reconcile(ctx))
	}, func(c *call) {
		m.mustWork(c)
		if c.err == nil && !c.harmed {
			m.checkExpired(began)
		}
	})
}

// breakMachines has backend or contextualizer fail in one of the ways that they
// may: when Provision fails, nothing is made that it does not tell of.
func (m *model) breakMachines(t *rapid.T) {
	f := fake.Fault{
		In:    rapid.SampledFrom([]fake.Op{fake.Provision, fake.Deprovision, fake.Inspect, fake.Contextualize, fake.Decontextualize}).Draw(t, "in"),
		Node:  rapid.Int64Range(0, 12).Draw(t, "node"),
		Times: rapid.IntRange(0, 3).Draw(t, "times"),
	}
	switch rapid.SampledFrom([]string{"slow", "fails", "missing", "half-made", "an address", "a name", "a machine"}).Draw(t, "how") {
	case "slow":
		// Not a number of seconds, as time limits are: what ends first is to be clear.
		f.Delay = time.Duration(rapid.IntRange(1, 100).Draw(t, "seconds"))*time.Second + moment/20
		f.Late = rapid.Bool().Draw(t, "late")
	case "fails":
		f.Err = fake.ErrUnreachable
		f.Late = f.In != fake.Provision && rapid.Bool().Draw(t, "late")
	case "missing":
		f.Missing = 1
	case "half-made":
		f.Change = func(n *backend.Node) { n.IPAddr = "" }
	case "an address":
		taken := m.aMachine()
		f.Change = func(n *backend.Node) { n.IPAddr = taken.IPAddr }
	case "a name":
		taken := m.aMachine()
		f.Change = func(n *backend.Node) { n.Hostname = taken.Hostname }
	case "a machine":
		taken := m.aMachine()
		f.Change = func(n *backend.Node) {
			n.IPAddr, n.Provision = taken.IPAddr, map[string]any{"hostname": taken.Hostname, "ipaddr": taken.IPAddr}
		}
	}
	if f.Missing > 0 && f.In != fake.Provision && f.In != fake.Deprovision {
		f.Err = fake.ErrUnreachable // for lack of an answer that something could be missing in
	}
	m.machines.Inject(f)
}

// aMachine is one that another may be taken for, there or not.
func (m *model) aMachine() fake.Machine {
	machines := append(m.machines.Machines(), fake.Machine{Hostname: "one.test", IPAddr: "10.255.0.1"})
	return rapid.SampledFrom(machines).Draw(m.T, "machine")
}

func (m *model) healMachines(*rapid.T) { m.machines.Heal() }

func (m *model) loseMachine(t *rapid.T) {
	machines := m.machines.Machines()
	if len(machines) == 0 {
		t.Skip("there are no machines")
	}
	machine := rapid.SampledFrom(machines).Draw(t, "machine")
	_, _ = m.machines.Deprovision(t.Context(), backend.Request{Nodes: []backend.Node{{ID: machine.ID, IPAddr: machine.IPAddr}}})
	if _, ok := m.machines.Machine(machine.ID); !ok {
		m.lost[machine.ID] = true
	}
}

// killProcess kills a process, now or after some steps, and starts another one.
func (m *model) killProcess(t *rapid.T) {
	p := m.aProcess()
	if steps := rapid.IntRange(0, 30).Draw(t, "steps"); steps > 0 {
		p.lightFuse(steps)
		return
	}
	p.kill()
	m.pass(moment)
	m.restart()
}

func (m *model) stopProcess(*rapid.T) {
	p := m.aProcess()
	p.thaw()
	p.stop()
	m.pass(moment)
	m.restart()
}

// restart has processes take the place of those that ended.
func (m *model) restart() {
	for i, p := range m.processes {
		if p.ctx.Err() != nil {
			m.processes[i] = m.newProcess()
		}
	}
}

func (m *model) freezeProcess(*rapid.T) {
	m.aProcess().freeze()
	m.pass(moment)
}

func (m *model) thawProcess(*rapid.T) {
	m.aProcess().thaw()
	m.pass(moment)
}

func (m *model) cutOff(*rapid.T) {
	m.aProcess().connect(false)
	m.pass(moment)
}

func (m *model) reconnect(*rapid.T) {
	m.aProcess().connect(true)
	m.pass(moment)
}

// A time by which clocks are set.
func aStep(t *rapid.T) time.Duration {
	return time.Duration(rapid.IntRange(-600, 600).Draw(t, "clock set by seconds")) * time.Second
}

// setClock sets the clock of a process' machine.
func (m *model) setClock(t *rapid.T) {
	p := m.aProcess()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ahead += aStep(t)
}

// setDatabaseClock sets the clock of the database, as a failover may. Until the
// processes learn of it, sessions expire by what it was.
func (m *model) setDatabaseClock(t *rapid.T) {
	learnt := m.now().Add(reconcileEvery)
	for _, s := range m.sessions {
		s.mayEnd = s.mayEnd || s.expires.Before(learnt)
	}
	m.ahead.Add(int64(aStep(t)))
	m.pass(reconcileEvery)
}

// restore ends all that is wrong, and operates Duffy for as long as it may take
// to recover.
func (m *model) restore() {
	m.machines.Heal()
	restart := rapid.Bool().Draw(m.T, "restart")
	for _, p := range m.processes {
		p.lightFuse(0)
		p.connect(true)
		p.thaw()
		if restart {
			p.kill()
		}
	}
	m.pass(moment)
	m.restart()
	for range 20 { // of what was slow while it began
		if len(m.calls) > 0 {
			m.operate(m.processes[0])
		}
	}
	require.Empty(m, m.calls)
	for began := time.Now(); time.Since(began) < time.Minute+reconcileEvery; {
		m.operate(m.processes[0])
	}
}

const reconcileEvery = 10 * time.Second

// operate does what a process does between two reconciles.
func (m *model) operate(p *process) {
	m.startReconcile(p)
	for end := time.Now().Add(reconcileEvery); time.Now().Before(end); {
		m.pass(moment)
		for due := m.due(); len(due) > 0; due = m.due() {
			for _, i := range slices.Backward(due) {
				job := m.waiting[i]
				m.waiting = slices.Delete(m.waiting, i, i+1)
				m.startJob(p, job)
			}
			m.pass(moment / 10)
		}
	}
}
