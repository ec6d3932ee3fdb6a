package config_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/internal/config"
)

func TestTrustedProxies(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]netip.Prefix{
		"app: {}":                    nil,
		"app: {trusted-proxies: ~}":  nil,
		"app: {trusted-proxies: []}": {},
		"app: {trusted-proxies: [192.0.2.1, 10.1.2.3/8, '2001:db8::1', '2001:db8::1/64']}": {
			netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("10.0.0.0/8"),
			netip.MustParsePrefix("2001:db8::1/128"), netip.MustParsePrefix("2001:db8::/64"),
		},
	} {
		require.Equal(t, want, load(t, write(t, "x.yaml", text)).Config().App.TrustedProxies, text)
	}
}

// TestTLSInTwoFiles has the key where secrets are.
func TestTLSInTwoFiles(t *testing.T) {
	t.Parallel()
	dir := write(t, "1.yaml", "app: {tls: {certificate: a.pem}}", "2.yaml", "app: {tls: {key: a.key}}")
	require.Equal(t, config.TLS{Certificate: "a.pem", Key: "a.key"}, load(t, dir).Config().App.TLS)
	require.Zero(t, load(t, dir).Config().Metaclient.TLS)
}
