package session_test

import (
	"context"
	"flag"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/uptrace/bun"
	"golang.org/x/crypto/bcrypt"
	"pgregory.net/rapid"

	"github.com/duffy-ci/duffy/backend/fake"
	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/pool"
	"github.com/duffy-ci/duffy/queue"
	"github.com/duffy-ci/duffy/queue/queuetest"
	"github.com/duffy-ci/duffy/tenant"
)

// TestModel has tenants, operators, workers and disasters do anything in any
// order, and compares what can be seen of sessions, nodes and machines with what
// users were told. For a longer run:
//
//	go test ./session -run Model -rapid.checks=5000
func TestModel(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) {
		checks(t, 150, 1)
		checkModel(t, "sqlite:///"+filepath.Join(t.TempDir(), "duffy.db"))
	})
	t.Run("postgres", func(t *testing.T) {
		checks(t, 30, 5)
		checkModel(t, dbtest.PostgresURL(t))
	})
}

// checks sets how many checks rapid makes: n, always the same ones, or what the
// command line asks for divided by a number, always others.
func checks(t *testing.T, n, divisor int) {
	const checks, seed = "rapid.checks", "rapid.seed"
	given := map[string]string{}
	flag.Visit(func(f *flag.Flag) { given[f.Name] = f.Value.String() })
	if asked, ok := given[checks]; ok {
		number, err := strconv.Atoi(asked)
		require.NoError(t, err)
		n = max(1, number/divisor)
	} else if given[seed] == "" {
		setFlag(t, seed, "1")
	}
	setFlag(t, checks, strconv.Itoa(n))
}

// setFlag sets a flag until the test ends, as if it had not been given.
func setFlag(t *testing.T, name, value string) {
	set := flag.Lookup(name).Value.Set
	before := flag.Lookup(name).Value.String()
	require.NoError(t, set(value))
	t.Cleanup(func() { require.NoError(t, set(before)) })
}

func checkModel(t *testing.T, url string) {
	d, err := db.Open(t.Context(), url, db.Config{})
	require.NoError(t, err)
	_, _, err = db.Migrate(t.Context(), d)
	require.NoError(t, err)
	require.NoError(t, recordMoves(t.Context(), d))
	require.NoError(t, d.Close())
	// They remember logins with a goroutine that never ends, which a bubble in
	// which time is ours does not stand.
	databases, tenants := make(chan *bun.DB), make(chan *tenant.Service)
	go func() {
		for d := range databases {
			tenants <- tenant.New(d, tenant.Config{BcryptCost: bcrypt.MinCost})
		}
	}()
	defer close(databases)
	rapid.Check(t, func(t *rapid.T) {
		rapid.SyncTest(t, func(t *rapid.T) {
			m := newModel(t, url, func(d *bun.DB) *tenant.Service {
				databases <- d
				return <-tenants
			})
			m.Repeat(map[string]func(*rapid.T){
				"":                   m.check,
				"request":            m.request,
				"request again":      m.request,
				"request once more":  m.request,
				"retire":             m.retire,
				"change expiry":      m.changeExpiry,
				"change at once":     m.changeAtOnce,
				"change tenant":      m.changeTenant,
				"wait":               m.wait,
				"work":               m.work,
				"work more":          m.work,
				"work for a while":   m.workForAWhile,
				"lose jobs":          m.loseJobs,
				"reconcile":          m.reconcile,
				"break machines":     m.breakMachines,
				"heal machines":      m.healMachines,
				"lose machine":       m.loseMachine,
				"kill process":       m.killProcess,
				"stop process":       m.stopProcess,
				"freeze process":     m.freezeProcess,
				"thaw process":       m.thawProcess,
				"cut off database":   m.cutOff,
				"reconnect database": m.reconnect,
				"set clock":          m.setClock,
				"set database clock": m.setDatabaseClock,
			})
			m.restore()
			m.checkRecovered()
		})
	})
}

// A model knows what happened to Duffy, and what it told to whom.
type model struct {
	*rapid.T
	db        *db.DB
	machines  *fake.Inspector
	busy      *busy
	tenants   *tenant.Service
	pools     *pool.Set
	jobs      *queuetest.Recorder
	waiting   []queue.Job
	observer  *process   // which nothing happens to
	all       []*process // that ever were
	processes []*process // that work now
	calls     []*call    // that are running

	customers []*customer
	sessions  map[int64]*promise
	orphans   int            // requests of whose end nobody knows
	lost      map[int64]bool // nodes whose machine was lost
	checked   int64          // the last move of a node that was looked at
	ahead     atomic.Int64   // of the clock of the database, in nanoseconds
}

// now is the time of the database.
func (m *model) now() time.Time { return time.Now().Add(time.Duration(m.ahead.Load())) }

func newModel(t *rapid.T, url string, newTenants func(*bun.DB) *tenant.Service) *model {
	m := &model{
		T: t, machines: fake.NewInspector(), busy: &busy{until: map[int64]context.Context{}, told: map[int64]*process{}}, jobs: &queuetest.Recorder{},
		sessions: map[int64]*promise{}, lost: map[int64]bool{},
	}
	m.ahead.Store(int64(time.Hour))
	var err error
	m.db, err = db.Open(t.Context(), url, db.Config{})
	require.NoError(t, err)
	t.Cleanup(func() {
		for _, p := range m.all {
			p.kill()
		}
		time.Sleep(time.Hour) // to the end of the time limits of whatever still runs
		require.NoError(t, m.db.Close())
	})
	require.NoError(t, empty(t.Context(), m.db))

	again, retried := reusing("again", 2), throwAway("retried", 2)
	retried.OnInterrupted, retried.Together = pool.OnInterruptedRetry, true
	m.pools, err = pool.NewSet(throwAway("once", 3), retried, again, reusing("too", 1))
	require.NoError(t, err)
	m.tenants = newTenants(m.db.DB)
	m.observer = m.newProcess()
	m.processes = []*process{m.newProcess(), m.newProcess()}
	for range 4 {
		_, err := m.observer.pools.CreateNode(t.Context(), pool.Node{Reusable: true, Data: pool.Data{"arch": "x86_64"}})
		require.NoError(t, err)
	}
	m.createTenant(true)
	m.createTenant(false)
	m.createTenant(false)
	for range 3 { // so that there is something to begin with
		m.operate(m.observer)
	}
	return m
}

func (m *model) newProcess() *process {
	p := newProcess(m.Context(), m.db.DB, m.now, m.jobs, m.machines, m.busy, m.pools, m.tenants)
	m.all = append(m.all, p)
	return p
}

// empty empties the database, and has it count from 1.
func empty(ctx context.Context, d *db.DB) error {
	statements := []string{"TRUNCATE moves, sessions_nodes, nodes, sessions, api_keys, tenants, pools RESTART IDENTITY"}
	if !d.Postgres() {
		statements = []string{
			"DELETE FROM sessions_nodes", "DELETE FROM nodes", "DELETE FROM sessions", "DELETE FROM tenants",
			"DELETE FROM pools", "DELETE FROM moves", "DELETE FROM sqlite_sequence",
		}
	}
	for _, s := range statements {
		if _, err := d.ExecContext(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// A call is something that a process was asked to do.
type call struct {
	by      *process
	done    chan struct{}
	err     error
	request bool // of a session
	harmed  bool // something happened to the process meanwhile
	then    func(*call)
}

// start has a process do something. What comes of it is told to then.
func (m *model) start(p *process, do func(context.Context) error, then func(*call)) *call {
	c := &call{by: p, done: make(chan struct{}), harmed: p.unwell(), then: then}
	m.calls = append(m.calls, c)
	go func() {
		defer close(c.done)
		c.err = do(p.ctx)
	}()
	return c
}

// pass lets time pass, while calls go on.
func (m *model) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
	calls := m.calls
	m.calls = nil
	for _, c := range calls {
		c.harmed = c.harmed || c.by.unwell()
		select {
		case <-c.done:
			c.then(c)
		default:
			m.calls = append(m.calls, c)
		}
	}
	m.waiting = append(m.waiting, m.jobs.Jobs()...)
	m.jobs.Lose()
}

// moment is the time that an action takes, enough for whatever does not wait for
// a machine.
const moment = time.Second

// mustWork is for calls that only what happens to a process keeps from success.
func (m *model) mustWork(c *call) {
	if !c.harmed {
		require.NoError(m, c.err)
	}
}
