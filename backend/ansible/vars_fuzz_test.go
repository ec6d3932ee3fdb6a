package ansible

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v4"
)

// FuzzEncodeVars sees that untrusted text, in values and keys, is nothing but marked
// text in the file of variables.
func FuzzEncodeVars(f *testing.F) {
	for _, text := range []string{
		"", "{{ 7 * 7 }}", "!unsafe x", "\x00\x1b\u009b\u2028\ufeff\U000e0001", "\xff", "a: b\n- c", "'\"\\", "1e5", "null", "~", "<<", "*x", "&y z",
		strings.Repeat("long ", 500), strings.Repeat("k", 2000), "%YAML 1.1\n---\n", "...\n---\nevil: 1",
	} {
		f.Add(text, text)
	}
	f.Fuzz(func(t *testing.T, key, text string) {
		if key == vaultKey {
			return
		}
		file, err := encodeVars(map[string]any{"in": untrusted{map[string]any{key: []any{text}}}})
		require.NoError(t, err)
		var doc yaml.Node
		require.NoError(t, yaml.Unmarshal(file, &doc))
		in := doc.Content[0].Content[1]
		require.Len(t, in.Content, 2)
		for node, want := range map[*yaml.Node]string{in.Content[0]: key, in.Content[1].Content[0]: text} {
			require.Equal(t, yaml.ScalarNode, node.Kind)
			require.Equal(t, tagUnsafe, node.Tag)
			require.Equal(t, string([]rune(want)), node.Value)
		}
	})
}
