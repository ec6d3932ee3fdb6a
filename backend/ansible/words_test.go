package ansible_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/backend/ansible"
)

// TestWordsOfNodes has a node answer a task, whose failure is ignored, with what is no
// JSON, and with very much.
func TestWordsOfNodes(t *testing.T) {
	t.Parallel()
	requireAnsible(t)
	for name, task := range map[string]string{
		"no number": `    - {node: {}, ignore_errors: true}
`,
		"many words": `    - {command: "python3 -c \"import sys; sys.stderr.write('word ' * 4000000); sys.exit(1)\"", ignore_errors: true}
    - {fail: {msg: "{{ ['much'] * 300000 }}"}, ignore_errors: true}
`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := topdir(t, map[string]string{
				"library/node": "#!/bin/sh\necho '{\"failed\": true, \"msg\": NaN, \"stderr\": [Infinity]}'\n",
				"provision.yml": play(task + `    - set_fact: {duffy_out: {nodes: [{ipaddr: 192.0.2.1}]}}
`),
			})
			nodes, err := ansible.New(ansible.Config{}).Provision(t.Context(), request(pool(dir), 1))
			require.NoError(t, err)
			require.Len(t, nodes, 1)
		})
	}
}
