package ansible

import "github.com/duffy-ci/duffy/backend"

// Keeps reports whether pool has no deprovision playbook. It implements
// [backend.Keeper].
func (b *Backend) Keeps(pool backend.Pool) bool {
	s, err := parse(pool.Settings)
	return err == nil && s.deprovision == nil
}
