package httpapi_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// tool runs one of the tools that .ci/tools has, and returns what it prints.
func tool(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	modfile, err := filepath.Abs("../.ci/tools/go.mod")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute) // it may have to be built
	defer cancel()
	out, err := exec.CommandContext(ctx, "go", append([]string{"tool", "-modfile=" + modfile, name}, args...)...).CombinedOutput()
	return string(out), err
}

// descriptionFile writes what the API says of itself to a file.
func descriptionFile(t *testing.T) string {
	t.Helper()
	a := newStage(t).do(t, nobody, "GET", "/openapi.json", "")
	require.Equal(t, 200, a.status)
	file := filepath.Join(t.TempDir(), "openapi.json")
	require.NoError(t, os.WriteFile(file, []byte(a.text), 0o600))
	return file
}

// TestDescriptionIsValid has validators, which know nothing of each other, read what the
// API says of itself. One of them reads regular expressions as JavaScript does.
func TestDescriptionIsValid(t *testing.T) {
	t.Parallel()
	file := descriptionFile(t)
	out, err := tool(t, "github.com/getkin/kin-openapi/cmd/validate", file)
	require.NoError(t, err, out)
	out, err = tool(t, "github.com/pb33f/libopenapi-validator/cmd/validate", "-regexengine", "ecmascript", file)
	require.NoError(t, err, out)

	broken := filepath.Join(t.TempDir(), "broken.json")
	require.NoError(t, os.WriteFile(broken, []byte(`{"openapi": "3.1.0", "info": {}, "paths": {"a": {"get": 1}}}`), 0o600))
	for _, name := range []string{"getkin/kin-openapi", "pb33f/libopenapi-validator"} {
		_, err := tool(t, "github.com/"+name+"/cmd/validate", broken)
		require.Error(t, err, "%s finds mistakes", name)
	}
}

// TestClientsCanBeGenerated compiles a client that is made of the description alone.
func TestClientsCanBeGenerated(t *testing.T) {
	t.Parallel()
	file, dir := descriptionFile(t), t.TempDir()
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile("../.ci/tools/" + name)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), text, 0o600))
	}
	out, err := tool(t, "github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen",
		"-generate", "types,client", "-package", "generated", "-o", filepath.Join(dir, "client.go"), file)
	require.NoError(t, err, out)
	build := exec.CommandContext(t.Context(), "go", "build", "./...")
	build.Dir = dir
	compiled, err := build.CombinedOutput()
	require.NoError(t, err, "%s", compiled)
}

// TestDescriptionNamesItsLimits has each text and number that a request may carry be
// described with a limit, and each list with its length.
func TestDescriptionNamesItsLimits(t *testing.T) {
	t.Parallel()
	d := newStage(t).describe(t)
	limits := 0
	for _, op := range d.operations() {
		for _, p := range op.params {
			d.limited(op.name+" "+p["name"].(string), p["schema"].(map[string]any), &limits)
		}
		if op.body != nil {
			d.limited(op.name+" body", op.body.(map[string]any), &limits)
		}
	}
	require.Greater(t, limits, 40)
}

// limited checks a schema, its alternatives, and what is in it.
func (d description) limited(where string, s map[string]any, limits *int) {
	d.Helper()
	if ref, ok := s["$ref"].(string); ok {
		s = d.schema(map[string]any{"$ref": ref})
	}
	has := func(keys ...string) bool {
		*limits++
		for _, key := range keys {
			if _, ok := s[key]; ok {
				return true
			}
		}
		return false
	}
	if hasType(s, "string") {
		require.True(d, has("maxLength", "enum", "format") || strings.HasSuffix(anyText(s["pattern"]), ")$"), "%s: text without a limit", where)
	}
	if hasType(s, "integer") {
		require.True(d, has("maximum", "format", "enum"), "%s: a number without a limit", where)
	}
	if items, ok := s["items"].(map[string]any); ok {
		require.True(d, has("maxItems"), "%s: a list without a limit", where)
		d.limited(where+"[0]", items, limits)
	}
	for _, key := range []string{"oneOf", "anyOf"} {
		for _, alternative := range asList(s[key]) {
			d.limited(where, alternative.(map[string]any), limits)
		}
	}
	properties, _ := s["properties"].(map[string]any)
	for name, property := range properties {
		d.limited(where+"."+name, property.(map[string]any), limits)
	}
}

func anyText(v any) string {
	text, _ := v.(string)
	return text
}
