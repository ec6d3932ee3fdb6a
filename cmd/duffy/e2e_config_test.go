package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBadConfiguration(t *testing.T) {
	t.Parallel()
	const pools = `database: {url: "sqlite:///duffy.sqlite"}
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
	for name, tt := range map[string]struct{ config, want string }{
		"unknown key": {
			config: "app:\n  prot: 8080\n",
			want:   "duffy.yaml:2: app.prot: unknown key",
		},
		"wrong type": {
			config: "app:\n  port: many\n",
			want:   "duffy.yaml:2: app.port: expected a whole number",
		},
		"wrong type in pool": {
			config: pools + "    p:\n      extends: made\n      fill-level: many\n",
			want:   "duffy.yaml:13: nodepools.concrete.p.fill-level: expected a whole number",
		},
		"template": {
			config: pools + "    p:\n      extends: made\n      reuse-nodes:\n        kind: '{{ kind'\n",
			want:   "x",
		},
		"template for playbooks": {
			config: pools + "    p:\n      extends: made\n      mechanism:\n        ansible:\n          extra-vars:\n            kind: '{{ kind'\n",
			want:   "x",
		},
		"missing playbook": {
			config: pools + "    p:\n      extends: made\n      mechanism:\n        ansible:\n          deprovision:\n            playbook: gone.yml\n",
			want:   "x",
		},
		"inherited missing playbook": {
			config: pools + "    p:\n      extends: made\n---\nnodepools:\n  abstract:\n    made:\n      mechanism:\n        ansible:\n          topdir: elsewhere\n",
			want:   "x",
		},
		"unknown backend": {
			config: pools + "    p:\n      extends: made\n      mechanism:\n        type: chef\n",
			want:   "x",
		},
		"circle": {
			config: pools + "    p:\n      extends: q\n    q:\n      extends: [made, p]\n",
			want:   "x",
		},
		"no YAML": {
			config: pools + "    p: {\n",
			want:   "x",
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
				t.Log(command, stderr)
				require.Equal(t, exitFailure, code, command)
				require.Empty(t, stdout, command)
				_, err := os.Stat(filepath.Join(dir, "duffy.sqlite"))
				t.Log(err)
			}
		})
	}
}
