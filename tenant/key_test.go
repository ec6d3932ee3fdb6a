package tenant_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/internal/fault"
	"github.com/duffy-ci/duffy/tenant"
)

// TestKeysThatBcryptConfuses are different keys all the same.
func TestKeysThatBcryptConfuses(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := open(d)
		longest := strings.Repeat("k", 72)
		require.NoError(t, s.Import(t.Context(), []tenant.Import{
			{Tenant: tenant.Tenant{Name: "longest"}, Key: longest},
			{Tenant: tenant.Tenant{Name: "short"}, Key: "abc"},
		}))
		for name, keys := range map[string][]string{
			"longest": {longest, longest + "k", longest + "x", longest + longest, longest + "\x00", longest[1:]},
			"short":   {"abc", "abc\x00abc", "abc\x00", "abc\x00abc\x00abc", "\x00abc"},
		} {
			for i, key := range keys {
				_, err := s.Authenticate(t.Context(), name, key)
				if i == 0 {
					require.NoError(t, err)
				} else {
					require.ErrorIs(t, err, fault.Unauthenticated, "%q", key)
				}
			}
		}
		for _, key := range []string{"", longest + "k", "a\x00"} {
			err := s.Import(t.Context(), []tenant.Import{{Tenant: tenant.Tenant{Name: "x"}, Key: key}})
			require.ErrorIs(t, err, fault.Invalid, "%q", key)
			require.ErrorContains(t, err, "tenant x: key: it must not")
		}
	})
}

// A keyring is a tenant with keys, at two servers.
type keyring struct {
	*testing.T
	one, other *tenant.Service
	id         int64

	mu  sync.Mutex
	now time.Time
}

func newKeyring(t *testing.T, d *db.DB) (k *keyring, primary string) {
	t.Helper()
	k = &keyring{T: t, now: time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)}
	cfg := tenant.Config{BcryptCost: bcrypt.MinCost, Now: func() time.Time {
		k.mu.Lock()
		defer k.mu.Unlock()
		return k.now
	}}
	k.one, k.other = tenant.New(d.DB, cfg), tenant.New(d.DB, cfg)
	alice, key, err := k.one.Create(t.Context(), tenant.Tenant{Name: "alice", IsAdmin: true})
	require.NoError(t, err)
	k.id = alice.ID
	return k, key.String()
}

func (k *keyring) wait(duration time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.now = k.now.Add(duration)
}

func (k *keyring) create(n tenant.NewKey) string {
	k.Helper()
	_, key, err := k.one.CreateKey(k.Context(), k.id, n)
	require.NoError(k, err)
	return key.String()
}

// requireKeys checks which keys both servers accept, and as what.
func (k *keyring) requireKeys(scopes map[string]tenant.Scope) {
	k.Helper()
	for key, scope := range scopes {
		for _, s := range []*tenant.Service{k.one, k.other} {
			caller, err := s.Authenticate(k.Context(), "alice", key)
			if scope == "" {
				require.ErrorIs(k, err, fault.Unauthenticated)
				continue
			}
			require.NoError(k, err)
			require.Equal(k, k.id, caller.ID)
			require.Equal(k, scope, caller.Key.Scope)
			require.Equal(k, scope != tenant.Full, caller.ReadOnly())
		}
	}
}

func TestSecondKeys(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		k, primary := newKeyring(t, d)
		second := k.create(tenant.NewKey{})
		reader := k.create(tenant.NewKey{Name: "reader", Scope: tenant.ReadOnly})
		in := k.now.Add(time.Hour)
		short := k.create(tenant.NewKey{Name: "short", ExpiresAt: &in})
		keys := map[string]tenant.Scope{primary: tenant.Full, second: tenant.Full, reader: tenant.ReadOnly, short: tenant.Full}
		for range 2 { // also from memory
			k.requireKeys(keys)
		}
		k.wait(time.Hour - time.Microsecond)
		k.requireKeys(keys)
		k.wait(time.Microsecond)
		keys[short] = ""
		k.requireKeys(keys)

		retired, err := k.one.RetireKey(t.Context(), k.id, "second")
		require.NoError(t, err)
		require.Equal(t, "second", retired.Name)
		keys[second] = ""
		k.requireKeys(keys)
		_, err = k.one.RetireKey(t.Context(), k.id, "second")
		require.ErrorIs(t, err, fault.NotFound)
		_, err = k.one.RetireKey(t.Context(), 99, "reader")
		require.ErrorIs(t, err, fault.NotFound)
		_, err = k.one.RetireKey(t.Context(), k.id, tenant.PrimaryKey)
		require.ErrorIs(t, err, fault.Invalid)
		k.requireKeys(keys)

		_, reset, err := k.one.Update(t.Context(), k.id, tenant.Update{ResetAPIKey: true})
		require.NoError(t, err)
		keys[primary], keys[reset.String()] = "", tenant.Full
		k.requireKeys(keys)

		_, err = d.ExecContext(t.Context(), "UPDATE api_keys SET scope = 'from a later version' WHERE name = 'primary'")
		require.NoError(t, err)
		caller, err := k.one.Authenticate(t.Context(), "alice", reset.String())
		require.NoError(t, err)
		require.True(t, caller.ReadOnly())

		_, err = retire(t, d, k.one, k.id)
		require.NoError(t, err)
		for _, s := range []*tenant.Service{k.one, k.other} {
			for key, scope := range keys {
				_, err := s.Authenticate(t.Context(), "alice", key)
				if scope == "" {
					require.ErrorIs(t, err, fault.Unauthenticated)
				} else {
					require.ErrorIs(t, err, fault.Forbidden)
				}
			}
		}
		_, _, err = k.one.CreateKey(t.Context(), k.id, tenant.NewKey{Name: "late"})
		require.EqualError(t, err, "tenant alice (id=1) is retired")
		_, _, err = k.one.CreateKey(t.Context(), 99, tenant.NewKey{})
		require.ErrorIs(t, err, fault.NotFound)
		_, err = k.one.Keys(t.Context(), 99)
		require.ErrorIs(t, err, fault.NotFound)
	})
}

// TestRotation has clients change from one key to another without a break.
func TestRotation(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		k, old := newKeyring(t, d)
		renewed := k.create(tenant.NewKey{})
		k.requireKeys(map[string]tenant.Scope{old: tenant.Full, renewed: tenant.Full})
		id := uuid.MustParse(renewed)
		_, _, err := k.one.Update(t.Context(), k.id, tenant.Update{APIKey: &id})
		require.NoError(t, err)
		k.requireKeys(map[string]tenant.Scope{old: "", renewed: tenant.Full})
		_, err = k.one.RetireKey(t.Context(), k.id, tenant.DefaultKeyName)
		require.NoError(t, err)
		k.requireKeys(map[string]tenant.Scope{old: "", renewed: tenant.Full})
		k.create(tenant.NewKey{})

		keys, err := k.one.Keys(t.Context(), k.id)
		require.NoError(t, err)
		var names []string
		for _, key := range keys {
			names = append(names, fmt.Sprint(key.Name, key.RetiredAt != nil))
			require.NotNil(t, key.CreatedAt)
		}
		require.Equal(t, []string{"primaryfalse", "secondtrue", "secondfalse"}, names)
	})
}

func TestKeysThatCannotBe(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		k, _ := newKeyring(t, d)
		now := k.now
		for _, wrong := range []tenant.NewKey{
			{Name: tenant.PrimaryKey},
			{Name: "-x"},
			{Name: "a b"},
			{Name: "\x1b[2J"},
			{Name: "x\n"},
			{Name: strings.Repeat("x", 65)},
			{Name: "a", Scope: "everything"},
			{Name: "a", ExpiresAt: &now},
		} {
			_, _, err := k.one.CreateKey(t.Context(), k.id, wrong)
			require.ErrorIs(t, err, fault.Invalid, "%+v", wrong)
		}
		k.create(tenant.NewKey{})
		_, _, err := k.one.CreateKey(t.Context(), k.id, tenant.NewKey{})
		require.ErrorIs(t, err, fault.Conflict)
		require.NotContains(t, err.(*fault.Error).Detail, "constraint")

		expires := now.Add(time.Hour)
		for i := range tenant.KeysMax - 1 {
			k.create(tenant.NewKey{Name: fmt.Sprint("key-", i), ExpiresAt: &expires})
		}
		_, _, err = k.one.CreateKey(t.Context(), k.id, tenant.NewKey{Name: "more"})
		require.ErrorIs(t, err, fault.Invalid)
		require.ErrorContains(t, err, "10 keys")
		k.wait(time.Hour)
		k.create(tenant.NewKey{Name: "more"})
	})
}

// TestAdministratorsComeAndGo at once, at every server.
func TestAdministratorsComeAndGo(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		k, key := newKeyring(t, d)
		for _, is := range []bool{true, false, true} {
			updated, _, err := k.one.Update(t.Context(), k.id, tenant.Update{IsAdmin: &is})
			require.NoError(t, err)
			require.Equal(t, is, updated.IsAdmin)
			for _, s := range []*tenant.Service{k.one, k.other} {
				caller, err := s.Authenticate(t.Context(), "alice", key)
				require.NoError(t, err)
				require.Equal(t, is, caller.IsAdmin)
			}
		}
		_, _, err := k.one.Update(t.Context(), k.id, tenant.Update{SSHKey: new("k")})
		require.NoError(t, err)
		alice, err := k.one.Get(t.Context(), k.id)
		require.NoError(t, err)
		require.True(t, alice.IsAdmin, "what is not set stays")
	})
}

// TestKeysForDuffy3 goes back to Duffy 3, which compares a key with the bcrypt
// hash in tenants.api_key and knows nothing else.
func TestKeysForDuffy3(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		k, primary := newKeyring(t, d)
		second := k.create(tenant.NewKey{})
		reset, _, err := k.one.Create(t.Context(), tenant.Tenant{Name: "reset"})
		require.NoError(t, err)
		_, resetTo, err := k.one.Update(t.Context(), reset.ID, tenant.Update{ResetAPIKey: true})
		require.NoError(t, err)
		require.NoError(t, k.one.Import(t.Context(), []tenant.Import{{Tenant: tenant.Tenant{Name: "imported"}, Key: "chosen"}}))
		_, to, err := db.Downgrade(t.Context(), d, "6654d536b836")
		require.NoError(t, err)
		require.Empty(t, to.Duffy)

		accepts := func(name, key string) bool {
			var hash string
			require.NoError(t, d.QueryRowContext(t.Context(), "SELECT api_key FROM tenants WHERE name = ?", name).Scan(&hash))
			return bcrypt.CompareHashAndPassword([]byte(hash), []byte(key)) == nil
		}
		require.True(t, accepts("alice", primary))
		require.True(t, accepts("reset", resetTo.String()))
		require.True(t, accepts("imported", "chosen"))
		require.False(t, accepts("alice", second))

		_, _, err = db.Migrate(t.Context(), d)
		require.NoError(t, err)
		k.requireKeys(map[string]tenant.Scope{primary: tenant.Full, second: ""})
	})
}
