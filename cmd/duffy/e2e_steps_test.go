package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/httpapi/apiv1"
	"github.com/duffy-ci/duffy/httpapi/client"
)

// operate runs a command of operators, which has to succeed.
func (s *story) operate(t *testing.T, args ...string) (stdout string) {
	t.Helper()
	code, stdout, stderr := s.duffy(t, append(s.config(), args...)...)
	require.Zero(t, code, "%s: %s", args, stderr)
	return stdout
}

// createTenant returns the tenant's API key.
func (s *story) createTenant(t *testing.T, name string, key demoKey, options ...string) string {
	t.Helper()
	args := append([]string{"admin", "create-tenant"}, options...)
	stdout := s.operate(t, append(args, name, key.authorized())...)
	apiKey, ok := strings.CutPrefix(strings.TrimSpace(stdout), "OK: "+name+": ")
	require.True(t, ok, stdout)
	return apiKey
}

// ask runs a command of the tenant's and returns what it prints.
func (s *story) ask(t *testing.T, args ...string) string {
	t.Helper()
	code, stdout, stderr := s.duffy(t, append([]string{"-c", s.tenantConfig, "client"}, args...)...)
	require.Zero(t, code)
	require.Empty(t, stderr)
	return stdout
}

// listedSessions returns what sessions the command lists.
func (s *story) listedSessions(t *testing.T) (ids []int64) {
	t.Helper()
	var result apiv1.SessionsResult
	require.NoError(t, json.Unmarshal([]byte(s.ask(t, "list-sessions")), &result))
	for _, session := range result.Sessions {
		ids = append(ids, session.ID)
	}
	return ids
}

func (s *story) requestSession(t *testing.T, specs ...apiv1.NodesSpec) (apiv1.Session, error) {
	return s.tenant.RequestSession(t.Context(), apiv1.SessionCreate{NodesSpecs: specs})
}

func spec(pool string, quantity apiv1.Integer) apiv1.NodesSpec {
	return apiv1.NodesSpec{Pool: pool, Quantity: quantity}
}

func requireRefused(t *testing.T, err error, status int, detail string) {
	t.Helper()
	var refused *client.Error
	require.ErrorAs(t, err, &refused)
	require.Equal(t, status, refused.Status)
	require.Equal(t, detail, refused.Detail)
}

// nodesOf returns the nodes of a session as they are now.
func (s *story) nodesOf(t *testing.T, session apiv1.Session) (nodes []apiv1.Node) {
	t.Helper()
	for _, n := range session.Nodes {
		node, err := s.tenant.GetNode(t.Context(), n.ID)
		require.NoError(t, err)
		nodes = append(nodes, node)
	}
	return nodes
}

// requireFresh logs in to a node of which nobody has made use.
func (s *story) requireFresh(t *testing.T, n apiv1.Node) {
	t.Helper()
	name, err := s.login(t, n, s.tenantKey, "uname -n")
	require.NoError(t, err)
	require.Equal(t, *n.Hostname, name)
	files, err := s.login(t, n, s.tenantKey, "ls")
	require.NoError(t, err)
	require.Empty(t, files)
}

func (s *story) requireDenied(t *testing.T, node apiv1.Node) {
	t.Helper()
	_, err := s.login(t, node, s.tenantKey, "uname -n")
	require.ErrorIs(t, err, errDenied)
}

// untilFull waits until both pools are full and nothing is being taken back.
func (s *story) untilFull(t *testing.T) {
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		for _, name := range []string{virtual, physical} {
			pool, err := s.tenant.GetPool(t.Context(), name)
			require.NoError(c, err)
			require.Equal(c, pool.FillLevel, pool.Levels.Ready, name)
			require.Zero(c, pool.Levels.Provisioning+pool.Levels.Deprovisioning, name)
		}
	}, patience, glance)
}

// untilLockedOut waits until the tenant cannot log in any more.
func (s *story) untilLockedOut(t *testing.T, node apiv1.Node) {
	t.Helper()
	require.Eventually(t, func() bool {
		_, err := s.login(t, node, s.tenantKey, "uname -n")
		return err != nil
	}, patience, glance)
}

// untilGone waits until there is no such machine any more.
func (s *story) untilGone(t *testing.T, node apiv1.Node) {
	t.Helper()
	require.NotNil(t, s.until(t, node, "done").RetiredAt)
	require.False(t, s.exists(t, node))
}

// until waits until a node is in a state, and returns it with all that an
// administrator sees.
func (s *story) until(t *testing.T, node apiv1.Node, state string) apiv1.Node {
	t.Helper()
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		var err error
		node, err = s.admin.GetNode(t.Context(), node.ID)
		require.NoError(c, err)
		require.Equal(c, state, node.State)
	}, patience, glance)
	return node
}
