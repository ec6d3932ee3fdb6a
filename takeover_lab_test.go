package duffy_test

import (
	"context"
	"os/exec"
	"regexp"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy"
	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/backend/fake"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/pool"
	"github.com/duffy-ci/duffy/session"
	"github.com/duffy-ci/duffy/tenant"
)

// A worker takes over from others only after 30 seconds.
const (
	patience = 3 * time.Minute
	glance   = 100 * time.Millisecond
)

// A takeOver is a database that Duffy 3 has left, with the machines of its nodes.
type takeOver struct {
	*testing.T
	url      string
	duffy    *duffy.Duffy
	machines *fake.Backend
}

func newTakeOver(t *testing.T) *takeOver {
	o := &takeOver{T: t, url: dbtest.PostgresURL(t), machines: fake.New()}
	restore(t, o.url, "internal/db/testdata/duffy3.sql")
	restore(t, o.url, "testdata/duffy3/busy.sql")
	pools, err := pool.NewSet(
		pool.Config{Name: "thrown", Backend: "fake", FillLevel: new(2)},
		pool.Config{Name: "retried", Backend: "fake", FillLevel: new(1), OnInterrupted: pool.OnInterruptedRetry},
		pool.Config{Name: "reused", Backend: "fake", FillLevel: new(0), ReuseNodes: map[string]any{"arch": "x86_64"}},
	)
	require.NoError(t, err)
	o.duffy, err = duffy.New(t.Context(),
		duffy.Config{Database: o.url, Pools: pools, ReconcileEvery: 100 * time.Millisecond},
		duffy.Options{Backends: map[string]backend.Backend{"fake": o.machines}, Contextualizer: o.machines})
	require.NoError(t, err)
	t.Cleanup(func() { o.duffy.Close() })

	var exist []backend.Node
	require.NoError(t, o.duffy.DB().NewSelect().Table("nodes").Column("id").
		Where("ipaddr IS NOT NULL").Where("state NOT IN ('provisioning', 'unused', 'done')").Scan(t.Context(), &exist))
	_, err = o.machines.Provision(t.Context(), backend.Request{Nodes: exist})
	require.NoError(t, err)
	return o
}

// upgrade upgrades, twice, and checks that no row changes.
func (o *takeOver) upgrade() {
	o.Helper()
	before := o.rows()
	_, to, err := o.duffy.Upgrade(o.Context(), "head")
	require.NoError(o, err)
	require.True(o, to.Head)
	from, to, err := o.duffy.Upgrade(o.Context(), "head")
	require.NoError(o, err)
	require.Equal(o, from, to)
	require.NoError(o, o.duffy.Check(o.Context()))
	require.Equal(o, before, o.rows())
}

// rows returns what Duffy 3 sees.
func (o *takeOver) rows() (rows []string) {
	o.Helper()
	require.NoError(o, o.duffy.DB().NewRaw(`SELECT row_to_json(t)::text FROM tenants AS t
		UNION ALL SELECT row_to_json(s)::text FROM sessions AS s
		UNION ALL SELECT row_to_json(sn)::text FROM sessions_nodes AS sn
		UNION ALL SELECT row_to_json(n)::text FROM (SELECT created_at, retired_at, id, hostname, ipaddr, state,
			comment, pool, reusable, data FROM nodes) AS n
		ORDER BY 1`).Scan(o.Context(), &rows))
	return rows
}

var dumpNoise = regexp.MustCompile(`(?m)^(--|\\).*\n`)

// schema returns the schema as pg_dump writes it.
func (o *takeOver) schema() string {
	o.Helper()
	out, err := exec.Command("pg_dump", "--schema-only", o.url).Output()
	require.NoError(o, err)
	return dumpNoise.ReplaceAllString(string(out), "")
}

func (o *takeOver) exec(sql string) {
	o.Helper()
	_, err := o.duffy.DB().ExecContext(o.Context(), sql)
	require.NoError(o, err)
}

func (o *takeOver) tenantsRemain() {
	o.Helper()
	for _, name := range []string{"admin", "tenant"} {
		_, err := o.duffy.Tenants.Authenticate(o.Context(), name, key(name))
		require.NoError(o, err, name)
	}
	_, err := o.duffy.Tenants.Authenticate(o.Context(), "retired", key("retired"))
	require.ErrorContains(o, err, "Forbidden")
}

func key(name string) string { return uuid.NewSHA1(uuid.NameSpaceOID, []byte(name)).String() }

// work runs a worker until stop is called.
func (o *takeOver) work() (stop func()) {
	ctx, cancel := context.WithCancel(o.Context())
	ended := make(chan error, 1)
	go func() { ended <- o.duffy.Work(ctx) }()
	return func() {
		cancel()
		require.NoError(o, <-ended)
	}
}

// eventually waits until nodes are in their states.
func (o *takeOver) eventually(want map[pool.State][]int64) {
	o.Helper()
	require.EventuallyWithT(o, func(c *assert.CollectT) {
		for state, ids := range want {
			var got []int64
			require.NoError(c, o.duffy.DB().NewSelect().Table("nodes").Column("id").
				Where("state = ?", state).Where("id IN (?)", bun.List(ids)).Order("id").Scan(o.Context(), &got))
			require.Equal(c, ids, got, state)
		}
	}, patience, glance)
}

func (o *takeOver) node(id int64) *pool.Node {
	o.Helper()
	n, err := o.duffy.Pools.Node(o.Context(), id)
	require.NoError(o, err)
	return n
}

// pool returns the pool of a node also in a database of Duffy 3.
func (o *takeOver) pool(id int64) (name string) {
	o.Helper()
	require.NoError(o, o.duffy.DB().NewSelect().Table("nodes").Column("pool").Where("id = ?", id).Scan(o.Context(), &name))
	return name
}

// accounted waits until there is a machine for exactly the nodes that have one.
func (o *takeOver) accounted() {
	o.Helper()
	require.EventuallyWithT(o, func(c *assert.CollectT) {
		nodes, err := o.duffy.Pools.Nodes(o.Context())
		require.NoError(c, err)
		for _, n := range nodes {
			_, exists := o.machines.Machine(n.ID)
			want := n.State == pool.Ready || n.State == pool.Deployed || n.State == pool.Failed && n.IPAddr != ""
			require.Equal(c, want, exists, "node %d is %s", n.ID, n.State)
		}
	}, patience, glance)
}

func (o *takeOver) activeSessions() (ids []int64) {
	o.Helper()
	sessions, err := o.duffy.Sessions.List(o.Context(), nil)
	require.NoError(o, err)
	for _, s := range sessions {
		ids = append(ids, s.ID)
	}
	return ids
}

var operator = &tenant.Tenant{IsAdmin: true}

func (o *takeOver) retire(id int64) {
	o.Helper()
	_, err := o.duffy.Sessions.Update(o.Context(), operator, id, session.Update{Retire: true})
	require.NoError(o, err)
}

func (o *takeOver) expire(id int64) {
	o.Helper()
	now := time.Now()
	_, err := o.duffy.Sessions.Update(o.Context(), operator, id, session.Update{ExpiresAt: &now})
	require.NoError(o, err)
}

// request hands out a node, to a tenant with several keys.
func (o *takeOver) request(node int64, name string) {
	o.Helper()
	t, err := o.duffy.Tenants.GetByName(o.Context(), "tenant")
	require.NoError(o, err)
	s, err := o.duffy.Sessions.Request(o.Context(), t, session.Request{Specs: []session.Spec{{Quantity: 1, Pool: name}}})
	require.NoError(o, err)
	require.Equal(o, node, s.Nodes[0].ID)
	m, _ := o.machines.Machine(node)
	require.Equal(o, "ssh-ed25519 AAAA one@example.net\nssh-rsa BBBB two@example.net\n\n# the third\nssh-ed25519 CCCC three@example.net\n", m.SSHKey)
}
