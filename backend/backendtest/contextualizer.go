package backendtest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"github.com/duffy-ci/duffy/backend"
)

// An Access is a contextualizer to put to the test, and nodes to try it on.
type Access struct {
	Contextualizer backend.Contextualizer

	// Nodes are two provisioned nodes that no tenant has access to.
	Nodes [2]backend.Node

	// CanLogIn reports whether the holder of key can log in to node.
	CanLogIn func(t *testing.T, node backend.Node, key ssh.Signer) bool

	// ServiceKey, if not nil, is the key by which Duffy itself logs in to the
	// nodes. The suite sees that it always can.
	ServiceKey ssh.Signer

	// LetIn, if not nil, lets the holder of key log in to node as a tenant does who
	// wants to come back. The suite sees that a [backend.Inspector] notices.
	LetIn func(t *testing.T, node backend.Node, key ssh.Signer)

	// Unable, if not nil, is a contextualizer for the same nodes that cannot try any.
	// Silent, if not nil, is a node that does not answer.
	Unable backend.Contextualizer
	Silent *backend.Node
}

// RunContextualizer tests a contextualizer. It calls open once for each of a few
// subtests, which run one after the other. Some pass where it is no
// [backend.Inspector], or where the Access lacks what they are about.
func RunContextualizer(t *testing.T, open func(t *testing.T) Access) {
	t.Run("InAndOut", func(t *testing.T) { testInAndOut(t, open(t)) })
	t.Run("NextTenant", func(t *testing.T) { testNextTenant(t, open(t)) })
	t.Run("SeveralKeys", func(t *testing.T) { testSeveralKeys(t, open(t)) })
	t.Run("SeveralNodes", func(t *testing.T) { testSeveralNodes(t, open(t)) })
	t.Run("ContextCancelled", func(t *testing.T) { testContextCancelled(t, open(t)) })
	t.Run("Unable", func(t *testing.T) { testUnable(t, open(t)) })
	t.Run("Silent", func(t *testing.T) { testSilent(t, open(t)) })
	t.Run("Inspected", func(t *testing.T) { testInspected(t, open(t)) })
	t.Run("AnotherNodeAnswers", func(t *testing.T) { testAnotherNodeAnswers(t, open(t)) })
	t.Run("TenantLetsItselfIn", func(t *testing.T) { testTenantLetsItselfIn(t, open(t)) })
}

func testInAndOut(t *testing.T, a Access) {
	node, tenant := a.Nodes[0], NewKey(t)
	a.requireAccess(t, false, node, tenant)

	for range 2 {
		a.contextualize(t, node, PublicKey(tenant))
		a.requireAccess(t, true, node, tenant)
	}
	for range 2 {
		a.decontextualize(t, node)
		a.requireAccess(t, false, node, tenant)
	}
}

func testNextTenant(t *testing.T, a Access) {
	node, first, second := a.Nodes[0], NewKey(t), NewKey(t)
	a.contextualize(t, node, PublicKey(first))
	a.contextualize(t, node, PublicKey(second))
	a.requireAccess(t, false, node, first)
	a.requireAccess(t, true, node, second)
	a.decontextualize(t, node)
	a.requireAccess(t, false, node, second)
}

func testSeveralKeys(t *testing.T, a Access) {
	node, keys := a.Nodes[0], []ssh.Signer{NewKey(t), NewKey(t), NewKey(t)}
	a.contextualize(t, node, strings.Join([]string{
		"# somebody's laptop\r\n", PublicKey(keys[0]),
		"\r\n  ### DUFFY tenant credentials\n### DUFFY tenant credentials\n", PublicKey(keys[1]),
		"\n", strings.TrimSpace(PublicKey(keys[2])),
	}, ""))
	a.requireAccess(t, true, node, keys...)
	a.decontextualize(t, node)
	a.requireAccess(t, false, node, keys...)
}

func testSeveralNodes(t *testing.T, a Access) {
	keys := []ssh.Signer{NewKey(t), NewKey(t)}
	var calls errgroup.Group
	for i, node := range a.Nodes {
		calls.Go(func() error { return a.Contextualizer.Contextualize(t.Context(), node, PublicKey(keys[i])) })
	}
	require.NoError(t, calls.Wait())
	for i, node := range a.Nodes {
		a.requireAccess(t, true, node, keys[i])
		a.requireAccess(t, false, node, keys[1-i])
	}
	a.decontextualize(t, a.Nodes[0])
	a.requireAccess(t, false, a.Nodes[0], keys[0])
	a.requireAccess(t, true, a.Nodes[1], keys[1])
	a.decontextualize(t, a.Nodes[1])
}

func testContextCancelled(t *testing.T, a Access) {
	node, tenant := a.Nodes[0], NewKey(t)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()

	require.Error(t, a.Contextualizer.Contextualize(cancelled, node, PublicKey(tenant)), "Contextualize with a cancelled context")
	a.contextualize(t, node, PublicKey(tenant))
	require.Error(t, a.Contextualizer.Decontextualize(cancelled, node), "Decontextualize with a cancelled context")
	a.decontextualize(t, node)
	a.requireAccess(t, false, node, tenant)
}

// testUnable sees that the nodes are not blamed for what is no fault of theirs.
func testUnable(t *testing.T, a Access) {
	if c, ok := a.Contextualizer.(backend.Readier); ok {
		require.NoError(t, c.Ready(t.Context()))
	}
	if a.Unable == nil {
		return
	}
	node, tenant := a.Nodes[0], NewKey(t)
	a.contextualize(t, node, PublicKey(tenant))
	for call, err := range attempts(t, a.Unable, node) {
		require.ErrorIs(t, err, backend.ErrNotTried, call)
		require.ErrorIs(t, err, backend.ErrUntouched, call)
	}
	if c, ok := a.Unable.(backend.Readier); ok {
		require.ErrorIs(t, c.Ready(t.Context()), backend.ErrNotTried)
	}
	a.requireAccess(t, true, node, tenant)
	a.decontextualize(t, node)
}

// testSilent sees that a node is blamed for what may be its fault.
func testSilent(t *testing.T, a Access) {
	if a.Silent == nil {
		return
	}
	for call, err := range attempts(t, a.Contextualizer, *a.Silent) {
		require.Error(t, err, call)
		require.NotErrorIs(t, err, backend.ErrNotTried, call)
	}
}

// attempts returns the errors of all that can be asked of c.
func attempts(t *testing.T, c backend.Contextualizer, node backend.Node) map[string]error {
	t.Helper()
	try := func(call func(ctx context.Context) error) error {
		ctx, cancel := context.WithTimeout(t.Context(), shortPatience)
		defer cancel()
		return call(ctx)
	}
	errs := map[string]error{
		"Contextualize":   try(func(ctx context.Context) error { return c.Contextualize(ctx, node, PublicKey(NewKey(t))) }),
		"Decontextualize": try(func(ctx context.Context) error { return c.Decontextualize(ctx, node) }),
	}
	if inspector, ok := c.(backend.Inspector); ok {
		errs["Inspect"] = try(func(ctx context.Context) error {
			_, err := inspector.Inspect(ctx, node)
			return err
		})
	}
	return errs
}

// shortPatience is for what is not to work.
const shortPatience = 2 * time.Second

// testInspected has a node inspected whenever that may happen: what is seen does not
// depend on tenants.
func testInspected(t *testing.T, a Access) {
	inspector, ok := a.Contextualizer.(backend.Inspector)
	if !ok {
		return
	}
	node, tenant := a.Nodes[0], NewKey(t)
	seen := inspect(t, inspector, node)
	require.Equal(t, seen, inspect(t, inspector, node))
	a.contextualize(t, node, PublicKey(tenant))
	require.Equal(t, seen, inspect(t, inspector, node))

	node.Inspection = &seen
	a.contextualize(t, node, PublicKey(tenant))
	a.requireAccess(t, true, node, tenant)
	for range 2 {
		a.decontextualize(t, node)
		a.requireAccess(t, false, node, tenant)
	}
	require.Equal(t, seen, inspect(t, inspector, node))
}

func testAnotherNodeAnswers(t *testing.T, a Access) {
	inspector, ok := a.Contextualizer.(backend.Inspector)
	if !ok {
		return
	}
	node, tenant := a.Nodes[0], NewKey(t)
	another := inspect(t, inspector, a.Nodes[1])
	a.contextualize(t, node, PublicKey(tenant))
	node.Inspection, node.HostKeys = &another, backend.FirstHostKey
	require.Error(t, a.Contextualizer.Contextualize(t.Context(), node, PublicKey(NewKey(t))), "Contextualize of another node")
	require.Error(t, a.Contextualizer.Decontextualize(t.Context(), node), "Decontextualize of another node")
	a.requireAccess(t, true, node, tenant)

	node.HostKeys = backend.AnyHostKey
	a.contextualize(t, node, PublicKey(tenant))
	node.Inspection = nil
	a.decontextualize(t, node)
	a.requireAccess(t, false, node, tenant)
}

func testTenantLetsItselfIn(t *testing.T, a Access) {
	inspector, ok := a.Contextualizer.(backend.Inspector)
	if !ok || a.LetIn == nil {
		return
	}
	node, tenant := a.Nodes[0], NewKey(t)
	seen := inspect(t, inspector, node)
	node.Inspection = &seen
	a.contextualize(t, node, PublicKey(tenant))
	a.LetIn(t, node, NewKey(t))
	require.NotEqual(t, seen, inspect(t, inspector, node))
	for range 2 {
		require.Error(t, a.Contextualizer.Decontextualize(t.Context(), node), "Decontextualize of a node that is still open to its tenant")
		a.requireAccess(t, false, node, tenant)
	}
	node.Inspection = nil
	a.decontextualize(t, node)
}

// inspect inspects a node. What is seen survives the way through the database.
func inspect(t *testing.T, inspector backend.Inspector, node backend.Node) backend.Inspection {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	seen, err := inspector.Inspect(ctx, node)
	require.NoError(t, err)
	text, err := json.Marshal(seen)
	require.NoError(t, err)
	var stored backend.Inspection
	require.NoError(t, json.Unmarshal(text, &stored))
	require.Equal(t, seen, stored)
	return seen
}

func (a Access) contextualize(t *testing.T, node backend.Node, sshKey string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, a.Contextualizer.Contextualize(ctx, node, sshKey))
}

func (a Access) decontextualize(t *testing.T, node backend.Node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, a.Contextualizer.Decontextualize(ctx, node))
}

func (a Access) requireAccess(t *testing.T, want bool, node backend.Node, keys ...ssh.Signer) {
	t.Helper()
	for i, key := range keys {
		require.Equal(t, want, a.CanLogIn(t, node, key), "key %d of %d can log in to node %d", i+1, len(keys), node.ID)
	}
	if a.ServiceKey != nil {
		require.True(t, a.CanLogIn(t, node, a.ServiceKey), "Duffy's own key can log in to node %d", node.ID)
	}
}

// NewKey returns a new private key.
func NewKey(t testing.TB) ssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	key, err := ssh.NewSignerFromKey(private)
	require.NoError(t, err)
	return key
}

// PublicKey returns the public half of key as a line of an authorized_keys file.
func PublicKey(key ssh.Signer) string {
	return string(ssh.MarshalAuthorizedKey(key.PublicKey()))
}
