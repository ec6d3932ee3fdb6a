package pool_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/backend/fake"
	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/internal/fault"
	"github.com/duffy-ci/duffy/pool"
)

// TestSpellingsOfOperators has nobody enter one machine twice.
func TestSpellingsOfOperators(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d)
		_, err := d.ExecContext(t.Context(), `INSERT INTO nodes (id, state, hostname, ipaddr, reusable, data) VALUES
			(901, 'unused', 'Rack9.Example.Net.', '192.0.2.9', true, '{}')`)
		require.NoError(t, err)
		n, err := l.pools.CreateNode(t.Context(), pool.Node{Hostname: "Rack1.Example.Net.", IPAddr: "2001:DB8:0:0::1"})
		require.NoError(t, err)
		require.Equal(t, []string{"rack1.example.net", "2001:db8::1"}, []string{n.Hostname, n.IPAddr})
		_, err = l.pools.CreateNode(t.Context(), pool.Node{Hostname: "rack2", IPAddr: "::ffff:192.0.2.2"})
		require.NoError(t, err)
		for _, again := range []pool.Node{
			{Hostname: "rack1.example.net", IPAddr: "192.0.2.1"},
			{Hostname: "RACK1.example.net.", IPAddr: "192.0.2.1"},
			{Hostname: "rack3", IPAddr: "2001:db8::1"},
			{Hostname: "rack3", IPAddr: "2001:0db8:0::0001"},
			{Hostname: "rack3", IPAddr: "192.0.2.2"},
			{Hostname: "rack9.example.net", IPAddr: "192.0.2.1"},
		} {
			_, err := l.pools.CreateNode(t.Context(), again)
			require.ErrorIs(t, err, fault.Conflict, "%v", again)
		}
		_, err = l.pools.CreateNode(t.Context(), pool.Node{Hostname: "rack4", IPAddr: "fe80::1%$(reboot)"})
		require.ErrorIs(t, err, fault.Invalid)
		_, err = l.pools.CreateNode(t.Context(), pool.Node{Hostname: "rack4", IPAddr: "fe80::1%eth0"})
		require.NoError(t, err)
	})
}

// TestSpellingsOfBackends has a node in its one spelling, and the backend in its own.
func TestSpellingsOfBackends(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 1))
		l.machines.Inject(fake.Fault{In: fake.Provision, Times: 1, Change: func(n *backend.Node) {
			n.IPAddr, n.Hostname = "2001:DB8:0:0::1", "VM-1.Example.Net."
			n.Provision = map[string]any{"ipaddr": n.IPAddr, "hostname": n.Hostname}
		}})
		l.later(0)
		n := l.nodes(pool.Ready)[0]
		require.Equal(t, []string{"vm-1.example.net", "2001:db8::1"}, []string{n.Hostname, n.IPAddr})
		told := n.ForBackend()
		require.Equal(t, []string{"VM-1.Example.Net.", "2001:DB8:0:0::1"}, []string{told.Hostname, told.IPAddr})

		// Another machine at the same address is not handed out beside it.
		l.set(n.ID, "state = 'deployed'")
		l.machines.Inject(fake.Fault{In: fake.Provision, Times: 1, Change: func(n *backend.Node) {
			n.IPAddr, n.Hostname = "2001:db8::0:1", ""
			n.Provision = map[string]any{"ipaddr": n.IPAddr}
		}})
		l.later(0)
		require.Empty(t, l.nodes(pool.Ready))
	})
}

// TestSpellingsOfDuffy3 takes over what Duffy 3 wrote.
func TestSpellingsOfDuffy3(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 0))
		_, err := d.ExecContext(t.Context(), `INSERT INTO nodes (id, state, pool, hostname, ipaddr, reusable, data) VALUES
			(901, 'ready', 'a', 'one', '2001:DB8::1', false, '{}'), (902, 'ready', 'a', 'two', '::ffff:192.0.2.2', false, '{}'),
			(903, 'ready', 'a', 'Three', '192.0.2.3', false, '{}'),
			(904, 'ready', 'a', 'four', '2001:DB8::4', false, '{}'), (905, 'ready', 'a', 'five', '2001:db8::4', false, '{}')`)
		require.NoError(t, err)
		l.later(time.Second)
		addresses := map[int64]string{}
		for _, n := range l.nodes(pool.Ready) {
			addresses[n.ID] = n.IPAddr
		}
		require.Equal(t, map[int64]string{
			901: "2001:db8::1", 902: "192.0.2.2", 903: "192.0.2.3",
			904: "2001:DB8::4", 905: "2001:db8::4", // the same machine twice: the log says so
		}, addresses)
		_, err = l.pools.CreateNode(t.Context(), pool.Node{Hostname: "new", IPAddr: "2001:DB8:0::1"})
		require.ErrorIs(t, err, fault.Conflict)
	})
}
