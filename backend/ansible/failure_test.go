package ansible_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/backend/ansible"
)

// TestFailures shows that operators are told what was wrong, and where.
func TestFailures(t *testing.T) {
	t.Parallel()
	requireAnsible(t)
	for name, tt := range map[string]struct{ playbook, reason string }{
		"a task": {
			play(`    - {name: create instance, fail: {msg: "quota exceeded: ✗"}}`),
			`provision.yml: task "create instance" failed on localhost: quota exceeded: ✗`,
		},
		"a command": {
			play(`    - {name: create, shell: "echo noise >&2; echo no space left >&2; exit 3"}`),
			": no space left",
		},
		"an item": {
			play(`    - {name: create, fail: {msg: "no {{ item }}"}, loop: [one, two], when: item == "two"}`),
			`provision.yml: task "create" failed on localhost: no two`,
		},
		"clean-up fails too": {
			play(`
    - {fail: {msg: ignored}, ignore_errors: true}
    - block: [{name: create, fail: {msg: quota exceeded}}]
      always: [{name: clean up, fail: {msg: nothing there}}]`),
			`provision.yml: task "create" failed on localhost: quota exceeded; finally, task "clean up" failed on localhost: nothing there`,
		},
		"an undefined variable": {
			play(`    - {name: show, debug: {msg: "{{ missing }}"}}`),
			`provision.yml: task "show" failed on localhost: `,
		},
		"an unreachable host": {
			play(`
    - {add_host: {name: node1, ansible_host: 127.0.0.1, ansible_port: 1, ansible_ssh_common_args: -o ConnectTimeout=5}}
    - {name: wait, ping: {}, delegate_to: node1}`),
			`provision.yml: task "wait" failed on localhost: `,
		},
		"a wrong module": {play(`    - {name: x, no_such_module: {}}`), `provision.yml ended with exit status 4: couldn't resolve module/action 'no_such_module'`},
		"no YAML":        {"- hosts: [", "provision.yml ended with exit status 4: "},
		"no playbook":    {"", "provision.yml"},
		"no result":      {play(`    - debug:`), "provision.yml set no duffy_out"},
		"no_log of the play": {
			"- hosts: localhost\n  gather_facts: false\n  no_log: true\n  tasks:\n    - {name: tell, set_fact: {duffy_out: {nodes: [{ipaddr: 192.0.2.1}]}}}",
			`provision.yml: no_log hides what task "tell" sets duffy_out to: give that task no_log: false`,
		},
		"no_log of a loop": {
			play(`    - {name: tell, set_fact: {duffy_out: {nodes: [{ipaddr: "{{ item }}"}]}}, loop: [192.0.2.1], no_log: true}`),
			`provision.yml: no_log hides what task "tell" sets`,
		},
		"no_log of the last one": {
			play(`
    - set_fact: {duffy_out: {nodes: [{ipaddr: 192.0.2.1}]}}
    - {name: tell, set_fact: {duffy_out: {nodes: [{ipaddr: 192.0.2.2}]}}, no_log: true}`),
			`provision.yml: no_log hides what task "tell" sets`,
		},
		"no hosts":         {"- hosts: none\n  tasks: [debug: ]", "provision.yml set no duffy_out, and has a play that matched no hosts"},
		"a text as result": {play(`    - set_fact: {duffy_out: text}`), "provision.yml: duffy_out is not a mapping"},
		"no nodes":         {play(`    - set_fact: {duffy_out: {nods: []}}`), "provision.yml: duffy_out.nodes is not a list"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := topdir(t, map[string]string{"provision.yml": tt.playbook})
			nodes, err := ansible.New(ansible.Config{}).Provision(t.Context(), request(pool(dir), 1))
			require.ErrorContains(t, err, tt.reason)
			require.Empty(t, nodes)
		})
	}
}
