package directories_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/backend/backendtest"
	directories "github.com/duffy-ci/duffy/examples/backend"
)

func TestBackend(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backendtest.Subject {
		dir, root := t.TempDir(), filepath.Join(t.TempDir(), "mounted")
		mount := func() { require.NoError(t, os.Symlink(dir, root)) }
		mount()
		return backendtest.Subject{
			Backend: directories.Backend{},
			Pool:    backend.Pool{Settings: map[string]any{"root": root}},
			Running: func(_ *testing.T, node backend.Node) bool {
				_, err := os.Stat(filepath.Join(dir, filepath.Base(node.Provision["directory"].(string))))
				return err == nil
			},
			Unreachable: func(t *testing.T) func() {
				require.NoError(t, os.Remove(root))
				return mount
			},
		}
	})
}

func TestContextualizer(t *testing.T) {
	backendtest.RunContextualizer(t, func(t *testing.T) backendtest.Access {
		nodes, err := directories.Backend{}.Provision(t.Context(), backend.Request{
			Pool:  backend.Pool{Settings: map[string]any{"root": t.TempDir()}},
			Nodes: []backend.Node{{ID: 1}, {ID: 2}},
		})
		require.NoError(t, err)
		return backendtest.Access{
			Contextualizer: directories.Backend{},
			Nodes:          [2]backend.Node(nodes),
			CanLogIn: func(_ *testing.T, node backend.Node, key ssh.Signer) bool {
				keys, _ := os.ReadFile(node.Provision["directory"].(string) + "/authorized_keys")
				return strings.Contains(string(keys), strings.TrimSpace(backendtest.PublicKey(key)))
			},
		}
	})
}

func TestCheck(t *testing.T) {
	t.Parallel()
	var check backend.Checker = directories.Backend{}
	require.NoError(t, check.Check(backend.Pool{Settings: map[string]any{"root": "/srv/nodes"}}))
	require.ErrorContains(t, check.Check(backend.Pool{}), "mechanism.directories.root: expected")
}
