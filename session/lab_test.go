package session_test

import (
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/backend/fake"
	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/pool"
	"github.com/duffy-ci/duffy/queue"
	"github.com/duffy-ci/duffy/queue/queuetest"
	"github.com/duffy-ci/duffy/session"
	"github.com/duffy-ci/duffy/tenant"
)

// A lab is a whole Duffy without its outside: its jobs run when the test says
// so, its clock stands still, its machines are fake.
type lab struct {
	*testing.T
	db       *db.DB
	machines *fake.Backend
	tenants  *tenant.Service
	pools    *pool.Service
	sessions *session.Service
	jobs     *queuetest.Recorder
	mux      queue.Mux
	clock    *clock
	log      logbook
}

// A logbook is what the services logged so far.
type logbook struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *logbook) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// with returns the lines with text in them.
func (b *logbook) with(text string) (lines []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for line := range strings.Lines(b.text.String()) {
		if strings.Contains(line, text) {
			lines = append(lines, line)
		}
	}
	return lines
}

func newLab(t *testing.T, d *db.DB, pools ...pool.Config) *lab {
	machines := fake.New()
	return newLabOf(t, d, machines, machines, pools...)
}

// newLabOf returns a lab whose backend and contextualizer is outside, of machines.
func newLabOf(t *testing.T, d *db.DB, machines *fake.Backend, outside interface {
	backend.Backend
	backend.Contextualizer
}, pools ...pool.Config,
) *lab {
	set, err := pool.NewSet(pools...)
	require.NoError(t, err)
	l := &lab{T: t, db: d, machines: machines, clock: &clock{now: time.Now().UTC()}}
	began := l.clock.Now()
	log := slog.New(slog.NewTextHandler(&l.log, nil))
	l.jobs = &queuetest.Recorder{Now: l.clock.Now}
	l.tenants = tenant.New(d.DB, tenant.Config{BcryptCost: bcrypt.MinCost, Now: l.clock.Now})
	l.pools = pool.New(d.DB, l.jobs, pool.ServiceConfig{
		Pools: set, Backends: map[string]backend.Backend{"fake": outside},
		Contextualizer: outside, Now: l.clock.Now, Elapsed: func() time.Duration { return l.clock.Now().Sub(began) }, Lease: time.Minute, InspectTimeout: 100 * time.Millisecond, Logger: log,
	})
	l.sessions = session.New(d.DB, l.jobs, l.tenants, l.pools, session.Config{
		Contextualizer: outside, Now: l.clock.Now, NodeTimeout: 5 * time.Second, Logger: log,
	})
	l.pools.Handle(&l.mux)
	l.sessions.Handle(&l.mux)
	return l
}

// throwAway is the configuration of a pool that makes new nodes.
func throwAway(name string, level int) pool.Config {
	return pool.Config{Name: name, FillLevel: &level, Backend: "fake"}
}

// reusing is the configuration of a pool that reuses nodes.
func reusing(name string, level int) pool.Config {
	return pool.Config{Name: name, FillLevel: &level, Backend: "fake", ReuseNodes: map[string]any{"arch": "x86_64"}}
}

// fill fills all pools.
func (l *lab) fill() {
	l.Helper()
	l.reconcile()
}

// reconcile does what workers do in the background until nothing is left to do.
func (l *lab) reconcile() {
	l.Helper()
	require.NoError(l, l.sessions.Reconcile(l.Context()))
	require.NoError(l, l.pools.Reconcile(l.Context()))
	l.work()
}

// work runs the jobs that are due.
func (l *lab) work() {
	l.Helper()
	l.jobs.Run(l.T, &l.mux)
}

func (l *lab) tenant(name string) *tenant.Tenant {
	l.Helper()
	t, _, err := l.tenants.Create(l.Context(), tenant.Tenant{Name: name, SSHKey: "key of " + name})
	require.NoError(l, err)
	return t
}

func (l *lab) admin() *tenant.Tenant {
	l.Helper()
	t, _, err := l.tenants.Create(l.Context(), tenant.Tenant{Name: "admin", SSHKey: "key of admin", IsAdmin: true})
	require.NoError(l, err)
	return t
}

func (l *lab) request(by *tenant.Tenant, specs ...session.Spec) (*session.Session, error) {
	return l.sessions.Request(l.Context(), by, session.Request{Specs: specs})
}

func (l *lab) mustRequest(by *tenant.Tenant, specs ...session.Spec) *session.Session {
	l.Helper()
	s, err := l.request(by, specs...)
	require.NoError(l, err)
	return s
}

func (l *lab) retire(by *tenant.Tenant, s *session.Session) {
	l.Helper()
	_, err := l.sessions.Update(l.Context(), by, s.ID, session.Update{Retire: true})
	require.NoError(l, err)
}

// node returns what the database says about a node now.
func (l *lab) node(id int64) *pool.Node {
	l.Helper()
	n, err := l.pools.Node(l.Context(), id)
	require.NoError(l, err)
	return n
}

func (l *lab) levels(name string) map[pool.State]int {
	l.Helper()
	levels, err := l.pools.Levels(l.Context(), name)
	require.NoError(l, err)
	return levels
}

// accounted checks that nothing leaks: there is a machine for exactly those
// nodes that have one, and a tenant's key exactly on deployed ones.
func (l *lab) accounted() {
	l.Helper()
	nodes, err := l.pools.Nodes(l.Context())
	require.NoError(l, err)
	want := map[int64]string{}
	for _, n := range nodes {
		switch n.State {
		case pool.Ready:
			want[n.ID] = ""
		case pool.Deployed:
			require.NotNil(l, n.SessionID, "node %d is deployed without a session", n.ID)
			s, err := l.sessions.Get(l.Context(), &tenant.Tenant{IsAdmin: true}, *n.SessionID)
			require.NoError(l, err)
			want[n.ID] = s.Tenant.SSHKey
		}
	}
	have := map[int64]string{}
	for _, m := range l.machines.Machines() {
		have[m.ID] = m.SSHKey
	}
	require.Equal(l, want, have)
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func spec(quantity int, name string) session.Spec {
	return session.Spec{Quantity: quantity, Pool: name}
}

func ptr[T any](v T) *T { return &v }
