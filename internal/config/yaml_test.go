package config_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/internal/config"
)

// settings loads text as the settings of a pool.
func settings(t *testing.T, text string) map[string]any {
	t.Helper()
	files := load(t, write(t, "x.yaml", "nodepools: {concrete: {p: {"+text+"}}}"))
	return files.Pools()[0].Settings
}

func TestScalarsAreThoseOfYAML11(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]any{
		"yes": true, "Yes": true, "on": true, "TRUE": true,
		"no": false, "OFF": false, "false": false,
		"y": "y", "n": "n", "tRue": "tRue", `"yes"`: "yes", `'no'`: "no", "! yes": "yes", "!!str yes": "yes",
		"": nil, "~": nil, "null": nil, "NULL": nil, "none": "none", "''": "", "!!null ''": nil,
		"0": int64(0), "42": int64(42), "-7": int64(-7), "+7": int64(7), "1_000": int64(1000),
		"017": int64(15), "08": "08", "0o17": "0o17", "0x1F": int64(31), "0b101": int64(5), "!!int '8'": int64(8),
		"1:30": int64(90), "-1:00:00": int64(-3600), "1:75": "1:75", "00:11:22": "00:11:22", "8000::1": "8000::1",
		"9223372036854775807": int64(1<<63 - 1), "9223372036854775808": "9223372036854775808",
		"0.1": 0.1, "5.": 5.0, ".5": 0.5, "1.5e+3": 1500.0, "1_0.5": 10.5, "0:15.5": 15.5,
		"1e3": "1e3", "1.5e3": "1.5e3", "8.4.2105": "8.4.2105", ".": ".", ".inf": ".inf", "1.0e+999": "1.0e+999",
		"2026-11-22": "2026-11-22", "=": "=", "'{{ name }}'": "{{ name }}",
	} {
		require.Equal(t, want, settings(t, "x: "+text)["x"], text)
	}
	require.Equal(t, map[string]any{"8": "a", "yes": "b", "1:30": "c"}, settings(t, "8: a, yes: b, 1:30: c"))
}

func TestAnchors(t *testing.T) {
	t.Parallel()
	dir := write(t, "x.yaml", `
nodepools:
  abstract:
    base: &base
      a: &a {x: 1}
      list: &list
      - *a
  concrete:
    p:
      b: *a
      list: *list
    q:
      <<: *base
      c: 3
      list: []
    r:
      c: 1
      <<: [{c: 2, d: 2}, {d: 3, e: 3}]
`)
	files := load(t, dir)
	pools := files.Pools()
	x := map[string]any{"x": int64(1)}
	require.Equal(t, map[string]any{"b": x, "list": []any{x}}, pools[1].Settings)
	require.Equal(t, map[string]any{"a": x, "c": int64(3), "list": []any{}}, pools[2].Settings)
	require.Equal(t, map[string]any{"c": int64(1), "d": int64(2), "e": int64(3)}, pools[3].Settings)

	file := filepath.Join(dir, "x.yaml")
	require.Equal(t, file+":10", files.Where("nodepools", "concrete", "p", "b"))
	require.Equal(t, file+":5", files.Where("nodepools", "concrete", "p", "b", "x"))
	require.Equal(t, file+":5", files.Where("nodepools", "concrete", "q", "a"))
	require.Equal(t, file+":15", files.Where("nodepools", "concrete", "q", "list"))
}

func TestDumpCanBeLoaded(t *testing.T) {
	t.Parallel()
	files := load(t, write(t, "x.yaml", `
nodepools:
  concrete:
    p: {a: "yes", b: "08", c: "1:30", d: "2026-11-22", e: "1e3", f: "~", g: "", h: 5.0, i: 1.5e+300, j: 017, k: " x ",
        l: "a: b # c", m: "{{ x }}", n: "a\n\nb\n", o: "ü☃", p: "\x01", q: [[1, [2]], {}, []], r: ~, s: on, t: "null",
        "8": x, "no": y, "": z}
`))
	text := dump(t, files)
	again := load(t, write(t, "x.yaml", text))
	require.Equal(t, files.Merged(), again.Merged())
	require.Equal(t, text, dump(t, again))
}

func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"testdata/*.yaml", "testdata/production/*.yaml"} {
		names, err := filepath.Glob(pattern)
		require.NoError(f, err)
		for _, name := range names {
			content, err := os.ReadFile(name)
			require.NoError(f, err)
			f.Add(content)
		}
	}
	f.Add([]byte("nodepools: {abstract: {a: &a {<<: *a, b: [*a, 1:30, 0x1f, !!str yes, 'x', \"\\x01\"]}}}"))
	f.Add([]byte("%YAML 1.1\n--- !!map\n? app\n: {host: |\n    x\n  }\n...\n--- ~"))
	f.Add([]byte("\xff\xfea\x00p\x00p\x00:\x00"))
	f.Fuzz(func(t *testing.T, content []byte) {
		file := filepath.Join(t.TempDir(), "x.yaml")
		require.NoError(t, os.WriteFile(file, content, 0o600))
		files, err := config.Load(file)
		if err != nil {
			return
		}
		again := load(t, write(t, "dump.yaml", dump(t, files)))
		require.Equal(t, files.Merged(), again.Merged())
		require.Len(t, again.Pools(), len(files.Pools()))
	})
}
