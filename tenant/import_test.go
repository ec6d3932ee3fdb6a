package tenant_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/internal/fault"
	"github.com/duffy-ci/duffy/tenant"
)

func TestImport(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := open(d)
		alice := tenant.Import{Tenant: tenant.Tenant{Name: "alice", SSHKey: "a", IsAdmin: true}, Key: "no UUID"}
		bob := tenant.Import{Tenant: tenant.Tenant{Name: "bob", SSHKey: "b"}, Key: "A8B9899D-B128-59A1-AA86-754920B7F5ED"}
		require.NoError(t, s.Import(t.Context(), nil))
		require.NoError(t, s.Import(t.Context(), []tenant.Import{alice, bob}))
		for _, i := range []tenant.Import{alice, bob} {
			got, err := s.Authenticate(t.Context(), i.Name, i.Key)
			require.NoError(t, err)
			require.Equal(t, i.SSHKey, got.SSHKey)
			require.Equal(t, i.IsAdmin, got.IsAdmin)
		}

		carol := tenant.Import{Tenant: tenant.Tenant{Name: "carol", SSHKey: "c"}, Key: "key"}
		err := s.Import(t.Context(), []tenant.Import{carol, bob})
		require.ErrorIs(t, err, fault.Conflict)
		require.ErrorContains(t, err, "tenant 'bob' exists already")
		interrupted, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, s.Import(interrupted, []tenant.Import{carol}), context.Canceled)
		_, err = s.GetByName(t.Context(), "carol")
		require.ErrorIs(t, err, fault.NotFound)
	})
}
