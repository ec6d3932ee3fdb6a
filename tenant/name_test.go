package tenant_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/internal/fault"
	"github.com/duffy-ci/duffy/tenant"
)

func TestNames(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := open(d)
		for _, name := range []string{
			"", "a:b", "a\nb", "\x1b]0;x\x07", "\u009b2J", "\u202ecba", "a\x00b", "\xff", strings.Repeat("x", 256), "zero\u200bwidth",
		} {
			_, _, err := s.Create(t.Context(), tenant.Tenant{Name: name, SSHKey: "k"})
			require.ErrorIs(t, err, fault.Invalid, "%q", name)
			require.ErrorContains(t, err, "name: ")
		}
		for _, name := range []string{"ci", "Jürgen's CI", "project/branch", "日本", strings.Repeat("ü", 255)} {
			_, _, err := s.Create(t.Context(), tenant.Tenant{Name: name, SSHKey: "k"})
			require.NoError(t, err, "%q", name)
		}
	})
}
