package ansible_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/backend/ansible"
	"github.com/duffy-ci/duffy/backend/backendtest"
)

// cloud has commands for instances, which are files that have their address in them.
var cloud = map[string]string{
	"make-instance": `#!/bin/sh -e
cd "${0%/*}/instances"
exec 9>../lock; flock 9
[ -e "$1" ] || { count=$(($(cat ../count) + 1)); echo $count >../count; echo 192.0.2.$count >"$1"; }
cat "$1"
`,
	"list-instances":  "#!/bin/sh -e\nls \"${0%/*}/instances\"\n",
	"remove-instance": "#!/bin/sh -e\n[ ! -e \"${0%/*}/refusing\" ]\nrm \"${0%/*}/instances/$1\"\n",
}

var guidePlaybook = regexp.MustCompile("(?s)```yaml\n(- hosts: .*?)```")

// TestBackend runs the suite with the playbooks that the operator's guide shows.
func TestBackend(t *testing.T) {
	t.Parallel()
	requireAnsible(t)
	guide, err := os.ReadFile("../../docs/operators-guide.md")
	require.NoError(t, err)
	playbooks := guidePlaybook.FindAllStringSubmatch(string(guide), 2)
	require.Len(t, playbooks, 2)
	dir := topdir(t, map[string]string{"provision.yml": playbooks[0][1], "deprovision.yml": playbooks[1][1], "count": "0"})
	for name, script := range cloud {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755))
	}
	instances := filepath.Join(dir, "instances")
	require.NoError(t, os.Mkdir(instances, 0o755))
	p := pool(dir)
	p.Settings["extra-vars"] = map[string]any{"template_name": "centos9s-small"}

	backendtest.Run(t, func(t *testing.T) backendtest.Subject {
		return backendtest.Subject{
			Backend: ansible.New(ansible.Config{Environment: []string{"PATH=" + dir + ":" + os.Getenv("PATH")}}),
			Pool:    p,
			Running: func(t *testing.T, node backend.Node) bool {
				for _, dir := range []string{instances, instances + ".away"} {
					if address, err := os.ReadFile(filepath.Join(dir, node.Provision["name"].(string))); err == nil {
						return strings.TrimSpace(string(address)) == node.IPAddr
					}
				}
				return false
			},
			Unreachable: func(t *testing.T) func() {
				require.NoError(t, os.Rename(instances, instances+".away"))
				return func() { require.NoError(t, os.Rename(instances+".away", instances)) }
			},
			Refusing: func(t *testing.T) func() {
				refusing := filepath.Join(dir, "refusing")
				require.NoError(t, os.WriteFile(refusing, nil, 0o600))
				return func() { require.NoError(t, os.Remove(refusing)) }
			},
		}
	})
}
