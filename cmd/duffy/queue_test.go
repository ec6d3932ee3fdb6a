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

// Configurations name one Redis, its sentinels, or a cluster.
func TestRedisURLs(t *testing.T) {
	t.Parallel()
	for url, mistake := range map[string]string{
		"redis://:hunter2@r:6379/0":                             "",
		"rediss://me:hunter2@a:1,b:2":                           "",
		"redis-socket:///run/redis.sock?db=3":                   "",
		"redis-sentinel://:hunter2@a:26379,b:26379?master=name": "",
		"redis-cluster://me:hunter2@a:6379,b:6379,c":            "",
		"redis://hunter2":                                       "",

		"http://:hunter2@r":                   "expected a URL that begins with redis://",
		"hunter2":                             "expected a URL that begins with redis://",
		"redis://":                            "expected a URL that begins with redis://",
		"redis-sentinel://:hunter2@a:26379,b": "add ?master=NAME",
		"redis-cluster://:hunter2@a:6379,b:6379/3": "clusters have no databases",
		"redis-cluster://:hunter2@a:port,b:6379":   "wants hosts",
		"redis://:hunter2%zz@a":                    "write %2F",
	} {
		file := writeConfig(t, "tasks:\n  queue: asynq\n  redis: %q\n", url)
		var out, errs strings.Builder
		code := run(t.Context(), []string{"-c", file, "config", "check"}, &out, &errs)
		if mistake == "" {
			require.Zero(t, code, "%s: %s", url, &errs)
			continue
		}
		require.Equal(t, exitFailure, code, url)
		require.Contains(t, errs.String(), file+":3: tasks.redis: ", url)
		require.Contains(t, errs.String(), mistake, url)
		require.NotContains(t, errs.String(), "hunter2", url)
	}
}
