package fake_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/backend/backendtest"
	"github.com/duffy-ci/duffy/backend/fake"
)

var (
	_ backend.Inspector = (*fake.Inspector)(nil)
	_ backend.Keeper    = (*fake.Inspector)(nil)
)

func TestInspector(t *testing.T) {
	t.Run("Backend", func(t *testing.T) {
		backendtest.Run(t, func(*testing.T) backendtest.Subject { return backendtest.Subject{Backend: fake.NewInspector()} })
	})
	backendtest.RunContextualizer(t, func(t *testing.T) backendtest.Access {
		i := fake.NewInspector()
		nodes, err := i.Provision(t.Context(), request(1, 2))
		require.NoError(t, err)
		return backendtest.Access{
			Contextualizer: i,
			Nodes:          [2]backend.Node(nodes),
			CanLogIn: func(_ *testing.T, node backend.Node, key ssh.Signer) bool {
				m, _ := i.Machine(node.ID)
				return strings.Contains(m.SSHKey, strings.TrimSpace(backendtest.PublicKey(key)))
			},
			LetIn: func(_ *testing.T, node backend.Node, key ssh.Signer) { i.LetIn(node.ID, backendtest.PublicKey(key)) },
		}
	})
}

func TestInspectorKeepsMachines(t *testing.T) {
	t.Parallel()
	i := fake.NewInspector()
	nodes, err := i.Provision(t.Context(), request(1))
	require.NoError(t, err)
	seen, err := i.Inspect(t.Context(), nodes[0])
	require.NoError(t, err)
	require.NoError(t, i.Contextualize(t.Context(), nodes[0], "k"))
	for _, kept := range []bool{true, false} {
		i.Kept = kept
		_, err = i.Deprovision(t.Context(), request(1))
		require.NoError(t, err)
		_, err = i.Provision(t.Context(), request(1))
		require.NoError(t, err)
		m, _ := i.Machine(1)
		require.Equal(t, kept, m.SSHKey == "k")
		again, err := i.Inspect(t.Context(), nodes[0])
		require.NoError(t, err)
		require.Equal(t, kept, seen.HostKeys[0] == again.HostKeys[0])
	}
	i.Inject(fake.Fault{In: fake.Inspect, Err: fake.ErrUnreachable})
	_, err = i.Inspect(t.Context(), nodes[0])
	require.True(t, errors.Is(err, fake.ErrUnreachable))
}
