// Command duffy serves, works, administers and uses Duffy.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/duffy-ci/duffy/internal/foreign"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is main without the process, for tests.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return execute(ctx, &program{
		stdout: foreign.Writer(stdout), stderr: foreign.Writer(stderr), rawStdout: stdout, rawStderr: stderr,
	}, args)
}
