package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestBadConfiguration has mistakes told, with their places, before anything is
// started or made.
func TestBadConfiguration(t *testing.T) {
	t.Parallel()
	const (
		pools = `database: {url: "sqlite:///duffy.sqlite"}
nodepools:
  abstract:
    made:
      mechanism:
        type: ansible
        ansible:
          topdir: .
          provision: {playbook: provision.yml}
  concrete:
`
		pool = pools + `    p:
      extends: made
`
	)
	for name, tt := range map[string]struct {
		config string
		want   []string // beginnings of lines
	}{
		"no YAML": {
			config: pool + "      x: {\n",
			want:   []string{"duffy.yaml:14: did not find"},
		},
		"unknown key": {
			config: "app:\n  prot: 8080\n",
			want:   []string{"duffy.yaml:2: app.prot: unknown key"},
		},
		"unknown keys of playbooks": {
			config: pool + "      mechanism:\n        ansible:\n          deprovison: {}\n          extravars: {}\n",
			want: []string{
				"duffy.yaml:15: nodepools.concrete.p.mechanism.ansible.deprovison: unknown setting",
				"duffy.yaml:16: nodepools.concrete.p.mechanism.ansible.extravars: unknown setting",
			},
		},
		"wrong types": {
			config: "app:\n  host: 127\n  port: many\n",
			want: []string{
				"duffy.yaml:2: app.host: expected a string",
				"duffy.yaml:3: app.port: expected a whole number",
			},
		},
		"wrong type in pool": {
			config: pool + "      fill-level: many\n",
			want:   []string{"duffy.yaml:13: nodepools.concrete.p.fill-level: expected a whole number"},
		},
		"template": {
			config: pool + "      reuse-nodes:\n        kind: '{{ kind'\n",
			want:   []string{"duffy.yaml:14: nodepools.concrete.p.reuse-nodes.kind: is no Jinja2 template"},
		},
		"templates for playbooks": {
			config: pool + "      mechanism:\n        ansible:\n          extra-vars:\n            a: '{{ a'\n            b: '{% b %}'\n",
			want: []string{
				"duffy.yaml:16: nodepools.concrete.p.mechanism.ansible.extra-vars.a: template: ",
				"duffy.yaml:17: nodepools.concrete.p.mechanism.ansible.extra-vars.b: template: ",
			},
		},
		"missing playbook": {
			config: pool + "      mechanism:\n        ansible:\n          deprovision:\n            playbook: gone.yml\n",
			want:   []string{"duffy.yaml:16: nodepools.concrete.p.mechanism.ansible.deprovision.playbook: open gone.yml: no such file"},
		},
		"missing directory of playbooks, inherited": {
			config: pool + "---\nnodepools:\n  abstract:\n    made:\n      mechanism:\n        ansible:\n          topdir: elsewhere\n",
			want:   []string{"duffy.yaml:19: nodepools.abstract.made.mechanism.ansible.topdir: stat elsewhere: no such file"},
		},
		"unknown backend": {
			config: pool + "      mechanism:\n        type: chef\n",
			want:   []string{`duffy.yaml:14: nodepools.concrete.p.mechanism.type: there is no backend called "chef"`},
		},
		"pools in a circle": {
			config: pools + "    p:\n      extends: q\n    q:\n      extends: [made, p]\n",
			want:   []string{"duffy.yaml:14: nodepools.concrete.q.extends: no pool can extend itself: p -> q -> p"},
		},
		"unknown pool": {
			config: pools + "    p:\n      extends: [made, bought]\n",
			want:   []string{`duffy.yaml:12: nodepools.concrete.p.extends: there is no pool "bought"`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for name, content := range map[string]string{"duffy.yaml": tt.config, "provision.yml": "[]"} {
				require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
			}
			for _, command := range [][]string{{"config", "check"}, {"worker"}, {"run"}} {
				code, stdout, stderr := runProgram(t, dir, append([]string{"-c", "duffy.yaml"}, command...)...)
				require.Equal(t, exitFailure, code, command)
				require.Empty(t, stdout, command)
				require.Equal(t, tt.want, beginnings(stderr, tt.want), command)
				require.NoFileExists(t, filepath.Join(dir, "duffy.sqlite"), command)
			}
		})
	}
}

// beginnings cuts the lines of an error message to the length of those wanted.
func beginnings(message string, wanted []string) []string {
	lines := strings.Split(strings.TrimSpace(strings.TrimPrefix(message, "duffy: ")), "\n")
	for i := range min(len(lines), len(wanted)) {
		lines[i] = lines[i][:min(len(lines[i]), len(wanted[i]))]
	}
	return lines
}
