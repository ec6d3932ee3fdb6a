package config_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/internal/config"
)

func TestAnonymousRead(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]config.AnonymousRead{
		"app: {}":                          config.AnonymousLimited,
		"app: {anonymous-read: ~}":         config.AnonymousLimited,
		"app: {anonymous-read: limited}":   config.AnonymousLimited,
		"app: {anonymous-read: true}":      config.AnonymousLimited,
		"app: {anonymous-read: yes}":       config.AnonymousLimited,
		"app: {anonymous-read: full}":      config.AnonymousFull,
		"app: {anonymous-read: 'full'}":    config.AnonymousFull,
		"app: {anonymous-read: false}":     config.AnonymousNone,
		"app: {anonymous-read: off}":       config.AnonymousNone,
		"app: {anonymous-read: \"false\"}": config.AnonymousNone,
	} {
		require.Equal(t, want, load(t, write(t, "x.yaml", text)).Config().App.AnonymousRead, text)
	}
}
