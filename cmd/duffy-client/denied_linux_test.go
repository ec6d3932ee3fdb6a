package main_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

const nobody = 65534

// TestServersConfigurationIsDenied runs the client as a user of a server's machine,
// who may not read what the server reads.
func TestServersConfigurationIsDenied(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can be another user")
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, key, _ := r.BasicAuth()
		fmt.Fprintf(w, `{"asked": "as %s %s"}`, name, key)
	}))
	t.Cleanup(server.Close)
	built := build(t)
	const mine = "client: {url: %s, auth: {name: file, key: file-key}}"
	environment := []string{"DUFFY_URL=" + server.URL, "DUFFY_AUTH_NAME=env", "DUFFY_AUTH_KEY=env-key"}
	for name, tt := range map[string]struct {
		env           []string
		files         map[string]os.FileMode // of the configuration, those of 0644 have what the client needs
		dir           os.FileMode
		asked, refuse string
	}{
		"a directory":           {environment, map[string]os.FileMode{"server.yaml": 0o600}, 0o700, "as env env-key", ""},
		"a file":                {nil, map[string]os.FileMode{"client.yaml": 0o644, "secrets.yaml": 0o600}, 0o755, "as file file-key", ""},
		"something is missing":  {environment[:2], map[string]os.FileMode{"secrets.yaml": 0o600}, 0o755, "", "secrets.yaml: permission denied"},
		"all of it is missing":  {nil, map[string]os.FileMode{"server.yaml": 0o600}, 0o700, "", "duffy: permission denied"},
		"some of it is missing": {environment[:2], nil, 0o700, "", "duffy: permission denied"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			home, err := os.MkdirTemp("", "duffy-denied-")
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, os.RemoveAll(home)) })
			require.NoError(t, os.Chmod(home, 0o755))
			dir := filepath.Join(home, "duffy")
			require.NoError(t, os.Mkdir(dir, tt.dir))
			for file, mode := range tt.files {
				require.NoError(t, os.WriteFile(filepath.Join(dir, file), fmt.Appendf(nil, mine, server.URL), mode))
			}
			program := filepath.Join(home, "duffy-client")
			out, err := exec.Command("cp", built, program).CombinedOutput()
			require.NoError(t, err, "%s", out)

			var stdout, stderr strings.Builder
			cmd := exec.CommandContext(t.Context(), program, "list-pools")
			cmd.Dir, cmd.Env = home, append([]string{"XDG_CONFIG_HOME=" + home}, tt.env...)
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
			err = cmd.Run()
			if tt.refuse != "" {
				require.Error(t, err)
				require.Contains(t, stderr.String(), "the tenant's key")
				require.Contains(t, stderr.String(), tt.refuse)
				return
			}
			require.NoError(t, err, "%s", &stderr)
			require.JSONEq(t, `{"asked": "`+tt.asked+`"}`, stdout.String())
		})
	}
}
