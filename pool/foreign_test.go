package pool_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/backend/fake"
	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/pool"
)

// nasty are texts that a database may refuse.
var nasty = []string{
	"a\x00b", "\x00", "\xff\xfe\xc3", "\xed\xa0\x80", "\ufffe\uffff", "\U0010ffff", `\u0000`, `\ud800`, "'; DROP TABLE nodes; --", "?0 ?", "$1",
	"", `"`, `\`, "$.a[0]", strings.Repeat("ü", 1<<20),
}

// nastyValues are values of data that a database, or JSON, may refuse.
func nastyValues() []any {
	deep := any("end")
	for range 20_000 {
		deep = []any{map[string]any{"a": deep}}
	}
	circle := map[string]any{}
	circle["again"] = circle
	values := []any{
		deep, circle, math.Inf(1), math.Inf(-1), math.NaN(), json.Number("1e999"), json.Number("-1e-99999"), json.Number("NaN"), json.Number("Inf"),
		json.Number("0x10"), json.Number("1_000"), json.Number(""), json.Number("01"), json.Number(strings.Repeat("9", 200_000)),
		json.Number("0." + strings.Repeat("0", 20_000) + "1"), json.RawMessage("{"), []byte("\x00\xff"), func() {}, make(chan int),
		map[int]any{1: "\x00"},
		map[string]string{"\x00": "\x00"},
		[]string{"\x00"},
		[1]string{"\x00"},
		struct{ Name string }{"\x00"},
		time.Time{},
		errors.New("\x00"), complex(1, 2), int8(1), nil, true,
	}
	for _, text := range nasty {
		values = append(values, text, map[string]any{text: text}, []any{text})
	}
	return values
}

// TestWhatBackendsTell has a backend tell everything that a database may refuse: nodes get ready
// or fail, and their machines are removed.
func TestWhatBackendsTell(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 1))
		for i, value := range nastyValues() {
			l.machines.Inject(fake.Fault{In: fake.Provision, Times: 1, Change: func(n *backend.Node) {
				n.Provision = map[string]any{"value": value}
				if text, ok := value.(string); ok {
					n.Hostname = text
				}
				if i%2 == 1 {
					n.IPAddr = ""
				}
			}})
			l.later(0)
			for _, n := range l.nodes(pool.Ready) {
				l.reclaim(pool.Ready, n.ID)
				l.work()
			}
			l.later(time.Minute)
			l.later(time.Minute)
			require.Equal(t, map[pool.State]int{pool.Ready: 1}, l.levels("a"), "%T %.50q", value, value)
			require.Len(t, l.machines.Machines(), 1, "%T %.50q", value, value)
			l.reclaim(pool.Ready, l.nodes(pool.Ready)[0].ID)
			l.work()
		}
		for _, text := range nasty {
			for _, op := range []fake.Op{fake.Provision, fake.Deprovision} {
				l.machines.Inject(fake.Fault{In: op, Times: 1, Err: errors.New(text)})
				l.later(0)
				for _, n := range l.nodes(pool.Ready) {
					l.reclaim(pool.Ready, n.ID)
				}
				l.work()
				l.later(time.Minute)
				l.later(time.Minute)
				require.Equal(t, 1, l.levels("a")[pool.Ready], "%s %.50q", op, text)
				require.Empty(t, l.nodes(pool.Deprovisioning))
			}
		}
	})
}

// seeing is a contextualizer that sees what a database may refuse.
type seeing struct {
	*fake.Backend
	text string
}

func (s seeing) Inspect(context.Context, backend.Node) (backend.Inspection, error) {
	return backend.Inspection{User: s.text, HostKeys: []string{s.text}, AuthorizedKeysSHA256: s.text}, nil
}

func TestWhatNodesTell(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLab(t, d, throwAway("a", 1))
		for _, text := range nasty {
			l.pools = pool.New(d.DB, l.jobs, pool.ServiceConfig{
				Pools: l.pools.Pools(), Backends: l.backends, Contextualizer: seeing{l.machines, text},
				Now: func() time.Time { return l.now }, Elapsed: l.elapsed, Lease: time.Minute,
			})
			require.NoError(t, l.pools.Fill(t.Context(), "a"))
			for _, job := range l.jobs.Jobs() {
				l.mux = newMux(l.pools)
				require.NoError(t, l.mux.Dispatch(t.Context(), job.Kind(), jsonOf(t, job)))
			}
			l.jobs.Lose()
			require.Equal(t, 1, l.levels("a")[pool.Ready], "%.50q", text)
			l.reclaim(pool.Ready, l.nodes(pool.Ready)[0].ID)
			l.work()
		}
	})
}
