package legacy_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/legacy"
)

// poolmap is that of Duffy 3's example.
var poolmap = []legacy.Mapping{
	{
		Arch: "^(aarch64|ppc64|ppc64le)$",
		Pool: "virtual-centos{{ ver | replace('-', '') }}-{{ arch }}-{{ flavor | default('medium') }}",
	},
	{Arch: "x86_64", Flavor: "^(small|medium|large)$", Pool: "virtual-{{ ver | replace('-', '') }}-x86_64-{{ flavor }}"},
	{Arch: "x86_64", Pool: "physical-centos{{ ver | replace('-', '') }}-{{ arch }}"},
}

func TestPools(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		query []string
		pool  string
	}{
		{nil, "physical-centos7-x86_64"},
		{[]string{"ver", "8-stream"}, "physical-centos8stream-x86_64"},
		{[]string{"ver", "8-stream", "arch", "aarch64"}, "virtual-centos8stream-aarch64-medium"},
		{[]string{"arch", "ppc64le", "flavor", "tiny"}, "virtual-centos7-ppc64le-tiny"},
		{[]string{"arch", "ppc64le", "flavor", ""}, "virtual-centos7-ppc64le-"},
		{[]string{"ver", "fedora35", "flavor", "small"}, "virtual-fedora35-x86_64-small"},
		{[]string{"flavor", "tiny"}, "physical-centos7-x86_64"},
		{[]string{"arch", "ppc64leX"}, ""},
		{[]string{"arch", "s390x"}, ""},
		{[]string{"arch", ""}, ""},
		{[]string{"ver", "9", "ver", "8"}, "physical-centos8-x86_64"},
	} {
		api := granting()
		cfg := configured(api)
		cfg.Pools = poolmap
		w := get(t, cfg, "/Node/get", append([]string{"key", key}, tt.query...)...)
		require.Equal(t, tt.pool, api.requested(t), tt.query)
		if tt.pool == "" {
			requireJSON(t, `"Failed to allocate nodes"`, w)
		} else {
			requireJSON(t, `{"ssid": 5, "hosts": ["n7.ci.example.net"]}`, w)
		}
	}
}

// TestPatterns has the results of Python's re.match.
func TestPatterns(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		pattern, ver string
		matches      bool
	}{
		{"^8$", "8", true},
		{"^8$", "88", false},
		{"^8|9$", "8-stream", true}, // each anchor belongs to one alternative
		{"^8|9$", "9", true},
		{"^8|9$", "99", false},
		{"^8|9$", "centos9", false},
		{"^$", "", true},
		{"^$", "8", false},
		{"^(?i)CENTOS\\d+$", "centos9", true},
		{"^8", "8", false}, // no pattern
		{"^8", "^8", true},
		{"8.", "8.", true},
		{"8.", "89", false},
	} {
		api := granting()
		cfg := configured(api)
		cfg.Pools = []legacy.Mapping{{Ver: tt.pattern, Pool: "matches"}}
		get(t, cfg, "/Node/get", "key", key, "ver", tt.ver)
		require.Equal(t, tt.matches, api.requested(t) == "matches", "%s %s", tt.pattern, tt.ver)
	}
}

func TestTemplatesThatFail(t *testing.T) {
	t.Parallel()
	cfg := configured(granting())
	cfg.Pools = []legacy.Mapping{{Pool: "{{ ver.missing.missing }}"}, {Pool: "next"}}
	requireJSON(t, `"Failed to allocate nodes"`, get(t, cfg, "/Node/get", "key", key))

	// The session is there, and its node can be used.
	cfg = configured(granting())
	cfg.MangleHostname = "{{ hostname.missing.missing }}"
	requireJSON(t, `{"ssid": 5, "hosts": ["n7.ci.example.net"]}`, get(t, cfg, "/Node/get", "key", key))
}

func TestMangledHostnames(t *testing.T) {
	t.Parallel()
	cfg := configured(granting())
	cfg.MangleHostname = "{{ hostname | replace('.ci.example.net', '') }}"
	requireJSON(t, `{"ssid": 5, "hosts": ["n7"]}`, get(t, cfg, "/Node/get", "key", key))

	cfg = configured(&upstream{status: 200, answer: `{"sessions": [{"id": 5, "nodes": [{"id": 7, "hostname": null}]}]}`})
	cfg.MangleHostname = "{{ hostname }}.example.net"
	requireJSON(t, `[[".example.net", 5]]`, get(t, cfg, "/Inventory", "key", key))
}

func TestNewNamesAllThatIsWrong(t *testing.T) {
	t.Parallel()
	_, err := legacy.New(legacy.Config{
		URL: "localhost:8080",
		Pools: []legacy.Mapping{
			{Pool: "fine"},
			{Pool: "{{ secret", Ver: "^8(stream$", Arch: "(not a pattern"},
		},
		MangleHostname: "{% if %}",
	})
	require.ErrorContains(t, err, "localhost:8080")
	require.ErrorContains(t, err, "poolmap.1.pool: is no Jinja2 template: ")
	require.ErrorContains(t, err, "poolmap.1.ver: is no regular expression: error parsing regexp: missing closing ): `^8(stream$`")
	require.ErrorContains(t, err, "mangle_hostname: is no Jinja2 template: ")
	require.NotContains(t, err.Error(), "secret")
	var wrong *legacy.ConfigError
	require.True(t, errors.As(err, &wrong))
	require.Equal(t, []string{"poolmap", "1", "pool"}, wrong.Path)
}
