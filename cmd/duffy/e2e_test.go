package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/httpapi/apiv1"
	"github.com/duffy-ci/duffy/httpapi/client"
)

// A stage is where the story of sessions is played: it has examples/playbooks'
// pools, and whatever the machines in them are.
type stage interface {
	// duffy runs the program and returns its exit status and output. Commands of
	// operators want the options that config returns.
	duffy(t *testing.T, args ...string) (code int, stdout, stderr string)
	config() []string

	// start has Duffy serve and work, and returns the URL of its API, which answers.
	start(t *testing.T) string
	// hang has machines never be finished that are made from now on.
	hang(t *testing.T)
	// stop tells Duffy to stop, when it is making such a machine, and sees that it
	// does. The machines stay.
	stop(t *testing.T)

	// exists tells whether there is a machine of the node.
	exists(t *testing.T, node apiv1.Node) bool
	// login has root run a command in its home on the node. It returns errDenied
	// if the key is not let in.
	login(t *testing.T, node apiv1.Node, key demoKey, command string) (string, error)
}

// A story is what happens to an operator, a tenant and the nodes of its sessions.
type story struct {
	stage
	admin, tenant *client.Client
	tenantKey     demoKey
	tenantConfig  string

	racks []int64 // IDs of the nodes that exist beforehand; the last is of no use for any pool

	byREST, byCommand apiv1.Session
}

const (
	virtual  = "virtual-linux"         // whose nodes are thrown away after use
	physical = "physical-linux-x86_64" // whose node is used again

	tenantName = "ci"
	leftBehind = "left-behind" // a file

	// patience is how long anything may take on a busy machine. It takes seconds.
	patience = 3 * time.Minute
	glance   = 100 * time.Millisecond
)

// tell tells the story once.
func tell(t *testing.T, on stage) {
	s := &story{stage: on}
	for _, scene := range []func(*testing.T){
		s.setUp, s.fill, s.keepOut,
		s.requestTooMany, s.request, s.use, s.extend, s.requestByCommand,
		s.retire, s.expire, s.untilFull, s.refuse, s.stopInTheMiddle,
	} {
		scene(t)
	}
}

func (s *story) setUp(t *testing.T) {
	s.operate(t, "setup-db")
	code, _, stderr := s.duffy(t, append(s.config(), "setup-db")...)
	require.Equal(t, exitFailure, code)
	require.Contains(t, stderr, "Refusing to change database schema.")

	dir := t.TempDir()
	adminKey, err := newDemoKey(filepath.Join(dir, "admin_key"))
	require.NoError(t, err)
	s.tenantKey, err = newDemoKey(filepath.Join(dir, "tenant_key"))
	require.NoError(t, err)
	adminAPIKey := s.createTenant(t, "operator", adminKey, "--is-admin")
	tenantAPIKey := s.createTenant(t, tenantName, s.tenantKey)

	url := s.start(t)
	s.admin, err = client.New(url, client.Config{Tenant: "operator", Key: adminAPIKey})
	require.NoError(t, err)
	s.tenant = s.admin.As(tenantName, tenantAPIKey)
	s.tenantConfig = filepath.Join(dir, "tenant.yaml")
	text := fmt.Sprintf("client: {url: %q, auth: {name: %q, key: %q}}\n", url, tenantName, tenantAPIKey)
	require.NoError(t, os.WriteFile(s.tenantConfig, []byte(text), 0o600))
}

// fill has an administrator tell about the machines that exist.
func (s *story) fill(t *testing.T) {
	for i, architecture := range []string{"x86_64", "aarch64"} {
		node, err := s.admin.CreateNode(t.Context(), apiv1.NodeCreate{
			Hostname: fmt.Sprintf("rack%d", i+1), IPAddr: fmt.Sprintf("192.0.2.%d", i+1),
			Data: map[string]any{"architecture": architecture},
		})
		require.NoError(t, err)
		s.racks = append(s.racks, node.ID)
	}
	s.untilFull(t)
}

// keepOut has the tenant try nodes that it has not been given.
func (s *story) keepOut(t *testing.T) {
	shown, err := s.tenant.ListNodes(t.Context())
	require.NoError(t, err)
	require.Len(t, shown, 4)
	for _, n := range shown {
		require.Empty(t, n.Data, "which tells how to log in")
	}
	nodes, err := s.admin.ListNodes(t.Context())
	require.NoError(t, err)
	require.Len(t, nodes, 4)
	for _, n := range nodes {
		if n.ID == s.racks[1] {
			require.Equal(t, "unused", n.State)
			continue
		}
		require.Equal(t, "ready", n.State)
		s.requireDenied(t, n)
	}
}

func (s *story) requestTooMany(t *testing.T) {
	_, err := s.requestSession(t, spec(physical, 1), spec(virtual, 3))
	requireRefused(t, err, http.StatusUnprocessableEntity, "can't reserve nodes: quantity=3 pool='"+virtual+"'")
	for name, ready := range map[string]int{virtual: 2, physical: 1} {
		pool, err := s.tenant.GetPool(t.Context(), name)
		require.NoError(t, err)
		require.Equal(t, &apiv1.Levels{Ready: ready}, pool.Levels)
	}
	sessions, err := s.admin.ListSessions(t.Context())
	require.NoError(t, err)
	require.Empty(t, sessions)
}

func (s *story) request(t *testing.T) {
	var err error
	s.byREST, err = s.requestSession(t, spec(virtual, 1), spec(physical, 1))
	require.NoError(t, err)
	require.Len(t, s.byREST.Nodes, 2)
	require.Equal(t, virtual, *s.byREST.Nodes[0].Pool)
	require.Equal(t, physical, *s.byREST.Nodes[1].Pool)
	require.Equal(t, s.racks[0], s.byREST.Nodes[1].ID)
	require.Equal(t, []int64{s.byREST.ID}, s.listedSessions(t))
}

// use has the tenant log in to its nodes, and leave a file in the home of each.
func (s *story) use(t *testing.T) {
	for _, n := range s.nodesOf(t, s.byREST) {
		s.requireFresh(t, n)
		_, err := s.login(t, n, s.tenantKey, "touch "+leftBehind)
		require.NoError(t, err)
		files, err := s.login(t, n, s.tenantKey, "ls")
		require.NoError(t, err)
		require.Equal(t, leftBehind, files)
	}
}

func (s *story) extend(t *testing.T) {
	_, err := s.tenant.ExtendSession(t.Context(), s.byREST.ID, time.Hour)
	require.NoError(t, err)
	shown, err := s.tenant.GetSession(t.Context(), s.byREST.ID)
	require.NoError(t, err)
	require.Equal(t, time.Hour, shown.ExpiresAt.Sub(s.byREST.ExpiresAt.Time))
}

// requestByCommand requests a session as shell scripts do.
func (s *story) requestByCommand(t *testing.T) {
	flat := s.ask(t, "--format", "flat", "request-session", "pool="+virtual+",quantity=1")
	said := shell(t, `while read -r node; do eval "$node"; echo $session_id $active $pool $hostname $ipaddr; done <<'END'`+"\n"+flat+"END\n")
	fields := strings.Fields(said)
	require.Len(t, fields, 5, said)
	id, err := strconv.ParseInt(fields[0], 10, 64)
	require.NoError(t, err)
	s.byCommand, err = s.tenant.GetSession(t.Context(), id)
	require.NoError(t, err)

	nodes := s.nodesOf(t, s.byCommand)
	require.Len(t, nodes, 1)
	require.Equal(t, []string{"TRUE", virtual, *nodes[0].Hostname, *nodes[0].IPAddr}, fields[1:])
	s.requireFresh(t, nodes[0])
	require.Equal(t, []int64{s.byREST.ID, s.byCommand.ID}, s.listedSessions(t))
}

func (s *story) retire(t *testing.T) {
	nodes := s.nodesOf(t, s.byREST)
	session, err := s.tenant.RetireSession(t.Context(), s.byREST.ID)
	require.NoError(t, err)
	require.False(t, session.Active)
	for _, n := range nodes {
		s.untilLockedOut(t, n)
	}
	s.untilGone(t, nodes[0])
	again := s.until(t, nodes[1], "ready")
	require.Equal(t, nodes[1].Pool, again.Pool)
	s.requireDenied(t, again)
	require.Equal(t, []int64{s.byCommand.ID}, s.listedSessions(t))
}

// expire has the second session end by itself.
func (s *story) expire(t *testing.T) {
	node := s.nodesOf(t, s.byCommand)[0]
	_, err := s.login(t, node, s.tenantKey, "uname -n")
	require.NoError(t, err, "the other session's end must not matter")
	past := apiv1.TimeSpec("2001-01-01T00:00:00Z")
	_, err = s.tenant.UpdateSession(t.Context(), s.byCommand.ID, apiv1.SessionUpdate{ExpiresAt: &past})
	require.NoError(t, err)
	s.untilLockedOut(t, node)
	s.untilGone(t, node)
	session, err := s.tenant.GetSession(t.Context(), s.byCommand.ID)
	require.NoError(t, err)
	require.False(t, session.Active)
	require.Empty(t, s.listedSessions(t))
}

func (s *story) refuse(t *testing.T) {
	_, err := s.requestSession(t, spec(virtual, 11))
	requireRefused(t, err, http.StatusForbidden, "quota exceeded: requested nodes (11) + current allocation (0) = 11 > 10")
	_, err = s.admin.As(tenantName, uuid.NewString()).ListSessions(t.Context())
	requireRefused(t, err, http.StatusUnauthorized, "Unauthorized")
}

// stopInTheMiddle stops Duffy while it makes a node in place of one that it has
// handed out. The tenant goes on. The node that is used again shows no trace of
// its first use.
func (s *story) stopInTheMiddle(t *testing.T) {
	s.hang(t)
	session, err := s.requestSession(t, spec(virtual, 1), spec(physical, 1))
	require.NoError(t, err)
	nodes := s.nodesOf(t, session)
	require.Equal(t, s.racks[0], nodes[1].ID)
	s.stop(t)
	_, err = s.tenant.ListSessions(t.Context())
	require.Error(t, err)
	require.False(t, errors.As(err, new(*client.Error)), "nobody answers")
	for _, n := range nodes {
		s.requireFresh(t, n)
	}
}
