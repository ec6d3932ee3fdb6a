package clientcli_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v4"
)

// TestUnknownKeys shows that all formats bear what they do not know, and that
// the two which can pass it on do.
func TestUnknownKeys(t *testing.T) {
	t.Parallel()
	url := serve(t, 200, `{"later": "fill-level", "pool": {"name": "a \"fill-level\": b", "fill-level": 3, "later": 1.50}}`)
	for format, want := range map[string]string{
		"json": "{\n  \"later\": \"fill-level\",\n  \"pool\": {\n    \"name\": \"a \\\"fill-level\\\": b\",\n" +
			"    \"fill_level\": 3,\n    \"later\": 1.50\n  }\n}\n",
		"yaml": "later: fill-level\npool:\n  fill_level: 3\n  later: 1.50\n  name: 'a \"fill-level\": b'\n\n",
		"flat": "pool_name='a \"fill-level\": b' fill_level=3\n",
	} {
		require.Equal(t, result{stdout: want}, run(t.Context(), configured(url), "client", "--format", format, "show-pool", "p"))
	}
}

func TestOnlyPoolsHaveAFillLevel(t *testing.T) {
	t.Parallel()
	url := serve(t, 200, `{"session":{"data":{"fill-level":1}}}`)
	got := run(t.Context(), configured(url), "client", "show-session", "5")
	require.JSONEq(t, `{"session":{"data":{"fill-level":1}}}`, got.stdout)
}

// TestYAMLKeepsTypes prints text that YAML 1.1 or 1.2 could take for something
// else, and numbers of all forms.
func TestYAMLKeepsTypes(t *testing.T) {
	t.Parallel()
	url := serve(t, 200, `{"text": ["2026-11-22T15:46:33.527365+00:00", "2026-01-01", "**********", "yes", "Off", "null", "~", "",
		"1:30", "0777", "0x1F", "1_000", "1.5", "1e3", ".inf", "- a", "a: b", "a #b", "it's", " lead", "two\nlines\n", "tab\there",
		"ünï 😀", "@x", "127.0.1.5", "::1"], "numbers": [1, -2, 21600.0, 1e+20, 12345678901234567890], "none": null, "map": {}, "list": []}`)
	got := run(t.Context(), configured(url), "client", "--format", "yaml", "list-pools")
	require.Zero(t, got.exit, got.stderr)
	var value map[string]any
	require.NoError(t, yaml.Load([]byte(got.stdout), &value))
	require.Equal(t, map[string]any{
		"text": []any{
			"2026-11-22T15:46:33.527365+00:00", "2026-01-01", "**********", "yes", "Off", "null", "~", "",
			"1:30", "0777", "0x1F", "1_000", "1.5", "1e3", ".inf", "- a", "a: b", "a #b", "it's", " lead", "two\nlines\n", "tab\there",
			"ünï 😀", "@x", "127.0.1.5", "::1",
		},
		"numbers": []any{1, -2, 21600.0, 1e20, uint64(12345678901234567890)},
		"none":    nil, "map": map[string]any{}, "list": []any{},
	}, value)
	require.Contains(t, got.stdout, "- 'yes'\n- 'Off'\n")
	require.Contains(t, got.stdout, "- '1:30'\n")
	require.Contains(t, got.stdout, "- 21600.0\n- 1.0e+20\n")
}

func TestFlat(t *testing.T) {
	t.Parallel()
	const node = `"created_at":"2026-01-01T00:00:00+00:00","active":true,"retired_at":null`
	for name, tt := range map[string]struct{ answer, stdout string }{
		"null sorts first and stays nothing": {
			`{"session":{"id":5,` + node + `,"nodes":[{"pool":"p","hostname":"","ipaddr":"::1"},{"pool":null,"hostname":null,"ipaddr":null}]}}`,
			"session_id=5 active=TRUE created_at='2026-01-01 00:00:00+00:00' retired_at= pool= hostname= ipaddr=\n" +
				"session_id=5 active=TRUE created_at='2026-01-01 00:00:00+00:00' retired_at= pool='p' hostname='' ipaddr='::1'\n",
		},
		"session without nodes": {`{"session":{"id":5,` + node + `,"nodes":[]}}`, "\n"},
		"no sessions":           {`{"sessions":[]}`, ""},
		"no pools":              {`{"pools":[]}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := run(t.Context(), configured(serve(t, 200, tt.answer)), "client", "--format", "flat", "show-session", "5")
			require.Equal(t, result{stdout: tt.stdout}, got)
		})
	}
}

func TestFlatOfSomethingElse(t *testing.T) {
	t.Parallel()
	got := run(t.Context(), configured(serve(t, 200, `{"tenants":[]}`)), "client", "--format", "flat", "list-pools")
	require.Equal(t, 1, got.exit)
	require.Empty(t, got.stdout)
	require.Contains(t, got.stderr, "as flat")
}
