package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Commands have the queue that the configuration says, which may be away.
func TestAsynq(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "duffy.yaml")
	configure := func(redis string) {
		require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, `
database: {url: "sqlite:///%s/duffy.sqlite"}
tasks: {queue: asynq, redis: %q}
`, dir, redis), 0o600))
	}
	var out strings.Builder
	configure("redis://:hunter2@localhost/first")
	for _, command := range []string{"setup-db", "worker"} {
		var errs strings.Builder
		require.Equal(t, exitFailure, run(t.Context(), []string{"-c", file, command}, &out, &errs))
		require.Contains(t, errs.String(), file+":3: tasks.redis: the URL of Redis")
		require.NotContains(t, errs.String(), "hunter2")
	}

	configure("redis-socket://" + dir + "/nobody")
	var log demoOutput
	require.Equal(t, 0, run(t.Context(), []string{"-c", file, "setup-db"}, &out, &log), &log)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, []string{"-c", file, "worker"}, &out, &log) }()
	require.Eventually(t, func() bool { return strings.Contains(log.String(), "cannot reach Redis") },
		patience, 10*time.Millisecond)
	stop()
	require.Equal(t, 0, <-ended, &log)
}
