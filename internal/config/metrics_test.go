package config_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/internal/config"
)

func TestWhereMetricsAre(t *testing.T) {
	t.Parallel()
	c := load(t, write(t, "a.yaml", "app: {metrics: {host: 192.0.2.1, port: 9180}}\ntasks: {metrics: {port: 9181}}\n")).Config()
	require.Equal(t, config.Listen{Host: "192.0.2.1", Port: 9180}, c.App.Metrics)
	require.Equal(t, config.Listen{Port: 9181}, c.Tasks.Metrics)
}
