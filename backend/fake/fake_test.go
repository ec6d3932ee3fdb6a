package fake_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/backend/backendtest"
	"github.com/duffy-ci/duffy/backend/fake"
)

func TestBackend(t *testing.T) {
	backendtest.Run(t, func(*testing.T) backendtest.Subject {
		b := fake.New()
		broken := func(ops ...fake.Op) func(*testing.T) func() {
			return func(*testing.T) func() {
				for _, op := range ops {
					b.Inject(fake.Fault{In: op, Err: fake.ErrUnreachable})
				}
				return b.Heal
			}
		}
		return backendtest.Subject{
			Backend: b,
			Running: func(_ *testing.T, node backend.Node) bool {
				return slices.ContainsFunc(b.Machines(), func(m fake.Machine) bool { return m.IPAddr == node.IPAddr })
			},
			Unreachable: broken(fake.Provision, fake.Deprovision),
			Refusing:    broken(fake.Deprovision),
		}
	})
}

func TestContextualizer(t *testing.T) {
	backendtest.RunContextualizer(t, func(t *testing.T) backendtest.Access {
		b, unable := fake.New(), fake.New()
		for _, op := range []fake.Op{fake.Contextualize, fake.Decontextualize} {
			unable.Inject(fake.Fault{In: op, Err: backend.NotTried(errors.New("no key"))})
		}
		return backendtest.Access{
			Contextualizer: b,
			Unable:         unable,
			Silent:         &backend.Node{ID: 3, IPAddr: "10.0.0.3"},
			Nodes:          [2]backend.Node(provision(t, b, 1, 2)),
			CanLogIn: func(_ *testing.T, node backend.Node, key ssh.Signer) bool {
				m, _ := b.Machine(node.ID)
				return strings.Contains(m.SSHKey, strings.TrimSpace(backendtest.PublicKey(key)))
			},
		}
	})
}

func TestAddressesDiffer(t *testing.T) {
	t.Parallel()
	nodes := provision(t, fake.New(), 1, 255, 256, 65536, 1<<24-1)
	require.Equal(t, "10.0.0.1", nodes[0].IPAddr)
	require.Equal(t, "10.0.1.0", nodes[2].IPAddr)
	require.Equal(t, "10.255.255.255", nodes[4].IPAddr)
}

func TestRecord(t *testing.T) {
	t.Parallel()
	b := fake.New()
	nodes := provision(t, b, 7, 3)
	require.NoError(t, b.Contextualize(t.Context(), nodes[0], "ssh-ed25519 AAAA"))
	require.Equal(t, []fake.Machine{
		{ID: 3, Hostname: "node-3.test", IPAddr: "10.0.0.3"},
		{ID: 7, Hostname: "node-7.test", IPAddr: "10.0.0.7", SSHKey: "ssh-ed25519 AAAA"},
	}, b.Machines())
	require.Equal(t, []fake.Call{
		{Op: fake.Provision, Nodes: []int64{7, 3}},
		{Op: fake.Contextualize, Nodes: []int64{7}},
	}, b.Calls())
}

func TestProvisionAgainForgetsTheTenant(t *testing.T) {
	t.Parallel()
	b := fake.New()
	require.NoError(t, b.Contextualize(t.Context(), provision(t, b, 1)[0], "ssh-ed25519 AAAA"))
	provision(t, b, 1)
	m, _ := b.Machine(1)
	require.Empty(t, m.SSHKey)
}

func TestNoMachineThere(t *testing.T) {
	t.Parallel()
	b := fake.New()
	require.ErrorContains(t, b.Contextualize(t.Context(), backend.Node{ID: 1, IPAddr: "10.0.0.1"}, "k"), "node 1")
	node := provision(t, b, 1)[0]
	node.IPAddr = "10.0.0.2"
	require.ErrorContains(t, b.Decontextualize(t.Context(), node), "10.0.0.2")
}

func TestFaults(t *testing.T) {
	t.Parallel()
	boom := errors.New("out of quota")
	two := request(1, 2)

	t.Run("TimesAndOrder", func(t *testing.T) {
		b := fake.New()
		b.Inject(fake.Fault{In: fake.Provision, Times: 2, Err: boom})
		b.Inject(fake.Fault{In: fake.Provision, Times: 1, Missing: 1})
		for range 2 {
			_, err := b.Provision(t.Context(), two)
			require.ErrorIs(t, err, boom)
		}
		require.Empty(t, b.Machines())
		require.Len(t, provision(t, b, 1, 2), 1)
		require.Len(t, b.Machines(), 1)
		require.Len(t, provision(t, b, 1, 2), 2)
	})
	t.Run("AllUntilHeal", func(t *testing.T) {
		b := fake.New()
		provision(t, b, 1, 2)
		b.Inject(fake.Fault{In: fake.Deprovision, Err: boom})
		for range 3 {
			_, err := b.Deprovision(t.Context(), two)
			require.ErrorIs(t, err, boom)
		}
		require.Len(t, b.Machines(), 2)
		b.Heal()
		_, err := b.Deprovision(t.Context(), two)
		require.NoError(t, err)
		require.Empty(t, b.Machines())
	})
	t.Run("OneNode", func(t *testing.T) {
		b := fake.New()
		nodes := provision(t, b, 1, 2)
		b.Inject(fake.Fault{In: fake.Contextualize, Node: 2, Err: fake.ErrUnreachable})
		require.NoError(t, b.Contextualize(t.Context(), nodes[0], "k"))
		require.ErrorIs(t, b.Contextualize(t.Context(), nodes[1], "k"), fake.ErrUnreachable)
		require.NoError(t, b.Decontextualize(t.Context(), nodes[1]))
	})
	t.Run("Late", func(t *testing.T) {
		b := fake.New()
		b.Inject(fake.Fault{In: fake.Provision, Times: 1, Late: true, Err: boom})
		_, err := b.Provision(t.Context(), two)
		require.ErrorIs(t, err, boom)
		require.Len(t, b.Machines(), 2)
	})
	t.Run("Change", func(t *testing.T) {
		b := fake.New()
		b.Inject(fake.Fault{In: fake.Provision, Change: func(n *backend.Node) { n.IPAddr = "10.9.9.9" }})
		for _, node := range provision(t, b, 1, 2) {
			require.Equal(t, "10.9.9.9", node.IPAddr)
		}
	})
	t.Run("HangAndDelay", func(t *testing.T) {
		b := fake.New()
		b.Inject(fake.Fault{In: fake.Provision, Times: 1, Hang: true})
		b.Inject(fake.Fault{In: fake.Provision, Times: 1, Delay: time.Hour})
		for range 2 {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			defer cancel()
			_, err := b.Provision(ctx, two)
			require.ErrorIs(t, err, context.DeadlineExceeded)
		}
		require.Empty(t, b.Machines())
		b.Inject(fake.Fault{In: fake.Provision, Delay: time.Millisecond})
		require.Len(t, provision(t, b, 1, 2), 2)
	})
}

func request(ids ...int64) backend.Request {
	var req backend.Request
	for _, id := range ids {
		req.Nodes = append(req.Nodes, backend.Node{ID: id})
	}
	return req
}

func provision(t *testing.T, b *fake.Backend, ids ...int64) []backend.Node {
	t.Helper()
	nodes, err := b.Provision(t.Context(), request(ids...))
	require.NoError(t, err)
	return nodes
}
