package main_test

import (
	"debug/elf"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestClient runs the program as it is released.
func TestClient(t *testing.T) {
	t.Parallel()
	program := build(t)
	t.Run("small and static", func(t *testing.T) {
		t.Parallel()
		const most = 12e6
		info, err := os.Stat(program)
		require.NoError(t, err)
		require.Less(t, info.Size(), int64(most))
		if runtime.GOOS != "linux" {
			return
		}
		file, err := elf.Open(program)
		require.NoError(t, err)
		defer file.Close()
		for _, segment := range file.Progs {
			require.NotEqual(t, elf.PT_INTERP, segment.Type)
		}
	})
	t.Run("settings", func(t *testing.T) { t.Parallel(); testSettings(t, program) })
	t.Run("exit status", func(t *testing.T) { t.Parallel(); testExitStatus(t, program) })
	t.Run("completion", func(t *testing.T) { t.Parallel(); testCompletion(t, program) })
}

func build(t *testing.T) (program string) {
	program = filepath.Join(t.TempDir(), "duffy-client")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return program
}

// run runs the program with nothing but env in its environment.
func run(t *testing.T, program string, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs strings.Builder
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = env, &out, &errs
	cmd.Stdin = strings.NewReader("key-of-stdin\n")
	err := cmd.Run()
	if failed := (*exec.ExitError)(nil); !errors.As(err, &failed) {
		require.NoError(t, err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

func write(t *testing.T, dir, text string) (file string) {
	require.NoError(t, os.MkdirAll(dir, 0o700))
	file = filepath.Join(dir, "client.yaml")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

// testSettings has flags stand above the environment and that above files, of
// which the later ones stand above the earlier ones.
func testSettings(t *testing.T, program string) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, key, _ := r.BasicAuth()
		fmt.Fprintf(w, `{"asked": "%s %s as %s %s"}`, r.Method, r.URL.Path, name, key)
	}))
	defer server.Close()
	home := t.TempDir()
	first := write(t, filepath.Join(home, "duffy"), "client:\n  url: "+server.URL+"/api/v1\n  auth: {name: file, key: file-key}\n")
	second := write(t, t.TempDir(), "metaclient:\n  usermap: {a: b}\nclient:\n  auth: {key: second-key}\n")
	keyFile := write(t, t.TempDir(), "key-of-file\n")
	third := write(t, t.TempDir(), "client:\n  url: "+server.URL+"\n  auth: {name: file, key-file: "+keyFile+"}\n")
	byDefault := []string{"XDG_CONFIG_HOME=" + home}

	for _, tt := range []struct {
		env, args []string
		asked     string
	}{
		{byDefault, []string{"list-pools"}, "GET /api/v1/pools as file file-key"},
		{nil, []string{"-c", filepath.Dir(first), "--config", second, "list-sessions"}, "GET /api/v1/sessions as file second-key"},
		{
			append(byDefault, "DUFFY_AUTH_NAME=env", "DUFFY_AUTH_KEY=env-key"),
			[]string{"--auth-name", "flag", "retire-session", "5"},
			"PUT /api/v1/sessions/5 as flag env-key",
		},
		{
			[]string{"XDG_CONFIG_HOME=/nonexistent"},
			[]string{"request-session", "--url", server.URL, "--auth-name=flag", "--auth-key=flag-key", "pool=small,quantity=2"},
			"POST /sessions as flag flag-key",
		},
		{nil, []string{"-c", third, "list-pools"}, "GET /pools as file key-of-file"},
		{nil, []string{"-c", third, "--auth-key-file", "-", "list-pools"}, "GET /pools as file key-of-stdin"},
	} {
		code, stdout, stderr := run(t, program, tt.env, tt.args...)
		require.Zero(t, code, stderr)
		require.Empty(t, stderr)
		require.JSONEq(t, `{"asked": "`+tt.asked+`"}`, stdout)
	}
}

func testExitStatus(t *testing.T, program string) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"detail": "Not Found"}`)
	}))
	defer server.Close()
	env := []string{"DUFFY_URL=" + server.URL, "DUFFY_AUTH_NAME=tenant", "DUFFY_AUTH_KEY=secret"}
	typo := write(t, t.TempDir(), "client:\n  auht: {}\n")
	for _, tt := range []struct {
		args           []string
		code           int
		stdout, stderr string
	}{
		{[]string{"--version"}, 0, "Duffy, version ", ""},
		{[]string{"--help"}, 0, "Usage: duffy-client", ""},
		{[]string{"show-session", "5"}, 0, `"Not Found"`, ""},
		{[]string{"--format=flat", "show-session", "5"}, 0, "error='Not Found'", ""},
		{[]string{"--exit-status", "show-session", "5"}, 3, `"Not Found"`, "duffy-client: Not Found"},
		{[]string{"--url", "http://127.0.0.1:1", "list-pools"}, 1, "", "duffy-client: Get "},
		{[]string{"--url", "", "-c", typo, "list-pools"}, 1, "", "client.yaml:2: client.auht: unknown key"},
		{[]string{"--url", "", "-c", "/nonexistent", "list-pools"}, 1, "", "duffy-client: stat /nonexistent"},
		{[]string{"client", "list-pools"}, 2, "", "Try 'duffy-client --help'"},
		{[]string{"request-session", "small"}, 2, "", "duffy-client: error: "},
		{nil, 2, "", "duffy-client: error: "},
	} {
		code, stdout, stderr := run(t, program, env, tt.args...)
		require.Equal(t, tt.code, code, "%s %s", tt.args, stderr)
		require.Contains(t, stdout, tt.stdout, tt.args)
		require.Contains(t, stderr, tt.stderr, tt.args)
		require.Equal(t, tt.stdout == "", stdout == "", tt.args)
		require.NotContains(t, stderr, "secret")
	}
}

// testCompletion has the program answer as the scripts for shells ask it.
func testCompletion(t *testing.T, program string) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		code, script, stderr := run(t, program, nil, "completion", shell)
		require.Zero(t, code, stderr)
		require.Contains(t, script, "complete -", shell)
		require.Contains(t, script, " duffy-client\n", shell)
	}
	code, _, stderr := run(t, program, nil, "completion", "tcsh")
	require.Equal(t, 2, code)
	require.Contains(t, stderr, `"bash","zsh","fish"`)

	for line, want := range map[string][]string{
		"duffy-client show-":                      {"show-session", "show-pool"},
		"duffy-client -c x.yaml list-pools --au":  {"--auth-name", "--auth-key", "--auth-key-file"},
		"duffy-client completion ":                {"bash", "zsh", "fish"},
		"duffy-client request-session pool=small": {""},
	} {
		code, stdout, stderr := run(t, program, []string{"COMP_LINE=" + line})
		require.Zero(t, code, stderr)
		require.ElementsMatch(t, want, strings.Split(strings.TrimSpace(stdout), "\n"), line)
	}
}
