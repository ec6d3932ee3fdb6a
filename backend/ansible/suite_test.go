package ansible_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/backend/ansible"
	"github.com/duffy-ci/duffy/backend/backendtest"
)

// TestBackend runs the suite with machines that are files.
func TestBackend(t *testing.T) {
	t.Parallel()
	requireAnsible(t)
	dir := topdir(t, map[string]string{
		"provision.yml": play(`
    - copy: {dest: "{{ playbook_dir }}/machine{{ item }}", content: ""}
      loop: "{{ duffy_in.nodes | map(attribute='id') | list }}"
    - set_fact:
        duffy_out: {nodes: "{{ duffy_out.nodes | default([]) + [{'id': item, 'ipaddr': '192.0.2.' ~ item}] }}"}
      loop: "{{ duffy_in.nodes | map(attribute='id') | list }}"
`),
		"deprovision.yml": play(`
    - file: {path: "{{ playbook_dir }}/machine{{ item }}", state: absent}
      loop: "{{ duffy_in.nodes | map(attribute='id') | list }}"
    - set_fact:
        duffy_out: {nodes: "{{ duffy_out.nodes | default([]) + [{'id': item}] }}"}
      loop: "{{ duffy_in.nodes | map(attribute='id') | list }}"
`),
	})
	backendtest.Run(t, func(t *testing.T) backendtest.Subject {
		return backendtest.Subject{
			Backend: ansible.New(ansible.Config{}),
			Pool:    pool(dir),
			Running: func(_ *testing.T, node backend.Node) bool {
				_, err := os.Stat(filepath.Join(dir, fmt.Sprintf("machine%d", node.ID)))
				return err == nil
			},
		}
	})
}
