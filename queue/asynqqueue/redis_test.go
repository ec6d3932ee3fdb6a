package asynqqueue_test

import (
	"crypto/tls"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/queue/asynqqueue"
)

func TestParseRedis(t *testing.T) {
	t.Parallel()
	const dial = 2 * time.Second
	for url, want := range map[string]asynq.RedisConnOpt{
		"redis://localhost":              asynq.RedisClientOpt{Addr: "localhost:6379", DialTimeout: dial},
		"redis://me:s%2Fcret@r:7000/3":   asynq.RedisClientOpt{Addr: "r:7000", Username: "me", Password: "s/cret", DB: 3, DialTimeout: dial},
		"redis://[::1]:7000":             asynq.RedisClientOpt{Addr: "[::1]:7000", DialTimeout: dial},
		"rediss://:s@r":                  asynq.RedisClientOpt{Addr: "r:6379", Password: "s", TLSConfig: &tls.Config{ServerName: "r"}, DialTimeout: dial},
		"redis-socket:///run/redis?db=4": asynq.RedisClientOpt{Network: "unix", Addr: "/run/redis", DB: 4, DialTimeout: dial},
		"redis-socket://:s@/run/redis":   asynq.RedisClientOpt{Network: "unix", Addr: "/run/redis", Password: "s", DialTimeout: dial},
		"redis-sentinel://:s@a:1,b?master=m": asynq.RedisFailoverClientOpt{
			MasterName: "m", SentinelAddrs: []string{"a:1", "b:26379"}, SentinelPassword: "s", DialTimeout: dial,
		},
		"redis-cluster://a":      asynq.RedisClusterClientOpt{Addrs: []string{"a:6379"}, DialTimeout: dial},
		"redis://me:s@a:1,b:2/0": asynq.RedisClusterClientOpt{Addrs: []string{"a:1", "b:2"}, Username: "me", Password: "s", DialTimeout: dial},
		"rediss://a,b":           asynq.RedisClusterClientOpt{Addrs: []string{"a:6379", "b:6379"}, TLSConfig: &tls.Config{}, DialTimeout: dial},
	} {
		got, err := asynqqueue.ParseRedis(url)
		require.NoError(t, err, url)
		require.Equal(t, want, got, url)
	}
}

func TestParseRedisErrors(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"":                            "must begin with redis://",
		"http://:hunter2@localhost":   "must begin with redis://",
		"redis://":                    "wants hosts",
		"redis://:hunter2@a,,b":       "wants hosts",
		"redis://:hunter2@a:port":     "wants hosts",
		"redis://me:hunter2/x@a":      "wants hosts",
		"redis://:hunter2%zz@a":       "write %2F",
		"redis://:hunter2@a/first":    "database number",
		"redis://:hunter2@a,b/3":      "clusters have no databases",
		"redis-sentinel://:hunter2@a": "add ?master=NAME",
		"redis-socket://:hunter2@a/s": "redis-socket:///path",
		"redis-socket://:hunter2@":    "path",
	} {
		_, err := asynqqueue.ParseRedis(url)
		require.ErrorContains(t, err, want, url)
		require.NotContains(t, err.Error(), "hunter2", url)
	}
}
