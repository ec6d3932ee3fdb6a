package ansible_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/backend/ansible"
)

// attacks are texts that touch a file in dir if anything renders them.
func attacks(dir string) map[string]string {
	touch := func(name string) string { return "lookup('pipe', 'touch " + filepath.Join(dir, name) + "')" }
	return map[string]string{
		"expression":     "{{ " + touch("expression") + " }}",
		"statement":      "{% if " + touch("statement") + " %}{% endif %}",
		"within":         "disconnected: {{ " + touch("within") + " }} and more",
		"trimmed":        "{{- " + touch("trimmed") + " -}}",
		"two lines":      "{{\n" + touch("two lines") + "\n}}",
		"comment":        "{# #}{{ " + touch("comment") + " }}",
		"raw":            "{% endraw %}{{ " + touch("raw") + " }}",
		"nested":         "{{ '{{ " + strings.ReplaceAll(touch("nested"), "'", `\'`) + " }}' }}",
		"other marks":    "#jinja2: variable_start_string:'[[', variable_end_string:']]'\n[[ " + touch("other marks") + " ]]",
		"mark in JSON":   `{"__ansible_unsafe": "{{ ` + touch("mark in JSON") + ` }}"}`,
		"end of string":  `"}} , evil: "{{ ` + touch("end of string") + ` }}`,
		"line of YAML":   "x\n- !unsafe y\nevil: \"{{ " + touch("line of YAML") + " }}\"",
		"tag":            "!vault {{ " + touch("tag") + " }}",
		"not printable":  "\x00\x1b]0;\u009b\u2028\ufeff{{ " + touch("not printable") + " }}\x7f",
		"no unicode":     "\xff\xfe{{ " + touch("no unicode") + " }}",
		"shell":          "$(touch " + filepath.Join(dir, "shell") + ")`touch " + filepath.Join(dir, "shell") + "`",
		"condition":      "x' == (" + touch("condition") + ") or '",
		"word":           "((cycler|attr('__init__')|attr('__globals__'))['os']|attr('system'))('touch " + filepath.Join(dir, "word") + "')",
		"python literal": "{'a': lookup('pipe', 'touch " + filepath.Join(dir, "python literal") + "')}",
	}
}

// styles are tasks of playbooks that use all text of duffy_in in the ways that are
// common. Ansible refuses some of the texts here and there, as what is no Python.
const styles = `
  ignore_errors: true
    - debug: {var: duffy_in}
    - debug: {msg: "{{ duffy_in }}"}
    - debug: {msg: "all of it: {{ duffy_in }}"}
    - debug: {msg: "{{ duffy_in | to_json }} {{ duffy_in | to_nice_yaml }}"}
    - debug: {msg: "{{ item.data.provision }} {{ item }}"}
      loop: "{{ duffy_in.nodes }}"
      loop_control: {label: "{{ item.data }}"}
    - debug: {msg: "{{ item }}"}
      with_items: "{{ duffy_in.nodes }}"
    - debug: {msg: "{{ item.key }} is {{ item.value }}"}
      loop: "{{ duffy_in.nodes[0].data.provision | dict2items }}"
    - debug: {msg: "{{ item.key }} is {{ item.value }}"}
      with_dict: "{{ duffy_in.nodes[0].data.provision }}"
    - debug: {msg: "{{ item }}"}
      loop: "{{ duffy_in.nodes[0].data.provision.values() | list + duffy_in.nodes[0].data.provision.keys() | list }}"
    - debug: {msg: "{{ alias }} {{ alias.nodes[0].data }} {{ item }}"}
      vars: {alias: "{{ duffy_in }}"}
      with_dict: "{{ alias.nodes[0].data.provision }}"
    - set_fact: {nodes: "{{ duffy_in.nodes }}", first: "{{ duffy_in.nodes[0].data.provision.expression }}"}
    - set_fact: {joined: "{{ nodes | map(attribute='data.provision.expression') | join(',') }}", keyed: "{{ {first: first} }}"}
    - debug: {msg: "{{ nodes }} {{ first }} {{ joined }} {{ keyed }}"}
    - add_host: {name: "host{{ item.id }}", groups: cleaned, ansible_connection: local, about: "{{ item.data }}", text: "{{ item.data.provision.expression }}"}
      loop: "{{ nodes }}"
    - debug: {msg: "{{ about }} {{ text }}"}
      delegate_to: "host1"
      vars: {about: "{{ hostvars['host1'].about }}", text: "{{ hostvars['host1'].text }}"}
    - debug: {msg: "{{ hostvars['host1'] | to_json }}"}
    - set_fact: {of_host: "{{ hostvars['host1'] }}", of_all: "{{ hostvars }}"}
    - debug: {msg: "{{ of_host.about }} {{ of_host.text }} {{ of_all['host1'].text }} {{ of_all.localhost.duffy_in }}"}
    - debug: {var: "{{ first }}"}
    - debug: {msg: ran}
      when: "{{ first }}"
    - debug: {msg: ran}
      when: "'{{ item }}' != 'x'"
      loop: "{{ duffy_in.nodes[0].data.provision.values() | list }}"
    - assert: {that: ["'{{ item }}' != 'x'", "{{ item }}"]}
      loop: "{{ duffy_in.nodes[0].data.provision.values() | list }}"
    - copy: {content: "{{ duffy_in | to_json }}", dest: "{{ playbook_dir }}/seen.json"}
    - include_tasks: {file: more.yml}
      vars: {told: "{{ item }}"}
      loop: "{{ duffy_in.nodes }}"
    - command: {argv: [printf, "%s", "{{ first }}"]}
      register: printed
    - debug: {msg: "{{ printed.stdout }} {{ printed }}"}
    - assert: {that: [first == printed.stdout, "{{ 'x' }} == 'x'"], fail_msg: "{{ first }}"}
    - debug: {msg: "{{ rendered }} {{ rendered_within }} {{ whole }} {{ nested.text }}"}
    - name: "task for {{ first }}"
      debug: {msg: "{{ lookup('template', 'text.j2') }}"}
    - fail: {msg: "failed for {{ first }}: {{ duffy_in }}"}
      ignore_errors: true
    - shell: "echo {{ duffy_in.nodes[0].data.provision.shell | quote }}"
    - set_fact: {duffy_out: {nodes: "{{ duffy_in.nodes | map(attribute='data.provision') | list }}"}}
`

// TestUntrustedTextIsNotRendered runs playbooks over nodes that told hostile things
// about themselves, in values and in keys.
func TestUntrustedTextIsNotRendered(t *testing.T) {
	t.Parallel()
	requireAnsible(t)
	touched := t.TempDir()
	provision := map[string]any{"ipaddr": "192.0.2.1"}
	for name, text := range attacks(touched) {
		provision[name] = text
		provision[text] = map[string]any{text: []any{text}}
	}
	node := backend.Node{
		ID: 1, Hostname: attacks(touched)["expression"], IPAddr: "192.0.2.1", Provision: provision,
		Data: map[string]any{"provision": provision, attacks(touched)["within"]: attacks(touched)["statement"]},
	}
	dir := topdir(t, map[string]string{
		"deprovision.yml":   strings.Replace(play(styles), "  tasks:\n\n  ignore_errors: true\n", "  ignore_errors: true\n  tasks:\n", 1),
		"more.yml":          "- debug: {msg: \"{{ told }} {{ told.data.provision }}\"}\n",
		"templates/text.j2": "{{ first }} {{ duffy_in }} {% for key in duffy_in.nodes[0].data.provision %}{{ key }}{% endfor %}",
	})
	p := pool(dir)
	p.Settings["extra-vars"] = map[string]any{
		"rendered":        "{{ duffy_in.nodes[0].data.provision.expression }}",
		"rendered_within": "about {{ duffy_in.nodes[0].hostname }}",
		"whole":           "{% set all = duffy_in %}{{ all.nodes[0] }}",
		"nested":          map[string]any{"text": "{% for node in duffy_in['nodes'] %}{{ node['data'] }}{% endfor %}"},
	}

	gone, err := ansible.New(ansible.Config{}).Deprovision(t.Context(), backend.Request{Pool: p, Nodes: []backend.Node{node}})
	rendered, globErr := filepath.Glob(filepath.Join(touched, "*"))
	require.NoError(t, globErr)
	require.Empty(t, rendered, "these were run")
	require.NoError(t, err)
	require.Len(t, gone, 1)

	text, err := os.ReadFile(filepath.Join(dir, "seen.json"))
	require.NoError(t, err)
	var seen struct {
		Nodes []struct{ Data map[string]any }
	}
	require.NoError(t, json.Unmarshal(text, &seen))
	wanted, err := json.Marshal(provision)
	require.NoError(t, err)
	got, err := json.Marshal(seen.Nodes[0].Data["provision"])
	require.NoError(t, err)
	require.JSONEq(t, string(wanted), string(got), "text arrives as it is")
}

// TestWithheldFromPlaybooks shows that playbooks are not told what failed and what a
// tenant asked for.
func TestWithheldFromPlaybooks(t *testing.T) {
	t.Parallel()
	requireAnsible(t)
	dir := topdir(t, map[string]string{"deprovision.yml": play(`
    - assert:
        that:
          - duffy_in.nodes[0].data == {"provision":{"ipaddr":"192.0.2.1"}, "rack":7}
    - set_fact: {duffy_out: {nodes: [{ipaddr: "{{ duffy_in.nodes[0].ipaddr }}"}]}}
`)})
	node := backend.Node{ID: 1, IPAddr: "192.0.2.1", Data: map[string]any{
		"error": map[string]any{"detail": "said by the node"}, "nodes_spec": map[string]any{"pool": "p"},
		"provision": map[string]any{"ipaddr": "192.0.2.1"}, "rack": 7,
	}, Provision: map[string]any{"ipaddr": "192.0.2.1"}}

	gone, err := ansible.New(ansible.Config{}).Deprovision(t.Context(), backend.Request{Pool: pool(dir), Nodes: []backend.Node{node}})
	require.NoError(t, err)
	require.Len(t, gone, 1)
}

// TestAnsibleThatRendersUntrustedText refuses an ansible-playbook that ignores the
// mark, and takes it once it has been replaced.
func TestAnsibleThatRendersUntrustedText(t *testing.T) {
	t.Parallel()
	requireAnsible(t)
	dir := topdir(t, map[string]string{"provision.yml": play(`
    - set_fact: {duffy_out: {nodes: [{ipaddr: 192.0.2.1}]}}
`)})
	// The extra vars are the second argument: -e @FILE.
	command := rawScript(t, `file=${2#@}
sed -i 's/!unsafe //g' "$file"
exec ansible-playbook "$@"
`)
	b := ansible.New(ansible.Config{Playbook: command})
	_, err := b.Provision(t.Context(), request(pool(dir), 1))
	require.ErrorContains(t, err, "renders text that is marked as unsafe")
	require.ErrorContains(t, b.Probe(t.Context(), pool(dir)), "renders text that is marked as unsafe")

	require.NoError(t, os.WriteFile(command, []byte("#!/bin/sh\nexec ansible-playbook \"$@\"\n"), 0o755))
	require.NoError(t, b.Probe(t.Context(), pool(dir)))
	nodes, err := b.Provision(t.Context(), request(pool(dir), 1))
	require.NoError(t, err)
	require.Len(t, nodes, 1)
}
