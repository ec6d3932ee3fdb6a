package seam_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/internal/foreign/seam"
)

var hostile = []string{
	"\x1b]0;title\x07\x1b[2J", "\u009b31m", "\u202etxt.exe", "a\x00b", "\xff\xfe\xc3", "{{ 7 * 7 }}\n", "line\nlevel=INFO msg=forged",
	strings.Repeat("\x1b[5m", 10_000), strings.Repeat("ü", 1<<20),
}

// requireLine looks at text in one line that people may read anywhere.
func requireLine(t *testing.T, text string) {
	t.Helper()
	for _, r := range text {
		require.True(t, unicode.IsPrint(r), "%q in %q", r, text)
	}
	require.LessOrEqual(t, utf8.RuneCountInString(text), 1003)
}

// said is a backend, and a contextualizer, that say hostile things.
type said struct{ text string }

func (s said) Provision(_ context.Context, req backend.Request) ([]backend.Node, error) {
	n := req.Nodes[0]
	n.Hostname, n.IPAddr = s.text, s.text
	n.Provision = map[string]any{s.text: []any{s.text, map[string]any{s.text: s.text}}, "number": json.Number("1e5")}
	return []backend.Node{n}, errors.New(s.text)
}

func (s said) Deprovision(ctx context.Context, req backend.Request) ([]backend.Node, error) {
	return s.Provision(ctx, req)
}

func (s said) Contextualize(context.Context, backend.Node, string) error { return errors.New(s.text) }

func (s said) Decontextualize(context.Context, backend.Node) error { return errors.New(s.text) }

func TestSeams(t *testing.T) {
	t.Parallel()
	for _, raw := range hostile {
		b, c := seam.Backend(said{raw}), seam.Contextualizer(said{raw})
		req := backend.Request{Nodes: []backend.Node{{ID: 1}}}
		for _, call := range []func(context.Context, backend.Request) ([]backend.Node, error){b.Provision, b.Deprovision} {
			nodes, err := call(t.Context(), req)
			requireLine(t, err.Error())
			requireLine(t, nodes[0].Hostname)
			require.LessOrEqual(t, utf8.RuneCountInString(nodes[0].Hostname), 253)
			require.Empty(t, nodes[0].IPAddr)
			stored, err := json.Marshal(nodes[0].Provision)
			require.NoError(t, err)
			require.NotContains(t, string(stored), `\u0000`)
			require.Less(t, len(stored), 2<<20)
			require.Equal(t, json.Number("1e5"), nodes[0].Provision["number"])
		}
		requireLine(t, c.Contextualize(t.Context(), backend.Node{}, "key").Error())
		requireLine(t, c.Decontextualize(t.Context(), backend.Node{}).Error())
	}
	require.Nil(t, seam.Contextualizer(nil))
}

// seeing is an inspector too.
type seeing struct{ said }

func (s seeing) Inspect(context.Context, backend.Node) (backend.Inspection, error) {
	return backend.Inspection{}, errors.New(s.text)
}

func TestInspector(t *testing.T) {
	t.Parallel()
	_, inspects := seam.Contextualizer(said{}).(backend.Inspector)
	require.False(t, inspects)
	inspector := seam.Contextualizer(seeing{said{hostile[0]}}).(backend.Inspector)
	_, err := inspector.Inspect(t.Context(), backend.Node{})
	requireLine(t, err.Error())
}
