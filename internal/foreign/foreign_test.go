package foreign_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/internal/foreign"
)

// hostile are texts that do harm where they are not escaped.
var hostile = []string{
	"\x1b]0;title\x07\x1b[2J", "\x9b31m", "\u009b31m", "\u202etxt.exe", "\u2066hidden\u2069", "a\rb", "a\x00b", "\xff\xfe\xc3",
	"\u200b\u2060\ufeff", "\U000e0001\U000e0041", "\x7f\b\b", "{{ 7 * 7 }}", "'; DROP TABLE nodes; --", "`id`$(id)", "%s%n%!d(x)",
	"line\nlevel=INFO msg=forged", strings.Repeat("\x1b[5m", 10_000), strings.Repeat("x", 1<<20),
}

// requireHarmless looks at text in one line that people may read anywhere.
func requireHarmless(t *testing.T, text string) {
	t.Helper()
	require.True(t, utf8.ValidString(text))
	require.NotContains(t, text, "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD", "not a heap of broken characters")
	for _, r := range text {
		require.True(t, unicode.IsPrint(r), "%q in %q", r, text)
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	for _, raw := range hostile {
		text := foreign.Line(raw)
		for _, verb := range []string{"%s", "%v", "%+v", "%#v"} {
			requireHarmless(t, fmt.Sprintf(verb, text))
			require.LessOrEqual(t, utf8.RuneCountInString(fmt.Sprintf(verb, text)), 1003)
		}
		encoded, err := json.Marshal(map[string]any{"text": text})
		require.NoError(t, err)
		requireHarmless(t, string(encoded))
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "text", text)
		requireHarmless(t, strings.TrimSuffix(log.String(), "\n"))
	}
	require.Equal(t, "no space left on device", foreign.Line("no space\n\tleft  on device\n").String())
	require.Equal(t, "näme-✓ 日本", foreign.Line("näme-✓ 日本").String())
	require.Equal(t, `\u001b[31mred`, foreign.Line("\x1b[31mred").String())
}

func TestError(t *testing.T) {
	t.Parallel()
	for _, raw := range hostile {
		cause := errors.New(raw)
		err := fmt.Errorf("node 1: %w", foreign.Error(fmt.Errorf("cannot log in: %w", cause)))
		requireHarmless(t, strings.TrimPrefix(err.Error(), "node 1: "))
		require.ErrorIs(t, err, cause)
	}
	require.NoError(t, foreign.Error(nil))
}

func TestLogHandler(t *testing.T) {
	t.Parallel()
	for _, raw := range hostile[:len(hostile)-2] { // length is not the log's concern
		var log bytes.Buffer
		logger := slog.New(foreign.LogHandler(slog.NewJSONHandler(&log, nil)))
		logger.With("with", raw).WithGroup("g").Info(raw, "text", raw, "err", errors.New(raw), slog.Group("group", "inner", raw),
			"stringer", bytes.NewBufferString(raw), "number", 7)
		requireHarmless(t, strings.TrimSuffix(log.String(), "\n"))
		require.Contains(t, log.String(), `"number":7`)
	}
}

func TestWriter(t *testing.T) {
	t.Parallel()
	for _, raw := range hostile {
		var out bytes.Buffer
		w := foreign.Writer(&out)
		for i := range len(raw) { // characters in pieces
			n, err := w.Write([]byte(raw[i : i+1]))
			require.NoError(t, err)
			require.Equal(t, 1, n)
		}
		for line := range strings.SplitSeq(out.String(), "\n") {
			for _, r := range line {
				require.True(t, unicode.IsPrint(r), "%q", r)
			}
		}
		document, err := json.Marshal(raw)
		require.NoError(t, err)
		out.Reset()
		_, err = foreign.Writer(&out).Write(document)
		require.NoError(t, err)
		require.JSONEq(t, string(document), out.String(), "JSON says the same")
	}
	var out bytes.Buffer
	_, err := foreign.Writer(&out).Write([]byte("näme-✓\n\tid: 7\n"))
	require.NoError(t, err)
	require.Equal(t, "näme-✓\n\tid: 7\n", out.String())
}

func TestHostname(t *testing.T) {
	t.Parallel()
	for name, wanted := range map[string]string{
		"node-1.example.net.": "node-1.example.net", "a": "a", "_srv.example": "_srv.example", "xn--nme-qla.example": "xn--nme-qla.example",
		"Node-1.Example.NET.": "node-1.example.net", "": "", ".": "", "-rf": "", "a b": "", "$(reboot)": "", "a;b": "", "{{7*7}}": "", "a\nb": "", "näme": "", "../etc": "", "a/b": "",
		strings.Repeat("a.", 127) + "a": "",
	} {
		require.Equal(t, wanted, foreign.Hostname(name), name)
	}
}

func TestName(t *testing.T) {
	t.Parallel()
	for name, wanted := range map[string]string{
		"Node-1.Example.NET.": "node-1.example.net", "2001:DB8:0:0::1": "2001:db8::1", "::ffff:192.0.2.1": "192.0.2.1",
		"Näme ✓": "Näme ✓", "My VM\n": "My VM", "": "",
	} {
		require.Equal(t, wanted, foreign.Name(name), name)
	}
}

func TestAddress(t *testing.T) {
	t.Parallel()
	for address, wanted := range map[string]string{
		"192.0.2.1": "192.0.2.1", "2001:DB8:0:0::1": "2001:db8::1", "::ffff:192.0.2.1": "192.0.2.1", "fe80::1%eth0": "fe80::1%eth0",
		"": "", "node1": "", "192.0.2.1/24": "", "192.0.2.1:22": "", "fe80::1%$(reboot)": "", "fe80::1%a b": "", "1.2.3": "", "010.0.0.1": "",
	} {
		require.Equal(t, wanted, foreign.Address(address), address)
	}
}

func TestData(t *testing.T) {
	t.Parallel()
	same := map[string]any{
		"text": "näme-✓\n\x1b", "number": json.Number("1e5"), "list": []any{1, true, nil, map[string]any{"a": "b"}}, "float": 1.5,
	}
	require.Equal(t, same, foreign.Data(same))
	require.Equal(t, map[string]any{"k\uFFFD": "a\uFFFDb", "n": "1e999999", "l": []any{"x\uFFFD"}},
		foreign.Data(map[string]any{"k\x00": "a\xffb", "n": json.Number("1e999999"), "l": []string{"x\x00"}}))

	var deep any = "bottom"
	for range 1000 {
		deep = map[string]any{"below": []any{deep}}
	}
	wide := map[string]any{}
	for i := range 5000 {
		wide[fmt.Sprint(i)] = strings.Repeat("x", 10_000)
	}
	for _, v := range []any{deep, wide, strings.Repeat("x", 10<<20), strings.Split(strings.Repeat(",", 1<<20), ",")} {
		stored, err := json.Marshal(foreign.Data(map[string]any{"v": v, "z": "last"}))
		require.NoError(t, err)
		require.Less(t, len(stored), 2<<20)
		require.Less(t, strings.Count(string(stored), "below"), 100)
	}
}

func FuzzWriter(f *testing.F) {
	for _, raw := range hostile[:len(hostile)-2] {
		f.Add([]byte(raw), 3)
	}
	f.Fuzz(func(t *testing.T, raw []byte, cut int) {
		var whole, pieces bytes.Buffer
		_, _ = foreign.Writer(&whole).Write(raw)
		w := foreign.Writer(&pieces)
		cut = min(max(cut, 0), len(raw))
		_, _ = w.Write(raw[:cut])
		_, _ = w.Write(raw[cut:])
		require.Equal(t, whole.String(), pieces.String())
		for _, r := range whole.String() {
			require.True(t, r == '\n' || r == '\t' || unicode.IsPrint(r), "%q", r)
		}
	})
}
