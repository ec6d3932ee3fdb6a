package session_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/duffy-ci/duffy/internal/fault"
	"github.com/duffy-ci/duffy/session"
	"github.com/duffy-ci/duffy/tenant"
)

// A customer is a tenant as the model knows it.
type customer struct {
	id          int64
	admin       bool
	retirements int
	keys        []string // the last one is valid
	quota       int
	bound       int // on nodes held: quota, or what was held when that was lowered
}

// A promise is what a user was told of a session.
type promise struct {
	of      *customer
	key     string
	nodes   []int64
	created time.Time
	expires time.Time // may be over from then on
	mayEnd  bool      // somebody wanted it to, and may have got that
	over    bool

	now      func() time.Time
	changing int // calls that change it
	answers  []time.Time
	refused  bool
}

func (s *promise) mayBeOver() bool {
	return s.mayEnd || s.changing > 0 || !s.expires.After(s.now())
}

// changed draws the conclusions once nobody is changing the session any more.
func (s *promise) changed(t require.TestingT) {
	if len(s.answers) > 0 {
		s.expires = slices.MinFunc(s.answers, time.Time.Compare)
	}
	if s.refused {
		require.True(t, s.over || s.mayBeOver(), "a session that is not over was called retired")
		s.mayEnd = true
	}
	s.answers, s.refused = nil, false
}

func (m *model) createTenant(admin bool) {
	name := fmt.Sprintf("tenant%d", len(m.customers)+1)
	key, quota := "key of "+name, 5
	t, _, err := m.tenants.Create(m.Context(), tenant.Tenant{
		Name: name, IsAdmin: admin, SSHKey: key, NodeQuota: &quota,
		SessionLifetime: ptr(tenant.Interval(90 * time.Second)), // so that some expire while the model looks
	})
	require.NoError(m, err)
	m.customers = append(m.customers, &customer{id: t.ID, admin: admin, keys: []string{key}, quota: quota, bound: quota})
}

func (m *model) aProcess() *process {
	return m.processes[rapid.IntRange(0, len(m.processes)-1).Draw(m.T, "process")]
}

func (m *model) aTenant() *customer {
	return m.customers[rapid.IntRange(0, len(m.customers)-1).Draw(m.T, "tenant")]
}

// aSession is mostly one that is not over.
func (m *model) aSession() (int64, *promise) {
	ended := rapid.IntRange(0, 4).Draw(m.T, "ended, too") == 0
	var ids []int64
	for id, s := range m.sessions {
		if ended || !s.over && !s.mayBeOver() {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		m.Skip("there is no such session")
	}
	slices.Sort(ids)
	id := rapid.SampledFrom(ids).Draw(m.T, "session")
	return id, m.sessions[id]
}

// as returns a tenant as it logs in.
func (m *model) as(c *customer) *tenant.Tenant {
	t, err := m.tenants.Get(m.Context(), c.id)
	require.NoError(m, err)
	return t
}

func (m *model) request(t *rapid.T) {
	for range rapid.IntRange(1, 3).Draw(t, "at once") {
		var specs []session.Spec
		for range rapid.IntRange(1, 2).Draw(t, "specs") {
			specs = append(specs, spec(rapid.IntRange(1, 2).Draw(t, "quantity"),
				rapid.SampledFrom([]string{"once", "retried", "again", "too"}).Draw(t, "pool")))
		}
		m.startRequest(m.aProcess(), m.aTenant(), rapid.IntRange(0, 3).Draw(t, "by admin") == 0, specs)
	}
	m.pass(moment)
}

func (m *model) startRequest(p *process, c *customer, byAdmin bool, specs []session.Spec) {
	by, r := m.as(c), session.Request{Specs: specs}
	if byAdmin {
		by, r.TenantID = m.as(m.customers[0]), &c.id
	}
	keys, retirements := len(c.keys), c.retirements
	var got *session.Session
	m.start(p, func(ctx context.Context) (err error) {
		got, err = p.sessions.Request(ctx, by, r)
		return err
	}, func(call *call) {
		if call.err != nil {
			if call.harmed {
				m.orphans++
			} else {
				refused := errors.Is(call.err, fault.Invalid) || errors.Is(call.err, fault.Forbidden) || errors.Is(call.err, fault.Unavailable)
				require.True(m, refused, "%v", call.err)
			}
			return
		}
		s := &promise{of: c, now: m.now, key: got.Tenant.SSHKey, created: got.CreatedAt, expires: *got.ExpiresAt, mayEnd: c.retirements > retirements}
		require.Contains(m, c.keys[keys-1:], s.key)
		wanted, have := map[string]int{}, map[string]int{}
		for _, spec := range specs {
			wanted[spec.Pool] += spec.Quantity
		}
		for _, n := range got.Nodes {
			s.nodes = append(s.nodes, n.ID)
			have[n.Pool]++
		}
		require.Equal(m, wanted, have)
		m.sessions[got.ID] = s
	}).request = true
}

func (m *model) retire(*rapid.T) {
	id, s := m.aSession()
	m.startUpdate(id, s, session.Update{Retire: true})
	m.pass(moment)
}

func (m *model) changeExpiry(*rapid.T) {
	id, s := m.aSession()
	m.startUpdate(id, s, m.anExpiry(s))
	m.pass(moment)
}

// anExpiry is often soon, so that sessions expire while the model looks.
func (m *model) anExpiry(s *promise) session.Update {
	if rapid.Bool().Draw(m.T, "relative") {
		d := rapid.SampledFrom([]time.Duration{-6 * time.Hour, -time.Minute, time.Hour, 24 * time.Hour}).Draw(m.T, "by")
		return session.Update{ExpiresIn: &d}
	}
	at := m.now().Add(time.Duration(rapid.IntRange(-10, 120).Draw(m.T, "seconds")) * time.Second)
	return session.Update{ExpiresAt: &at}
}

func (m *model) changeAtOnce(t *rapid.T) {
	id, s := m.aSession()
	for range rapid.IntRange(2, 4).Draw(t, "at once") {
		switch rapid.IntRange(0, 3).Draw(t, "what") {
		case 0:
			m.startUpdate(id, s, session.Update{Retire: true})
		case 1, 2:
			m.startUpdate(id, s, m.anExpiry(s))
		case 3:
			p := m.aProcess()
			m.start(p, func(ctx context.Context) error { return p.sessions.Reconcile(ctx) }, m.mustWork)
		}
	}
	m.pass(moment)
}

func (m *model) startUpdate(id int64, s *promise, u session.Update) {
	p := m.aProcess()
	by := m.as(s.of)
	if rapid.IntRange(0, 2).Draw(m.T, "by admin") == 0 {
		by = m.as(m.customers[0])
	}
	s.changing++
	s.mayEnd = s.mayEnd || u.Retire
	wasOver := s.over
	var got *session.Session
	m.start(p, func(ctx context.Context) (err error) {
		got, err = p.sessions.Update(ctx, by, id, u)
		return err
	}, func(c *call) {
		switch s.changing--; {
		case c.err == nil:
			require.False(m, wasOver, "session %d was over", id)
			require.NotEqual(m, u.Retire, got.Active())
			s.over = s.over || u.Retire
			s.answers = append(s.answers, *got.ExpiresAt)
		case c.harmed:
			s.mayEnd = true
		default:
			require.ErrorIs(m, c.err, fault.Invalid)
			s.refused = true
		}
		if s.changing == 0 {
			s.changed(m)
		}
	})
}

func (m *model) changeTenant(t *rapid.T) {
	c := m.aTenant()
	switch rapid.SampledFrom([]string{"quota", "key", "retire", "unretire", "create"}).Draw(t, "what") {
	case "quota":
		quota := rapid.IntRange(1, 6).Draw(t, "quota")
		if _, _, err := m.tenants.Update(t.Context(), c.id, tenant.Update{NodeQuota: ptr(&quota)}); err == nil {
			c.quota = quota
		}
	case "key":
		key := fmt.Sprintf("key %d of tenant%d", len(c.keys)+1, c.id)
		if _, _, err := m.tenants.Update(t.Context(), c.id, tenant.Update{SSHKey: &key}); err == nil {
			c.keys = append(c.keys, key)
		}
	case "retire":
		c.retirements++
		for _, s := range m.sessions {
			s.mayEnd = s.mayEnd || s.of == c
		}
		if _, err := m.observer.sessions.RetireTenant(t.Context(), c.id); err != nil {
			require.ErrorIs(t, err, fault.Invalid)
		}
	case "unretire":
		_, err := m.tenants.Unretire(t.Context(), c.id)
		require.NoError(t, err)
	case "create":
		if len(m.customers) < 5 {
			m.createTenant(false)
		}
	}
	m.pass(moment)
}
