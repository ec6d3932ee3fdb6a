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

// TestTakeOver has Duffy go on where a busy Duffy 3 was stopped, then Duffy 3
// where Duffy was, and Duffy once more.
func TestTakeOver(t *testing.T) {
	t.Parallel()
	o := newTakeOver(t)
	duffy3 := o.schema()
	require.ErrorContains(t, o.duffy.Check(t.Context()), "run duffy migration upgrade")
	o.upgrade()
	o.tenantsRemain()

	stop := o.work()
	o.eventually(map[pool.State][]int64{
		pool.Ready:    {1, 2, 18, 19},
		pool.Deployed: {3, 4, 5, 6},
		pool.Done:     {7, 8, 9, 10, 11, 12, 13, 24},
		pool.Unused:   {14, 23},
		pool.Failed:   {15, 16, 17, 20, 21, 22},
	})
	for id, reason := range map[int64]string{
		15: "deprovisioning failed: pool 'gone' not found",
		16: "deprovisioning failed: it is not known which pool the node is of",
		17: "provisioning was interrupted, an instance of it may exist: its worker is gone",
		20: "provisioning was interrupted, an instance of it may exist: its worker is gone",
		21: "contextualizing node failed",
		22: "deprovisioning mechanism failed",
	} {
		require.Equal(t, reason, o.node(id).Data["error"].(map[string]any)["detail"], id)
	}
	require.Equal(t, "gone", o.node(15).Pool)
	require.Equal(t, "thrown", o.node(22).Pool)
	require.Equal(t, []int64{1, 8, 9, 10}, o.activeSessions())
	o.accounted()

	o.retire(1)
	o.expire(9)
	o.retire(10)
	o.eventually(map[pool.State][]int64{pool.Done: {3, 5}, pool.Unused: {4}, pool.Failed: {6}})
	o.accounted()

	// This is not finished when Duffy 3 takes over.
	o.request(2, "reused")
	o.machines.Inject(fake.Fault{In: fake.Deprovision, Err: fake.ErrUnreachable})
	o.retire(11)
	o.eventually(map[pool.State][]int64{pool.Deprovisioning: {2}})
	stop()
	from, to, err := o.duffy.Downgrade(t.Context(), "-1")
	require.NoError(t, err)
	require.True(t, from.Head)
	require.Equal(t, duffy.Revision{Duffy3: "6654d536b836"}, to)
	require.Equal(t, duffy3, o.schema(), "nothing of ours is left")
	require.Equal(t, "reused", o.pool(2))

	o.exec(`UPDATE nodes SET state = 'deployed' WHERE id IN (1, 18);
		INSERT INTO sessions (id, tenant_id) VALUES (12, 2), (13, 2);
		INSERT INTO sessions_nodes (session_id, node_id, pool) VALUES (12, 1, 'thrown'), (13, 18, 'retried');
		UPDATE sessions SET retired_at = now() AT TIME ZONE 'utc' WHERE id = 12;
		UPDATE nodes SET state = 'deprovisioning', pool = NULL WHERE id = 1`)
	o.upgrade()
	o.machines.Heal()
	stop = o.work()
	o.eventually(map[pool.State][]int64{pool.Done: {1}, pool.Unused: {2}, pool.Deployed: {18}})
	o.retire(13)
	o.eventually(map[pool.State][]int64{pool.Done: {18}})
	stop()
	o.accounted()
}

// TestUpgradeRefuses has a mistaken URL told.
func TestUpgradeRefuses(t *testing.T) {
	t.Parallel()
	d, err := duffy.New(t.Context(), duffy.Config{Database: dbtest.PostgresURL(t)}, duffy.Options{})
	require.NoError(t, err)
	defer d.Close()
	for _, sql := range []string{
		"SELECT 1",
		"CREATE TABLE oc_users (uid text)",
		"CREATE TABLE alembic_version (version_num text); INSERT INTO alembic_version VALUES ('f00')",
		"DROP TABLE alembic_version; CREATE TABLE nodes (id integer)",
	} {
		_, err := d.DB().ExecContext(t.Context(), sql)
		require.NoError(t, err)
		_, _, err = d.Upgrade(t.Context(), "head")
		require.Regexp(t, "check its URL|use a database or schema of Duffy's own", err, sql)
	}
}

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
	}, 3*time.Minute, 100*time.Millisecond)
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

// accounted checks that there is a machine for exactly the nodes that have one.
func (o *takeOver) accounted() {
	o.Helper()
	nodes, err := o.duffy.Pools.Nodes(o.Context())
	require.NoError(o, err)
	for _, n := range nodes {
		_, exists := o.machines.Machine(n.ID)
		want := n.State == pool.Ready || n.State == pool.Deployed || n.State == pool.Failed && n.IPAddr != ""
		require.Equal(o, want, exists, "node %d is %s", n.ID, n.State)
	}
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
