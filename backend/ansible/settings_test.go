package ansible_test

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/backend/ansible"
)

var _ backend.Checker = (*ansible.Backend)(nil)

func TestCheck(t *testing.T) {
	t.Parallel()
	dir := topdir(t, map[string]string{"provision.yml": "", "deprovision.yml": "", "books/other.yml": "", "empty/.keep": ""})
	mapping := func(keysAndValues ...any) map[string]any {
		m := map[string]any{}
		for pair := range slices.Chunk(keysAndValues, 2) {
			m[pair[0].(string)] = pair[1]
		}
		return m
	}
	provision := mapping("playbook", "provision.yml")

	for name, tt := range map[string]struct {
		settings map[string]any
		wrong    []string // the settings, and what is wrong with them
	}{
		"minimal":               {mapping("topdir", dir, "provision", provision), nil},
		"nulls":                 {mapping("topdir", dir, "extra-vars", nil, "provision", mapping("playbook", "provision.yml", "extra-vars", nil), "deprovision", nil), nil},
		"below and absolute":    {mapping("topdir", dir, "provision", mapping("playbook", "books/other.yml"), "deprovision", mapping("playbook", filepath.Join(dir, "deprovision.yml"))), nil},
		"nothing":               {nil, []string{"topdir: is missing", "provision.playbook: is missing"}},
		"wrong types":           {mapping("topdir", 7, "extra-vars", "x", "provision", []any{}, "deprovision", true), []string{"topdir: must be a string", "extra-vars: must be a mapping", "provision: must be a mapping", "provision.playbook: is missing", "deprovision: must be a mapping"}},
		"empty":                 {mapping("topdir", "", "provision", mapping("playbook", "")), []string{"topdir: is empty", "provision.playbook: is empty"}},
		"unknown":               {mapping("topdri", dir, "topdir", dir, "provision", mapping("playbook", "provision.yml", "extra_vars", nil)), []string{"topdri: unknown setting", "provision.extra_vars: unknown setting"}},
		"no directory":          {mapping("topdir", dir+"/none", "provision", provision), []string{"topdir: stat " + dir + "/none: no such file or directory"}},
		"a file as directory":   {mapping("topdir", dir+"/provision.yml", "provision", provision), []string{"topdir: " + dir + "/provision.yml is not a directory"}},
		"no playbooks":          {mapping("topdir", dir, "provision", mapping("playbook", "none.yml"), "deprovision", mapping("playbook", "books")), []string{"provision.playbook: open " + dir + "/none.yml: no such file", "deprovision.playbook: " + dir + "/books is not a file"}},
		"templates":             {mapping("topdir", dir, "extra-vars", mapping("a", mapping("b", "{{ x"), "list", []any{"{{"}), "provision", mapping("playbook", "provision.yml", "extra-vars", mapping("c", "{% if %}"))), []string{"extra-vars.a.b: template: line 1", "provision.extra-vars.c: template: "}},
		"cannot be handed over": {mapping("topdir", dir, "extra-vars", mapping("a", []any{map[any]any{1: 2}}), "provision", provision), []string{"extra-vars.a: "}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := ansible.New(ansible.Config{}).Check(backend.Pool{Settings: tt.settings})
			if tt.wrong == nil {
				require.NoError(t, err)
				return
			}
			require.Error(t, err)
			lines := strings.Split(err.Error(), "\n")
			slices.Sort(lines)
			slices.Sort(tt.wrong)
			require.Len(t, lines, len(tt.wrong), err)
			for i, line := range lines {
				require.True(t, strings.HasPrefix(line, "mechanism.ansible."+tt.wrong[i]), line)
			}
			setting, ok := errors.AsType[*backend.SettingError](err)
			require.True(t, ok)
			require.Equal(t, []string{"mechanism", "ansible"}, setting.Path[:2])
		})
	}
}

// TestWrongSettings sees that nothing is run with them.
func TestWrongSettings(t *testing.T) {
	t.Parallel()
	p := pool(t.TempDir())
	p.Settings["topdir"] = 7
	b := ansible.New(ansible.Config{Playbook: script(t, putAddress)})
	_, err := b.Provision(t.Context(), request(p, 1))
	require.EqualError(t, err, "mechanism.ansible.topdir: must be a string")
	_, err = b.Deprovision(t.Context(), request(p, 1))
	require.EqualError(t, err, "mechanism.ansible.topdir: must be a string")
}
