package ansible_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/backend/ansible"
)

// requireAnsible skips a test, visibly, where ansible-playbook is not installed.
func requireAnsible(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("ansible-playbook"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

// topdir makes a directory with files.
func topdir(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	return dir
}

// pool returns a pool with the playbooks provision.yml and deprovision.yml in dir.
func pool(dir string) backend.Pool {
	return backend.Pool{
		Name: "p",
		Settings: map[string]any{
			"topdir":      dir,
			"provision":   map[string]any{"playbook": "provision.yml"},
			"deprovision": map[string]any{"playbook": "deprovision.yml"},
		},
		Vars: map[string]any{"name": "p"},
	}
}

// play is a play on localhost with tasks.
func play(tasks string) string {
	return "- hosts: localhost\n  gather_facts: false\n  tasks:\n" + tasks
}

func request(pool backend.Pool, ids ...int64) backend.Request {
	req := backend.Request{Pool: pool}
	for _, id := range ids {
		req.Nodes = append(req.Nodes, backend.Node{ID: id})
	}
	return req
}

func TestProvision(t *testing.T) {
	t.Parallel()
	requireAnsible(t)
	dir := topdir(t, map[string]string{
		"ansible.cfg":                     "[defaults]\ninventory = hosts\nroles_path = roles\nstdout_callback = not_installed_here\n",
		"hosts":                           "builder ansible_connection=local greeting=hello\n",
		"roles/make/tasks/main.yml":       "- set_fact: {address: \"{{ lookup('template', 'address.j2') }}\"}\n",
		"roles/make/templates/address.j2": "192.0.2.{{ duffy_in.nodes[0].id }}",
		"books/provision.yml": `
- hosts: builder
  gather_facts: false
  tasks:
    - include_role: {name: make}
    - set_fact:
        duffy_out:
          nodes:
            - ipaddr: "{{ address }}"
              hostname: "näme-✓"
              big: 12345678901234567
              inventory: "{{ greeting }}"
              vars: {a: "{{ a }}", b: "{{ b }}", c: "{{ c }}", d: "{{ d }}", e: "{{ e }}", list: "{{ list }}"}
              duffy_in: "{{ duffy_in }}"
`,
	})
	p := backend.Pool{
		Name: "virtual-x86_64-small",
		Settings: map[string]any{
			"topdir": dir,
			"extra-vars": map[string]any{
				"a":        "from the mechanism",
				"b":        "from the mechanism",
				"c":        "{{ name.split('-')[1:] | join('-') }} ✓",
				"d":        map[string]any{"nested": "{{ duffy_in.nodes | length }} node", "number": 7, "null": nil},
				"duffy_in": "is Duffy's",
			},
			"provision": map[string]any{
				"playbook":   "books/provision.yml",
				"extra-vars": map[string]any{"b": "from the playbook's", "e": "{{ colour }}", "list": []any{"{{ 'of ' ~ greeting }}"}},
			},
		},
		Vars: map[string]any{"name": "virtual-x86_64-small", "colour": "blue", "duffy_in": "overridden"},
	}
	req := backend.Request{Installation: "kpnbgacl", Pool: p, Nodes: []backend.Node{{ID: 7, Data: map[string]any{"not": "told"}}}}

	nodes, err := ansible.New(ansible.Config{}).Provision(t.Context(), req)
	require.NoError(t, err)
	require.Len(t, nodes, 1)
	require.Equal(t, int64(7), nodes[0].ID)
	require.Equal(t, "192.0.2.7", nodes[0].IPAddr)
	require.Equal(t, "näme-✓", nodes[0].Hostname)
	told, err := json.Marshal(nodes[0].Provision)
	require.NoError(t, err)
	require.JSONEq(t, `{
		"ipaddr": "192.0.2.7",
		"hostname": "näme-✓",
		"big": 12345678901234567,
		"inventory": "hello",
		"vars": {
			"a": "from the mechanism",
			"b": "from the playbook's",
			"c": "x86_64-small ✓",
			"d": {"nested": "1 node", "number": 7, "null": null},
			"e": "blue",
			"list": ["of hello"]
		},
		"duffy_in": {"installation": "kpnbgacl", "nodes": [{"id": 7, "name": "duffy-kpnbgacl-7", "hostname": null, "ipaddr": null}]}
	}`, string(told))
	require.Contains(t, string(told), "12345678901234567")
}

func TestDeprovision(t *testing.T) {
	t.Parallel()
	requireAnsible(t)
	dir := topdir(t, map[string]string{"deprovision.yml": play(`
    - assert:
        that:
          - duffy_in.nodes[0].hostname == "host1"
          - duffy_in.nodes[0].ipaddr == "192.0.2.1"
          - duffy_in.nodes[0].data.rack == 7
    - set_fact: {duffy_out: {nodes: "{{ duffy_in.nodes | map(attribute='data.provision') | list }}"}}
`)})
	node := backend.Node{
		ID: 1, Hostname: "host1", IPAddr: "192.0.2.1",
		Provision: map[string]any{"ipaddr": "192.0.2.1", "instance": 17.0, "tags": []any{"a"}},
	}
	node.Data = map[string]any{"provision": node.Provision, "rack": 7}
	other := backend.Node{ID: 2, IPAddr: "192.0.2.2", Provision: map[string]any{"ipaddr": "192.0.2.2", "instance": 18.0}}

	req := backend.Request{Pool: pool(dir), Nodes: []backend.Node{node, other}}
	nodes, err := ansible.New(ansible.Config{}).Deprovision(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, req.Nodes, nodes)
}

func TestNoDeprovisionPlaybook(t *testing.T) {
	t.Parallel()
	for _, section := range []any{nil, map[string]any{}, map[string]any{"playbook": nil, "extra-vars": nil}} {
		p := pool(t.TempDir())
		p.Settings["deprovision"] = section
		req := request(p, 1, 2)
		nodes, err := ansible.New(ansible.Config{Playbook: "/nonexistent"}).Deprovision(t.Context(), req)
		require.NoError(t, err)
		require.Equal(t, req.Nodes, nodes)
	}
}

// TestDuffyOut shows in which ways a playbook may set its result.
func TestDuffyOut(t *testing.T) {
	t.Parallel()
	requireAnsible(t)
	for name, tasks := range map[string]string{
		"last one wins": `
    - set_fact: {duffy_out: {nodes: [{ipaddr: 192.0.2.1}]}}
    - ansible.builtin.set_fact: {duffy_out: {nodes: [{ipaddr: 192.0.2.9}]}, cacheable: true}
    - set_fact: {duffy_out: {nodes: []}}
      when: false
    - set_fact: {duffy_out: {nodes: "{{ undefined_variable }}"}}
      ignore_errors: true
    - command: echo something else
`,
		"others are hidden": `
    - {set_fact: {duffy_out: {nodes: [{ipaddr: 192.0.2.1}]}}, no_log: true}
    - set_fact: {duffy_out: {nodes: [{ipaddr: 192.0.2.9}]}}
    - {set_fact: {password: secret}, no_log: true}
`,
		"hidden by the play, but not here": `
    - set_fact: {duffy_out: {nodes: [{ipaddr: 192.0.2.9}]}}
      no_log: false
  no_log: true
`,
		"loop": `
    - ansible.legacy.set_fact:
        duffy_out: {nodes: "{{ (duffy_out | default({'nodes': []})).nodes + [{'ipaddr': '192.0.2.' ~ item}] }}"}
      loop: [9, 10]
      when: item == 9
`,
		"run once, delegated, after a rescue": `
    - block:
        - fail: {msg: recoverable}
      rescue:
        - add_host: {name: elsewhere, ansible_connection: local}
    - set_fact: {duffy_out: {nodes: [{ipaddr: 192.0.2.9}]}}
      run_once: true
      delegate_to: elsewhere
      delegate_facts: true
`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := topdir(t, map[string]string{"provision.yml": play(tasks)})
			nodes, err := ansible.New(ansible.Config{}).Provision(t.Context(), request(pool(dir), 1))
			require.NoError(t, err)
			require.Len(t, nodes, 1)
			require.Equal(t, "192.0.2.9", nodes[0].IPAddr)
		})
	}
}
