package main

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// withDuffy returns a command that runs a shell in a directory, with the program
// in its PATH as duffy.
func withDuffy(ctx context.Context, t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	program := programIn(ctx, t, dir)
	bin := t.TempDir()
	require.NoError(t, os.Symlink(program.Path, filepath.Join(bin, "duffy")))
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = dir
	cmd.Env = append(program.Env, "PATH="+bin+":"+os.Getenv("PATH"), "HOME="+dir, "INPUTRC=/dev/null", "TERM=dumb")
	return cmd
}

// TestBashCompletes types at bash's prompt.
func TestBashCompletes(t *testing.T) {
	t.Parallel()
	need(t, installed("bash") && installed("script"), "bash and script")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"bashrc":     "source <(duffy completion bash)\n",
		"duffy.yaml": "app: {port: 4711}\n",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	cmd := withDuffy(ctx, t, dir, "script", "-qec", "bash --rcfile bashrc -i", "/dev/null")
	var screen demoOutput
	cmd.Stdout, cmd.Stderr = &screen, &screen
	keyboard, err := cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	_, err = io.WriteString(keyboard, "duffy --con\tduf\tconf\tdu\t\n")
	require.NoError(t, err)
	require.Eventually(t, func() bool { return strings.Contains(screen.String(), "port: 4711") },
		patience, 10*time.Millisecond, "%s", &screen)
	_, err = io.WriteString(keyboard, "exit\n")
	require.NoError(t, err)
	require.NoError(t, cmd.Wait(), "%s", &screen)
}

func TestFishCompletes(t *testing.T) {
	t.Parallel()
	need(t, installed("fish"), "fish")
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "some.yaml"), nil, 0o600))
	for line, want := range map[string]string{
		"duffy mig":                     "migration\n",
		"duffy migration d":             "db-version\ndowngrade\n",
		"duffy client show-":            "show-pool\nshow-session\n",
		"duffy -l debug serve --ho":     "--host\n",
		"duffy completion ":             "bash\nfish\nzsh\n",
		"duffy -c some.yaml client --u": "--url\n",
		"duffy -c so":                   "some.yaml\n",
	} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		cmd := withDuffy(ctx, t, dir, "fish", "-N", "-c", `duffy completion fish | source; complete -C "$argv"`, line)
		output, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", output)
		require.Equal(t, want, string(output), line)
	}
}
