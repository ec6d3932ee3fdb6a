package pool_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/internal/config"
	"github.com/duffy-ci/duffy/pool"
)

// loadRaw reads the pools of configuration files.
func loadRaw(t *testing.T, paths ...string) (*config.Files, []pool.Raw) {
	t.Helper()
	files, err := config.Load(paths...)
	require.NoError(t, err)
	var raw []pool.Raw
	for _, p := range files.Pools() {
		raw = append(raw, pool.Raw(p))
	}
	return files, raw
}

// parse reads text as what stands in the section nodepools.
func parse(t *testing.T, text string) (*pool.Set, error) {
	t.Helper()
	_, raw := loadRaw(t, writeNodepools(t, text))
	return pool.Parse(raw)
}

func writeNodepools(t *testing.T, text string) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "pools.yaml")
	text = "nodepools:\n  " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n  ")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

func names(configs []*pool.Config) []string {
	var names []string
	for _, c := range configs {
		names = append(names, c.Name)
	}
	return names
}

func TestParseDuffy3(t *testing.T) {
	t.Parallel()
	_, raw := loadRaw(t, "../internal/config/testdata/duffy3.yaml")
	set, err := pool.Parse(raw)
	require.NoError(t, err)

	require.Equal(t, []string{
		"physical-centos8stream-x86_64", "physical-fedora34-x86_64", "physical-fedora35-x86_64",
		"virtual-centos8stream-x86_64-small", "virtual-centos8stream-x86_64-medium", "virtual-centos8stream-x86_64-large",
		"virtual-fedora34-x86_64-small", "virtual-fedora35-x86_64-small", "virtual-fedora34-x86_64-medium",
		"virtual-fedora35-x86_64-medium", "virtual-fedora34-x86_64-large", "virtual-fedora35-x86_64-large",
		"broken", "nolevel",
	}, names(set.Concrete()))

	extraVars := map[string]any{"nodepool": "{{ name }}", "template_name": "{{ name }}"}
	ansible := map[string]any{
		"topdir": "/path/to/playbooks", "extra-vars": extraVars,
		"provision": map[string]any{"playbook": "provision.yml"}, "deprovision": nil,
	}
	level := 5
	require.Equal(t, &pool.Config{
		Name:       "physical-fedora35-x86_64",
		FillLevel:  &level,
		ReuseNodes: map[string]any{"architecture": "x86_64"},
		Backend:    "ansible",
		Settings:   ansible,
		Vars: map[string]any{
			"name": "physical-fedora35-x86_64", "type": "physical", "architecture": "x86_64",
			"fill-level": int64(5), "run-parallel": true,
			"reuse-nodes": map[string]any{"architecture": "{{ architecture }}"},
			"mechanism":   map[string]any{"type": "ansible", "ansible": ansible},
		},
	}, set.Get("physical-fedora35-x86_64"))

	virtual := set.Get("nolevel")
	require.Nil(t, virtual.FillLevel)
	require.False(t, virtual.Reuses())
	require.True(t, virtual.Together)
	require.Equal(t, map[string]any{"playbook": "deprovision.yml"}, virtual.Settings["deprovision"])

	abstract := set.Get("virtual-x86_64-small")
	require.True(t, abstract.Abstract)
	require.Equal(t, 20, *abstract.FillLevel)
	require.Empty(t, set.Get("physical").ReuseNodes)
}

func TestParseProduction(t *testing.T) {
	t.Parallel()
	_, raw := loadRaw(t, "../internal/config/testdata/production")
	set, err := pool.Parse(raw)
	require.NoError(t, err)

	c := set.Get("virtual-centos9s-x86_64")
	require.Equal(t, map[string]any{
		"nodepool": "{{ name }}", "template_name": "CentOS 9 x86_64 tiny",
		"api_url": "http://cloud.example.net:2633", "api_username": "duffy", "api_password": "swordfish",
	}, c.Settings["extra-vars"])
	require.Equal(t, "east", c.Vars["datacenter"])
	require.Equal(t, 1, *c.FillLevel)
	require.NotContains(t, set.Get("mech-ansible").Settings["extra-vars"], "api_url", "of a pool that extends it")
}

func TestParseSettings(t *testing.T) {
	t.Parallel()
	set, err := parse(t, `
concrete:
  p:
    fill-level: 3
    reuse-nodes: {type: "{{ kind }}-{{ name }}", cores: 4, rack: ~}
    kind: "{{ not rendered }}"
    run-parallel: no
    provision-timeout: 1h30m
    deprovision-timeout: 90
    on-interrupted: retry
    host-keys: any
    reinstalls: no
    mechanism:
      type: fake
      fake: {delay: 1}
      ansible: ~
      other: {}
  bare:
    mechanism: {type: fake}
`)
	require.NoError(t, err)
	level := 3
	c := *set.Get("p")
	require.Equal(t, "{{ not rendered }}", c.Vars["kind"])
	c.Vars = nil
	require.Equal(t, pool.Config{
		Name:               "p",
		FillLevel:          &level,
		ReuseNodes:         map[string]any{"type": "{{ not rendered }}-p", "cores": int64(4)},
		Together:           true,
		ProvisionTimeout:   90 * time.Minute,
		DeprovisionTimeout: 90 * time.Second,
		OnInterrupted:      pool.OnInterruptedRetry,
		HostKeys:           backend.AnyHostKey,
		Reinstalls:         new(false),
		Backend:            "fake",
		Settings:           map[string]any{"delay": int64(1)},
	}, c)
	require.Equal(t, &pool.Config{
		Name: "bare", Backend: "fake",
		Vars: map[string]any{"name": "bare", "mechanism": map[string]any{"type": "fake"}},
	}, set.Get("bare"))
}

func TestInheritance(t *testing.T) {
	t.Parallel()
	set, err := parse(t, `
concrete:
  last:
    extends: [left, right, made-later]
    own: {a: 1}
  made-later:
    extends: base
    later: true
abstract:
  right:
    extends: base
    side: right
    own: {a: 2, b: 2}
    nothing: {x: 1}
  left:
    extends: [base]
    side: left
    own: {c: 3}
    left: true
  base:
    extends: ~
    mechanism: {type: fake, fake: {a: {b: 1}}}
    side: base
    switched: {off: {a: 1}}
    nothing: ~
`)
	require.NoError(t, err)
	require.Equal(t, map[string]any{
		"name": "last", "side": "base", "left": true, "later": true,
		"own":       map[string]any{"a": int64(1), "b": int64(2), "c": int64(3)},
		"mechanism": map[string]any{"type": "fake", "fake": map[string]any{"a": map[string]any{"b": int64(1)}}},
		"switched":  map[string]any{"off": map[string]any{"a": int64(1)}},
		"nothing":   nil,
	}, set.Get("last").Vars, "which the last of the pools it extends has from base")
	require.Equal(t, []string{"last", "made-later"}, names(set.Concrete()))
}

func TestNullAndFalseHideMappings(t *testing.T) {
	t.Parallel()
	set, err := parse(t, `
abstract:
  physical:
    reuse-nodes: {rack: 1}
    mechanism: {type: fake, fake: {deprovision: {playbook: x}}}
concrete:
  virtual:
    extends: physical
    reuse-nodes: false
    mechanism: {fake: {deprovision: ~}}
  physical-again:
    extends: virtual
    reuse-nodes: {rack: 2}
    mechanism: {fake: {deprovision: {playbook: y}}}
`)
	require.NoError(t, err)
	require.False(t, set.Get("virtual").Reuses())
	require.Equal(t, map[string]any{"deprovision": nil}, set.Get("virtual").Settings)
	require.Equal(t, map[string]any{"rack": int64(2)}, set.Get("physical-again").ReuseNodes)
	require.Equal(t, map[string]any{"deprovision": map[string]any{"playbook": "y"}}, set.Get("physical-again").Settings)
}

func TestParseErrorsNameTheirPlace(t *testing.T) {
	t.Parallel()
	const duration = "expected a duration such as 90s, 1h30m or 1w2d3h4m5s6ms, or a number of seconds"
	for text, want := range map[string]string{
		// inheritance
		"abstract:\n  p: {extends: q}\n":         `3: nodepools.abstract.p.extends: there is no pool "q"`,
		"abstract:\n  p:\n    extends: {}\n":     "4: nodepools.abstract.p.extends: expected the name of a pool, or a list of them, found {}",
		"abstract:\n  p:\n    extends: [p, 8]\n": "4: nodepools.abstract.p.extends: expected names of pools, found 8 among them",
		"abstract:\n  p: {extends: p}\n":         "3: nodepools.abstract.p.extends: no pool can extend itself: p -> p",
		"abstract:\n  x: {extends: a}\n  a: {extends: b}\n  b: {extends: c}\n  c: {extends: a}\n": "6: nodepools.abstract.c.extends: no pool can extend itself: a -> b -> c -> a",
		"abstract:\n  p: {}\nconcrete:\n  p: {mechanism: {type: x}}\n":                            "5: nodepools.concrete.p: there is another pool of this name",
		"abstract:\n  p: {name: q}\n": "3: nodepools.abstract.p.name: is reserved for the name of the pool, choose another",
		"abstract:\n  p: {a: {b: {c: 1}}}\n  q:\n    extends: p\n    a: {b: [1]}\n": "6: nodepools.abstract.q.a.b: " + conflict,
		"abstract:\n  p: {a: 1}\n  q:\n    extends: p\n    a: {b: 1}\n":             "6: nodepools.abstract.q.a: " + conflict,
		"abstract:\n  p: {a: {b: 1}}\n  q: {a: {b: {}}}\n  r: {extends: [p, q]}\n":  "5: nodepools.abstract.r.extends: a.b is a mapping in one of these pools but not in another",

		// settings
		"abstract:\n  p: {fill-level: 0}\n":                  "3: nodepools.abstract.p.fill-level: expected a whole number of at least 1, found 0",
		"abstract:\n  p: {fill-level: '5'}\n":                `3: nodepools.abstract.p.fill-level: expected a whole number of at least 1, found "5"`,
		"abstract:\n  p: {fill-level: 1.5}\n":                "3: nodepools.abstract.p.fill-level: expected a whole number of at least 1, found 1.5",
		"abstract:\n  p: {run-parallel: 1}\n":                "3: nodepools.abstract.p.run-parallel: expected true or false, found 1",
		"abstract:\n  p: {reuse-nodes: yes}\n":               "3: nodepools.abstract.p.reuse-nodes: expected false, or what the data of a node must be, found true",
		"abstract:\n  p: {reuse-nodes: {a: yes}}\n":          "3: nodepools.abstract.p.reuse-nodes.a: expected a string or a whole number, found true",
		"abstract:\n  p: {reuse-nodes: {a: 1.5}}\n":          "3: nodepools.abstract.p.reuse-nodes.a: expected a string or a whole number, found 1.5",
		"abstract:\n  p: {provision-timeout: 1 h}\n":         `3: nodepools.abstract.p.provision-timeout: ` + duration + `, found "1 h"`,
		"abstract:\n  p: {deprovision-timeout: []}\n":        `3: nodepools.abstract.p.deprovision-timeout: ` + duration + `, found []`,
		"abstract:\n  p: {on-interrupted: ignore}\n":         `3: nodepools.abstract.p.on-interrupted: expected fail or retry, found "ignore"`,
		"abstract:\n  p: {host-keys: ignore}\n":              `3: nodepools.abstract.p.host-keys: expected any, first-use or pinned, found "ignore"`,
		"abstract:\n  p: {host-keys: no}\n":                  `3: nodepools.abstract.p.host-keys: expected any, first-use or pinned, found false`,
		"abstract:\n  p: {host-keys: ''}\n":                  `3: nodepools.abstract.p.host-keys: expected any, first-use or pinned, found ""`,
		"abstract:\n  p: {reinstalls: provision}\n":          `3: nodepools.abstract.p.reinstalls: expected true or false, found "provision"`,
		"abstract:\n  p: {mechanism: ansible}\n":             `3: nodepools.abstract.p.mechanism: expected a mapping with the type of a backend and its settings, found "ansible"`,
		"abstract:\n  p: {mechanism: {ansible: password}}\n": "3: nodepools.abstract.p.mechanism.ansible: expected a mapping with the settings of a backend called ansible",
		"abstract:\n  p: {mechanism: {type: 1}}\n":           "3: nodepools.abstract.p.mechanism.type: expected the name of a backend, such as ansible",
		"concrete:\n  p: {}\n":                               "3: nodepools.concrete.p.mechanism.type: expected the name of a backend, such as ansible",

		// mistakes that are inherited
		"abstract:\n  p:\n    fill-level: x\nconcrete:\n  q:\n    extends: p\n    mechanism: {type: x}\n  r: {extends: q}\n": `4: nodepools.abstract.p.fill-level: expected a whole number of at least 1, found "x"`,
		"abstract:\n  p:\n    mechanism:\n      ansible: {}\nconcrete:\n  q: {extends: p}\n":                                 "4: nodepools.abstract.p.mechanism.type: expected the name of a backend, such as ansible",
	} {
		file := writeNodepools(t, text)
		files, raw := loadRaw(t, file)
		_, err := pool.Parse(raw)
		var wrong *pool.ConfigError
		require.ErrorAs(t, err, &wrong, text)
		require.EqualError(t, files.At(wrong.Err, append([]string{"nodepools"}, wrong.Path...)...), file+":"+want, text)
		require.Equal(t, wrong.Error(), err.Error(), "no further error")
		require.True(t, strings.HasSuffix(want, ": "+wrong.Error()), wrong.Error())
	}
}

const conflict = "only null or false can take the place of a mapping, nor can a mapping take the place of anything else: " +
	"one is here, the other in a pool that this one extends"

func TestParseTellsAllErrors(t *testing.T) {
	t.Parallel()
	_, err := parse(t, `
abstract:
  p: {extends: missing, fill-level: 0}
concrete:
  q: {extends: p, run-parallel: x}
  r: {run-parallel: x, reuse-nodes: {a: "{{ secret", b: "{{ 1 }}", c: "{{ x.y.z }}"}}
`)
	var all []string
	for _, err := range err.(interface{ Unwrap() []error }).Unwrap() {
		var wrong *pool.ConfigError
		require.True(t, errors.As(err, &wrong))
		all = append(all, wrong.Pool+" "+strings.Join(wrong.Path, " "))
	}
	require.Equal(t, []string{
		"p abstract p extends",
		"r concrete r mechanism type",
		"r concrete r reuse-nodes a",
		"r concrete r reuse-nodes c",
		"r concrete r run-parallel",
	}, all, "q is not read since it extends what makes no sense")
	require.NotContains(t, err.Error(), "secret")
	require.ErrorContains(t, err, `cannot be rendered for pool "r"`)
}

func TestOrigin(t *testing.T) {
	t.Parallel()
	_, raw := loadRaw(t, "../internal/config/testdata/production")
	const name = "virtual-centos9s-x86_64"
	for want, path := range map[string]string{
		"abstract mech-ansible mechanism ansible topdir":             "mechanism ansible topdir",
		"abstract virtual mechanism ansible deprovision":             "mechanism ansible deprovision",
		"abstract virtual mechanism ansible provision topdir":        "mechanism ansible provision topdir",
		"concrete " + name + " mechanism ansible extra-vars missing": "mechanism ansible extra-vars missing",
		"concrete " + name + " datacenter":                           "datacenter",
		"concrete " + name + " missing":                              "missing",
		"abstract virtual-x86_64-tiny fill-level":                    "fill-level",
	} {
		require.Equal(t, strings.Fields(want), pool.Origin(raw, name, strings.Fields(path)...))
	}
	require.Nil(t, pool.Origin(raw, "unknown", "fill-level"))

	_, raw = loadRaw(t, writeNodepools(t, "abstract:\n  a: {extends: b, x: 1}\n  b: {extends: [a, c]}\n  c: {x: 2}\n"))
	require.Equal(t, []string{"abstract", "c", "x"}, pool.Origin(raw, "b", "x"))
}
