package session_test

import (
	"fmt"
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

// leftByDuffy3 are members of data as Python's json.dumps writes them, and as
// PostgreSQL's type json takes them, which looks at no character that is escaped.
var leftByDuffy3 = []string{
	`"left": "a\u0000b"`,
	`"left": {"list": ["\ud800", "\udc00\ud800"]}`,
	`"left": 1e999999`,
	`"left\u0000": "caf\u00e9 \u65e5\u672c \ud83d\ude00"`,
	`"left": "\"quoted\\\" \\u0000 \\\\", "nodes_spec": null, "nodes_spec": "\ud800"`,
	`"left": "\u007f` + "\x7f" + `q \/ \n"`,
	`"left": {"nodes_spec": {"error": "\u0000"}}, "error": {"detail": "\u0000", "interrupted": false}`,
}

// TestDataOfDuffy3 has nodes whose data Duffy 3 wrote live like any other: no row stops
// its pool.
func TestDataOfDuffy3(t *testing.T) {
	t.Parallel()
	dbtest.EachEncoding(t, func(t *testing.T, d *db.DB) {
		count := len(leftByDuffy3)
		l := newLab(t, d, throwAway("a", count+1), reusing("b", count+1))
		add := func(i int, data string) {
			l.exec(`INSERT INTO nodes (hostname, ipaddr, state, reusable, data) VALUES (?, ?, 'unused', true, ?)`,
				fmt.Sprintf("machine%d", i), fmt.Sprintf("192.0.2.%d", i+1), data)
		}
		for i, left := range leftByDuffy3 {
			add(i, `{"arch": "x86_64", `+left+`}`)
			add(i+100, `{"arch": "ppc64le", `+left+`}`)
		}
		add(count, `{"arch": "x86_64"}`)
		l.fill()
		for i, n := range l.nodes("a", pool.Ready)[1:] {
			l.exec(`UPDATE nodes SET data = ? WHERE id = ?`,
				fmt.Sprintf(`{"provision": {"id": %d, "ipaddr": "%s"}, %s}`, n.ID, n.IPAddr, leftByDuffy3[i]), n.ID)
		}
		require.Len(t, l.nodes("b", pool.Ready), count+1)
		alice := l.tenant("alice")
		for range 2 {
			s := l.mustRequest(alice, spec(count+1, "a"), spec(1, "b"))
			require.Len(t, s.Nodes, count+2)
			l.accounted()
			l.retire(alice, s)
			l.reconcile()
			l.accounted()
			require.Equal(t, map[pool.State]int{pool.Ready: count + 1}, l.levels("a"))
			require.Equal(t, map[pool.State]int{pool.Ready: count + 1}, l.levels("b"))
		}

		s := l.mustRequest(alice, spec(count+1, "b"))
		l.machines.Inject(fake.Fault{In: fake.Deprovision, Times: 2 * count, Err: fmt.Errorf("no\x00 \u65e5\u672c")})
		l.retire(alice, s)
		l.work()
		require.Len(t, l.nodes("b", pool.Deprovisioning), count+1)
		for l.levels("b")[pool.Ready] <= count {
			l.clock.advance(time.Minute)
			l.reconcile()
		}
		l.accounted()
		l.requireKept()
	})
}

// requireKept checks that nothing is lost of what Duffy 3 left in machines' data, as far
// as a database can hold it.
func (l *lab) requireKept() {
	l.Helper()
	kept := map[string]int{}
	nodes, err := l.pools.Nodes(l.Context())
	require.NoError(l, err)
	for _, n := range nodes {
		for key, value := range n.Data {
			if n.Reusable && key != "arch" && key != "provision" {
				kept[fmt.Sprint(key, ": ", value)]++
			}
		}
	}
	for _, want := range []string{
		"left: a\uFFFDb", "left: map[list:[\uFFFD \uFFFD\uFFFD]]", "left: 1e999999", "left\uFFFD: caf\u00e9 \u65e5\u672c \U0001F600",
		`left: "quoted\" \u0000 \\`, "left: \x7f\x7fq / \n", "left: map[nodes_spec:map[error:\uFFFD]]",
	} {
		require.Equal(l, 2, kept[want], "%q in %q", want, kept)
	}
}

// Nobody can store such data any more.
func TestDataThatIsRefused(t *testing.T) {
	t.Parallel()
	dbtest.EachEncoding(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, reusing("b", 1))
		var deep any = "bottom"
		for range 100 {
			deep = []any{deep}
		}
		for _, data := range []pool.Data{
			{"a": "\x00"}, {"a": map[string]any{"\x00": 1}}, {"a": []any{"\x00"}}, {"a": deep}, {"a": func() {}},
		} {
			_, err := l.pools.CreateNode(t.Context(), pool.Node{Hostname: "m", IPAddr: "192.0.2.1", Data: data})
			require.ErrorIs(t, err, fault.Invalid)
		}
		_, err := l.pools.CreateNode(t.Context(), pool.Node{
			Hostname: "m", IPAddr: "192.0.2.1", Reusable: true, Data: pool.Data{"arch": "x86_64", "note": "\u65e5\u672c \U0001F600 <&>"},
		})
		require.NoError(t, err)
		l.fill()
		require.Equal(t, "\u65e5\u672c \U0001F600 <&>", l.nodes("b", pool.Ready)[0].Data["note"])
	})
}

// Data is compared however it was written.
func TestReuseByEscapedData(t *testing.T) {
	t.Parallel()
	dbtest.EachEncoding(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, pool.Config{
			Name: "b", FillLevel: ptr(4), Backend: "fake",
			ReuseNodes: map[string]any{"site": `<caf\u00e9> "x"`, "rack": 7},
		}, pool.Config{Name: "c", FillLevel: ptr(2), Backend: "fake", ReuseNodes: map[string]any{"site": "caf\u00e9"}})
		for i, data := range []string{
			`{"site": "caf\u00e9", "rack": 8}`, `{"site": "caf\\u00e9"}`,
			`{"site": "<caf\\u00e9> \"x\"", "rack": 7}`, `{"site": "\u003ccaf\\u00e9\u003e \"x\"", "rack": "7"}`,
		} {
			l.exec(`INSERT INTO nodes (hostname, ipaddr, state, reusable, data) VALUES (?, ?, 'unused', true, ?)`,
				fmt.Sprintf("machine%d", i), fmt.Sprintf("192.0.2.%d", i+1), data)
		}
		l.fill()
		require.Len(t, l.nodes("b", pool.Ready), 2)
		require.Len(t, l.nodes("c", pool.Ready), 1)
	})
}

// Names and failures of machines in any language stop no pool.
func TestTextOfMachines(t *testing.T) {
	t.Parallel()
	dbtest.EachEncoding(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 2))
		l.machines.Inject(fake.Fault{In: fake.Provision, Times: 2, Err: fmt.Errorf("\u65e5\u672c\x00\xff")})
		l.fill()
		trouble, err := l.pools.Trouble(t.Context(), "a")
		require.NoError(t, err)
		require.NotEmpty(t, trouble.LastError)
		name := 0
		l.machines.Inject(fake.Fault{In: fake.Provision, Change: func(n *backend.Node) {
			name++
			n.Hostname = fmt.Sprint("\u65e5\u672c-caf\u00e9-", name)
			n.Provision = map[string]any{"\u65e5": "\u672c\x00"}
		}})
		for l.levels("a")[pool.Ready] < 2 {
			l.clock.advance(time.Minute)
			l.reconcile()
		}
		alice := l.tenant("alice")
		l.retire(alice, l.mustRequest(alice, spec(2, "a")))
		l.work()
		l.accounted()
	})
}
