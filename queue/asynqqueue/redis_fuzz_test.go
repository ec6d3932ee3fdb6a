package asynqqueue_test

import (
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/queue/asynqqueue"
)

// FuzzParseRedis puts a password into URLs, which errors never repeat.
func FuzzParseRedis(f *testing.F) {
	for _, seed := range [][2]string{
		{"redis://user:", "@host:6379/0"},
		{"rediss://:", "@host"},
		{"redis-socket://:", "@/run/redis.sock?db=0"},
		{"redis-sentinel://:", "@host1:26379,host2:26379?master=name"},
		{"redis-cluster://u:", "@[::1]:1,host"},
		{"redis://u:", "@host:port/x"},
		{"redis://u:%zz", "@h"},
		{"http://", ""},
		{"", "@"},
		{"redis://[", "]"},
		{"redis://h/?a=", ""},
		{"redis://h:1/", ""},
	} {
		f.Add(seed[0], seed[1])
	}
	const password = "SECRETpassword"
	f.Fuzz(func(t *testing.T, before, after string) {
		_, err := asynqqueue.ParseRedis(before + password + after)
		if err != nil {
			require.NotContains(t, err.Error(), password)
			require.NotContains(t, err.Error(), "SECRET")
		}
		opt, err := asynqqueue.ParseRedis("redis://u:" + url.QueryEscape(after) + "@h:1/0")
		require.NoError(t, err)
		require.NotNil(t, opt)
	})
}
