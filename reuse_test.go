package duffy_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/pem"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	gossh "golang.org/x/crypto/ssh"

	"github.com/duffy-ci/duffy"
	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/backend/backendtest"
	"github.com/duffy-ci/duffy/backend/loopback"
	"github.com/duffy-ci/duffy/backend/ssh"
	"github.com/duffy-ci/duffy/pool"
	"github.com/duffy-ci/duffy/session"
	"github.com/duffy-ci/duffy/tenant"
)

// A rack is machines that nothing reinstalls.
type rack struct{ *loopback.Backend }

func (rack) Keeps(backend.Pool) bool { return true }

func (rack) Deprovision(_ context.Context, req backend.Request) ([]backend.Node, error) {
	return req.Nodes, nil
}

// TestTenantStaysOnReusedMachine has a tenant put a key of its own beside Duffy's on a
// machine that nothing reinstalls, and an operator take it away again.
func TestTenantStaysOnReusedMachine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	keyFile, own := newKeyFile(t)
	machines := loopback.New(loopback.Config{Dir: dir, AuthorizedKey: backendtest.PublicKey(own)})
	t.Cleanup(func() { machines.Close() })
	pools, err := pool.NewSet(pool.Config{Name: "metal", FillLevel: new(1), Backend: "rack", ReuseNodes: map[string]any{"arch": "x86_64"}})
	require.NoError(t, err)
	var log lockedBuffer
	d, err := duffy.New(t.Context(), duffy.Config{
		Database: "sqlite:///" + filepath.Join(t.TempDir(), "duffy.sqlite"), Pools: pools, SSH: ssh.Config{KeyFiles: []string{keyFile}},
	}, duffy.Options{
		Backends: map[string]backend.Backend{"rack": rack{machines}}, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	require.NoError(t, err)
	t.Cleanup(func() { d.Close() })
	require.NoError(t, d.Migrate(t.Context()))
	t.Cleanup(work(t, d))

	laptop := backendtest.NewKey(t)
	alice, _, err := d.Tenants.Create(t.Context(), tenant.Tenant{Name: "alice", SSHKey: backendtest.PublicKey(backendtest.NewKey(t))})
	require.NoError(t, err)
	machine, err := d.Pools.CreateNode(t.Context(), pool.Node{Reusable: true, Data: pool.Data{"arch": "x86_64"}})
	require.NoError(t, err)
	until := func(state pool.State) *pool.Node {
		t.Helper()
		var n *pool.Node
		require.Eventually(t, func() bool {
			n, err = d.Pools.Node(t.Context(), machine.ID)
			return err == nil && n.State == state
		}, patience, glance, "the machine is never %s", state)
		return n
	}
	use := func(do func()) {
		t.Helper()
		until(pool.Ready)
		s, err := d.Sessions.Request(t.Context(), alice, session.Request{Specs: []session.Spec{{Pool: "metal", Quantity: 1}}})
		require.NoError(t, err)
		do()
		_, err = d.Sessions.Update(t.Context(), alice, s.ID, session.Update{Retire: true})
		require.NoError(t, err)
	}
	keys := filepath.Join(dir, "node-1", ".ssh", "authorized_keys")

	use(func() {})
	use(func() {
		require.NoError(t, os.WriteFile(keys, []byte(backendtest.PublicKey(laptop)+read(t, keys)), 0o600))
	})
	failed := until(pool.Failed)
	require.Contains(t, failed.Reason(), "the last tenant may still have access, and nothing reinstalls the node: node 1: "+
		"authorized_keys of root has other keys above those of tenants than before a tenant had access")
	require.Contains(t, log.String(), `level=WARN msg="cannot lock the tenant out of a node" node=1 pool=metal`)
	require.Equal(t, backendtest.PublicKey(laptop)+backendtest.PublicKey(own), read(t, keys), "what is known to be the tenant's is gone")

	require.NoError(t, os.WriteFile(keys, []byte(backendtest.PublicKey(own)), 0o600))
	require.NoError(t, d.Pools.RetryNodes(t.Context(), false, machine.ID))
	until(pool.Ready)
}

func newKeyFile(t *testing.T) (file string, key gossh.Signer) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	key, err = gossh.NewSignerFromKey(private)
	require.NoError(t, err)
	block, err := gossh.MarshalPrivateKey(private, "")
	require.NoError(t, err)
	file = filepath.Join(t.TempDir(), "id_ed25519")
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(block), 0o600))
	return file, key
}

// A lockedBuffer may be read while it is written.
type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}
