package client_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestClientsLinkNoServer lists all that clients may link beside the standard
// library: no database, no job queue, no Ansible.
func TestClientsLinkNoServer(t *testing.T) {
	t.Parallel()
	const (
		module = "github.com/duffy-ci/duffy/"
		cli    = "httpapi/client httpapi/apiv1 github.com/alecthomas/kong go.yaml.in/yaml/v4 golang.org/x/term golang.org/x/sys " +
			"internal/foreign internal/secretfile"
	)
	for of, allowed := range map[string]string{
		"httpapi/apiv1":      "",
		"httpapi/client":     "httpapi/apiv1",
		"internal/clientcli": cli,
		"cmd/duffy-client":   cli + " internal/clientcli internal/completion internal/config internal/duration",
		"examples/client":    "httpapi/client httpapi/apiv1",
	} {
		out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", module+of).Output()
		require.NoError(t, err)
		linked := strings.Fields(string(out))
		require.Contains(t, linked, module+of)
		for _, path := range linked {
			path = strings.TrimPrefix(path, module)
			require.True(t, path == of || isOneOf(path, allowed), "%s links %s", of, path)
		}
	}
}

// isOneOf reports whether path is, or is below, one of paths.
func isOneOf(path, paths string) bool {
	for allowed := range strings.FieldsSeq(paths) {
		if path == allowed || strings.HasPrefix(path, allowed+"/") {
			return true
		}
	}
	return false
}
