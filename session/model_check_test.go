package session_test

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/pool"
	"github.com/duffy-ci/duffy/session"
)

// moves are those that the table in package pool allows.
var moves = []string{
	" provisioning", "unused provisioning", " unused",
	"provisioning ready", "provisioning unused", "provisioning failed",
	"ready contextualizing",
	"contextualizing deployed", "contextualizing failed", "contextualizing ready", "contextualizing deprovisioning",
	"deployed deprovisioning",
	"deprovisioning unused", "deprovisioning done", "deprovisioning failed",
	"failed deprovisioning", "failed done",
}

// A move is one of a node from a state, none if it is new, to another.
type move struct {
	ID, Node    int64
	Pool        string
	Was, Became string
}

// recordMoves has the database write down all moves of nodes.
func recordMoves(ctx context.Context, d *db.DB) error {
	statements := []string{
		"CREATE TABLE moves (id INTEGER PRIMARY KEY AUTOINCREMENT, node INTEGER, pool TEXT, was TEXT, became TEXT)",
		`CREATE TRIGGER made AFTER INSERT ON nodes BEGIN
INSERT INTO moves (node, pool, was, became) VALUES (new.id, coalesce(new.pool, ''), '', new.state); END`,
		`CREATE TRIGGER moved AFTER UPDATE OF state ON nodes WHEN old.state <> new.state BEGIN
INSERT INTO moves (node, pool, was, became) VALUES (new.id, coalesce(new.pool, old.pool, ''), old.state, new.state); END`,
	}
	if d.Postgres() {
		statements = []string{
			"CREATE TABLE moves (id serial PRIMARY KEY, node integer, pool text, was text, became text)",
			`CREATE FUNCTION moved() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
IF TG_OP = 'INSERT' THEN
	INSERT INTO moves (node, pool, was, became) VALUES (new.id, coalesce(new.pool, ''), '', new.state);
ELSIF old.state <> new.state THEN
	INSERT INTO moves (node, pool, was, became) VALUES (new.id, coalesce(new.pool, old.pool, ''), old.state, new.state);
END IF;
RETURN NULL; END $$`,
			"CREATE TRIGGER moved AFTER INSERT OR UPDATE ON nodes FOR EACH ROW EXECUTE FUNCTION moved()",
		}
	}
	for _, s := range statements {
		if _, err := d.ExecContext(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// check compares what can be seen with what users were told.
func (m *model) check(*rapid.T) {
	for _, p := range m.all {
		require.Empty(m, p.wrong)
	}
	m.restart()
	sessions, err := m.observer.sessions.List(m.Context(), nil)
	require.NoError(m, err)
	nodes, err := m.observer.pools.Nodes(m.Context())
	require.NoError(m, err)
	byID := map[int64]*pool.Node{}
	for _, n := range nodes {
		byID[n.ID] = n
	}
	m.checkSessions(sessions, byID)
	m.checkQuota(sessions)
	m.checkNodes(nodes)
	m.checkMachines(byID)
	m.checkMoves(nodes)
}

func (m *model) checkSessions(active []*session.Session, nodes map[int64]*pool.Node) {
	holder := map[int64]int64{}
	listed := map[int64]bool{}
	unknown := 0
	for _, ses := range active {
		listed[ses.ID] = true
		var ids []int64
		for _, n := range ses.Nodes {
			require.Zero(m, holder[n.ID], "node %d is in session %d, too", n.ID, ses.ID)
			holder[n.ID] = ses.ID
			ids = append(ids, n.ID)
		}
		s := m.sessions[ses.ID]
		if s == nil {
			unknown++
			continue
		}
		require.False(m, s.over, "session %d is over", ses.ID)
		require.ElementsMatch(m, s.nodes, ids, "session %d", ses.ID)
		for _, id := range ids {
			n := nodes[id]
			require.NotNil(m, n, "session %d: node %d is gone", ses.ID, id)
			require.Equal(m, pool.Deployed, n.State, "session %d, node %d", ses.ID, id)
			require.Contains(m, n.Data, "ssh", "node %d was handed out without a look at it", id)
			require.Equal(m, ses.ID, *n.SessionID)
			if machine, ok := m.machines.Machine(id); ok || !m.lost[id] {
				require.Equal(m, s.key, machine.SSHKey, "session %d, node %d", ses.ID, id)
			}
		}
	}
	for id, s := range m.sessions {
		if !s.over && !s.mayBeOver() {
			require.True(m, listed[id], "session %d is gone", id)
		}
	}
	requests := m.orphans
	for _, c := range m.calls {
		if c.request {
			requests++
		}
	}
	require.LessOrEqual(m, unknown, requests, "sessions that nobody was told of")
}

func (m *model) checkQuota(active []*session.Session) {
	held := map[int64]int{}
	for _, ses := range active {
		held[ses.TenantID] += len(ses.Nodes)
	}
	for _, c := range m.customers {
		if !c.admin {
			require.LessOrEqual(m, held[c.id], c.bound, "nodes held by tenant %d", c.id)
			c.bound = max(c.quota, held[c.id])
		}
	}
}

// jargon is what says nothing to operators unless something explains it.
var jargon = regexp.MustCompile(`^([\w ]*failed: )?(context (canceled|deadline exceeded)|sql: .*)$`)

func (m *model) checkNodes(nodes []*pool.Node) {
	for _, n := range nodes {
		if n.State == pool.Failed {
			failure, _ := n.Data["error"].(map[string]any)
			reason, _ := failure["detail"].(string)
			require.NotEmpty(m, reason, "why node %d failed", n.ID)
			require.NotRegexp(m, jargon, reason, "why node %d failed", n.ID)
		}
	}
}

func (m *model) checkMachines(nodes map[int64]*pool.Node) {
	for _, machine := range m.machines.Machines() {
		delete(m.lost, machine.ID)
		n := nodes[machine.ID]
		require.NotNil(m, n, "the machine of node %d was forgotten", machine.ID)
		switch n.State {
		case pool.Unused, pool.Provisioning, pool.Ready:
			require.Empty(m, machine.SSHKey, "node %d is %s", n.ID, n.State)
		case pool.Failed:
			require.True(m, n.RetryAt != nil || !m.isKnown(machine.ID), "nobody removes the machine: %s", describe(n))
		}
	}
	for id, n := range nodes {
		if _, ok := m.machines.Machine(id); n.State == pool.Ready && !ok {
			require.True(m, m.lost[id], "node %d is ready without a machine", id)
		}
	}
}

// isKnown tells whether a process that is well was told of a node's machine and has had the time
// to write that down.
func (m *model) isKnown(id int64) bool {
	m.busy.mu.Lock()
	p := m.busy.told[id]
	m.busy.mu.Unlock()
	working := slices.ContainsFunc(m.calls, func(c *call) bool { return c.by == p })
	return p != nil && !p.unwell() && !working
}

// noFault are reasons for which a node fails although its backend works.
var noFault = regexp.MustCompile("the worker was shut down|the lease was lost|had been given up|more nodes than it was asked for")

// checkPauses checks that pools rest whose backend failed for nodes, unless it worked for
// others.
func (m *model) checkPauses(failed map[string]int64, worked map[string]bool, nodes []*pool.Node) {
	byID := map[int64]*pool.Node{}
	for _, n := range nodes {
		byID[n.ID] = n
	}
	for name, id := range failed {
		n := byID[id]
		if n == nil || worked[name] || noFault.MatchString(n.Reason()) {
			continue
		}
		if failure, _ := n.Data["error"].(map[string]any); failure["interrupted"] == true {
			continue
		}
		trouble, err := m.observer.pools.Trouble(m.Context(), name)
		require.NoError(m, err)
		require.NotZero(m, trouble.Failures, describe(n))
		require.NotNil(m, trouble.RetryAt, describe(n))
		require.NotEmpty(m, trouble.LastError, describe(n))
	}
}

func (m *model) checkMoves(nodes []*pool.Node) {
	var news []move
	require.NoError(m, m.db.NewSelect().Table("moves").Where("id > ?", m.checked).Order("id").Scan(m.Context(), &news))
	filled, handedBack := map[string]bool{}, map[string]bool{}
	failed, worked := map[string]int64{}, map[string]bool{}
	for _, mv := range news {
		m.checked = mv.ID
		require.Contains(m, moves, mv.Was+" "+mv.Became, "node %d", mv.Node)
		switch mv.Was + " " + mv.Became {
		case "provisioning ready":
			worked[mv.Pool] = true
		case "provisioning failed", "provisioning unused":
			failed[mv.Pool] = mv.Node
		}
		switch mv.Became {
		case string(pool.Provisioning):
			filled[mv.Pool] = true
		case string(pool.Ready):
			handedBack[mv.Pool] = handedBack[mv.Pool] || mv.Was == string(pool.Contextualizing)
		}
	}
	m.checkPauses(failed, worked, nodes)
	level := map[string]int{}
	for _, n := range nodes {
		if n.State == pool.Ready || n.State == pool.Provisioning {
			level[n.Pool]++
		}
	}
	for name := range filled {
		if c := m.pools.Get(name); !handedBack[name] {
			require.LessOrEqual(m, level[name], *c.FillLevel, "nodes that pool %s has been filled with", name)
		}
	}
}

// checkExpired follows a sweep that began at a time.
func (m *model) checkExpired(swept time.Time) {
	sessions, err := m.observer.sessions.List(m.Context(), nil)
	require.NoError(m, err)
	for _, ses := range sessions {
		require.True(m, ses.ExpiresAt.After(swept), "session %d is active after it expired", ses.ID)
	}
}

// checkRecovered checks that everything moves, and nothing is left behind.
func (m *model) checkRecovered() {
	m.check(m.T)
	nodes, err := m.observer.pools.Nodes(m.Context())
	require.NoError(m, err)
	levels := map[string]map[pool.State]int{"": {}}
	byID := map[int64]*pool.Node{}
	moving := map[int64]bool{} // such as those of a session that has just expired
	for _, n := range nodes {
		byID[n.ID] = n
		moving[n.ID] = m.now().Sub(*n.StateSince) < reconcileEvery
		if levels[n.Pool] == nil {
			levels[n.Pool] = map[pool.State]int{}
		}
		switch n.State {
		case pool.Provisioning, pool.Contextualizing, pool.Deprovisioning:
			require.True(m, moving[n.ID], describe(n))
		}
		if n.State != pool.Unused || !moving[n.ID] {
			levels[n.Pool][n.State]++
		}
	}
	for _, c := range m.pools.Concrete() {
		if !c.Reuses() || levels[""][pool.Unused] > 0 && !m.addressTaken(nodes) {
			stock := levels[c.Name][pool.Ready] + levels[c.Name][pool.Provisioning]
			trouble, err := m.observer.pools.Trouble(m.Context(), c.Name)
			require.NoError(m, err)
			if stuck := levels[c.Name][pool.Failed] >= *c.FillLevel && strings.Contains(trouble.LastError, "so is all else"); !stuck {
				require.GreaterOrEqual(m, stock, *c.FillLevel, "pool %s: %v, %+v", c.Name, levels, trouble)
			}
		}
	}
	for _, machine := range m.machines.Machines() {
		if n := byID[machine.ID]; n.State != pool.Deployed && !moving[n.ID] {
			require.Empty(m, machine.SSHKey, describe(n))
		}
	}
}

// addressTaken tells whether a node has an address that is not its machine's: a reusable node may
// want it back.
func (m *model) addressTaken(nodes []*pool.Node) bool {
	return slices.ContainsFunc(nodes, func(n *pool.Node) bool {
		machine, _ := m.machines.Machine(n.ID)
		return n.State == pool.Ready && n.IPAddr != machine.IPAddr
	})
}

func describe(n *pool.Node) string {
	var b strings.Builder
	fmt.Fprintf(&b, "node %d of pool %s is %s", n.ID, n.Pool, n.State)
	if n.LeaseUntil != nil {
		fmt.Fprintf(&b, ", leased until %s", n.LeaseUntil)
	}
	if n.RetryAt != nil {
		fmt.Fprintf(&b, ", to be retried at %s", n.RetryAt)
	}
	fmt.Fprintf(&b, ", attempts %d, data %v", n.Attempts, n.Data)
	return b.String()
}
