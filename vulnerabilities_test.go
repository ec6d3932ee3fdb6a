package duffy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A made-up database of vulnerabilities, in the form of https://go.dev/doc/security/vuln/database.
var vulnerabilities = map[string]string{
	"index/db.json":      `{"modified":"2026-01-01T00:00:00Z"}`,
	"index/modules.json": `[{"path":"github.com/alecthomas/kong","vulns":[{"id":"GO-2026-9999","modified":"2026-01-01T00:00:00Z"}]}]`,
	"ID/GO-2026-9999.json": `{"schema_version":"1.3.1","id":"GO-2026-9999","modified":"2026-01-01T00:00:00Z","published":"2026-01-01T00:00:00Z",
		"summary":"What a test makes up","affected":[{"package":{"name":"github.com/alecthomas/kong","ecosystem":"Go"},
		"ranges":[{"type":"SEMVER","events":[{"introduced":"0"}]}],"ecosystem_specific":{"imports":[{"path":"github.com/alecthomas/kong"}]}}],
		"database_specific":{"url":"https://pkg.go.dev/vuln/GO-2026-9999","review_status":"REVIEWED"}}`,
}

// TestVulnerabilitiesFail has the check fail of a vulnerability, and of nothing else
// than one: where its database cannot be reached it says that it knows nothing.
func TestVulnerabilitiesFail(t *testing.T) {
	t.Parallel()
	known, none := t.TempDir(), t.TempDir()
	for name, text := range vulnerabilities {
		for dir, content := range map[string]string{known: text, none: "[]"} {
			if dir == none && name == "index/db.json" {
				content = text
			}
			file := filepath.Join(dir, filepath.FromSlash(name))
			require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
			require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
		}
	}
	for _, tt := range []struct {
		name, env string
		code      int
		says      string
	}{
		{"found", "VULNDB=file://" + known, 3, "GO-2026-9999"},
		{"nothing", "VULNDB=file://" + none, 0, "No vulnerabilities found."},
		{"out of reach", "HTTPS_PROXY=http://127.0.0.1:1", 0, "NOT CHECKED"},
		{"broken", "VULNDB=file:///nonexistent", 1, "no such file or directory"},
	} {
		cmd := exec.CommandContext(t.Context(), ".ci/vulnerabilities", "./internal/completion")
		cmd.Env = append(os.Environ(), "VULNDB=", "NO_PROXY=", "no_proxy=", tt.env)
		out, err := cmd.CombinedOutput()
		require.NotNil(t, cmd.ProcessState, "%s: %v", tt.name, err)
		require.Equal(t, tt.code, cmd.ProcessState.ExitCode(), "%s: %s", tt.name, out)
		require.Contains(t, string(out), tt.says, tt.name)
	}
}
