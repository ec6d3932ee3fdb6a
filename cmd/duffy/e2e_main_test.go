package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// asDuffy is a variable in whose presence the test binary is the program.
const asDuffy = "DUFFY_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	for _, name := range []string{"DUFFY_URL", "DUFFY_AUTH_NAME", "DUFFY_AUTH_KEY"} {
		os.Unsetenv(name) // which are about Duffy elsewhere
	}
	if settings := os.Getenv(asAttacker); settings != "" {
		os.Exit(attack(settings))
	}
	if os.Getenv(asDuffy) != "" {
		main()
	}
	os.Exit(m.Run())
}

// programIn returns the program, to be run in a directory, as a process of its own.
func programIn(ctx context.Context, t testing.TB, dir string, args ...string) *exec.Cmd {
	t.Helper()
	file, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(ctx, file, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), asDuffy+"=1")
	return cmd
}

// runProgram runs the program to its end and returns its exit status and output.
func runProgram(t testing.TB, dir string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var out, errs strings.Builder
	cmd := programIn(ctx, t, dir, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if failed := (*exec.ExitError)(nil); !errors.As(err, &failed) {
		require.NoError(t, err)
	}
	require.NoError(t, ctx.Err())
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}
