package ansible_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/backend/ansible"
)

var _ backend.Keeper = (*ansible.Backend)(nil)

func TestKeepsWithoutDeprovisionPlaybook(t *testing.T) {
	t.Parallel()
	b := ansible.New(ansible.Config{})
	provision := map[string]any{"playbook": "provision.yml"}
	for _, deprovision := range []any{nil, map[string]any{}, map[string]any{"playbook": nil}} {
		require.True(t, b.Keeps(backend.Pool{Settings: map[string]any{
			"topdir": "/srv", "provision": provision, "deprovision": deprovision,
		}}), "%v", deprovision)
	}
	for _, settings := range []map[string]any{
		{"topdir": "/srv", "provision": provision, "deprovision": map[string]any{"playbook": "deprovision.yml"}},
		{"topdir": 1},
	} {
		require.False(t, b.Keeps(backend.Pool{Settings: settings}), "%v", settings)
	}
}
