package duffy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy"
)

func documents(t *testing.T) []string {
	docs, err := filepath.Glob("docs/*.md")
	require.NoError(t, err)
	return append(docs, "README.md", "CHANGELOG.md", "CONTRIBUTING.md")
}

func read(t *testing.T, file string) string {
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(text)
}

var link = regexp.MustCompile(`\]\(([^):#]+)[^):]*\)`)

// TestLinks follows the links from documents to other files.
func TestLinks(t *testing.T) {
	t.Parallel()
	for _, doc := range documents(t) {
		for _, found := range link.FindAllStringSubmatch(read(t, doc), -1) {
			_, err := os.Stat(filepath.Join(filepath.Dir(doc), found[1]))
			require.NoError(t, err, "%s links to %s", doc, found[1])
		}
	}
}

var yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")

// TestDocumentedConfiguration loads what documents show, but for playbooks.
func TestDocumentedConfiguration(t *testing.T) {
	t.Parallel()
	for _, doc := range documents(t) {
		for _, found := range yamlBlock.FindAllStringSubmatch(read(t, doc), -1) {
			if strings.HasPrefix(found[1], "- ") {
				continue
			}
			file := filepath.Join(t.TempDir(), "duffy.yaml")
			require.NoError(t, os.WriteFile(file, []byte(found[1]), 0o600))
			_, err := duffy.LoadConfig(file)
			require.NoError(t, err, "%s shows\n%s", doc, found[1])
		}
	}
}

var libraryRow = regexp.MustCompile("(?m)^\\| `(.*?)` \\|")

// TestDesignExplainsLibraries has docs/design.md say what the direct dependencies
// are for, and nothing of others.
func TestDesignExplainsLibraries(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-m", "-f", "{{if not (or .Main .Indirect)}}{{.Path}}{{end}}", "all").Output()
	require.NoError(t, err)
	direct := strings.Fields(string(out))
	_, section, _ := strings.Cut(read(t, "docs/design.md"), "## Libraries")
	var explained []string
	for _, row := range libraryRow.FindAllStringSubmatch(section, -1) {
		explained = append(explained, row[1])
	}
	require.Subset(t, direct, explained)
	for _, path := range direct {
		require.True(t, slices.ContainsFunc(explained, func(library string) bool {
			return path == library || strings.HasPrefix(path, library+"/")
		}), "docs/design.md does not say what %s is for", path)
	}
}
