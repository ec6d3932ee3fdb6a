package tenant_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"github.com/uptrace/bun"
	"golang.org/x/crypto/bcrypt"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/internal/fault"
	"github.com/duffy-ci/duffy/tenant"
)

func open(d *db.DB) *tenant.Service {
	return tenant.New(d.DB, tenant.Config{BcryptCost: bcrypt.MinCost})
}

func retire(t *testing.T, d *db.DB, s *tenant.Service, id int64) (*tenant.Tenant, error) {
	t.Helper()
	var retired *tenant.Tenant
	err := d.RunInTx(t.Context(), nil, func(ctx context.Context, tx bun.Tx) (err error) {
		retired, err = s.RetireTx(ctx, tx, id)
		return err
	})
	return retired, err
}

func TestLifeOfATenant(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := open(d)
		created, key, err := s.Create(t.Context(), tenant.Tenant{Name: "alice", SSHKey: "ssh-ed25519 AAAA\nssh-rsa BBBB"})
		require.NoError(t, err)
		require.Equal(t, tenant.Limits{NodeQuota: 10, SessionQuota: 100, SessionLifetime: 6 * time.Hour, SessionLifetimeMax: 12 * time.Hour}, s.Limits(created))

		_, _, err = s.Create(t.Context(), tenant.Tenant{Name: "alice", SSHKey: "k"})
		require.ErrorIs(t, err, fault.Conflict)
		require.NotContains(t, err.(*fault.Error).Detail, "constraint", "what the database says is not for callers")

		caller, err := s.Authenticate(t.Context(), "alice", key.String())
		require.NoError(t, err)
		require.Equal(t, created.ID, caller.ID)
		require.Equal(t, "ssh-ed25519 AAAA\nssh-rsa BBBB", caller.SSHKey)

		quota, lifetime := 3, tenant.Interval(90*time.Minute+500*time.Microsecond)
		quotaP, lifetimeP := &quota, &lifetime
		_, _, err = s.Update(t.Context(), created.ID, tenant.Update{NodeQuota: &quotaP, SessionLifetime: &lifetimeP})
		require.NoError(t, err)
		got, err := s.Get(t.Context(), created.ID)
		require.NoError(t, err)
		require.Equal(t, tenant.Limits{NodeQuota: 3, SessionQuota: 100, SessionLifetime: time.Duration(lifetime), SessionLifetimeMax: 12 * time.Hour}, s.Limits(got))

		quotaP, lifetimeP = nil, nil
		got, _, err = s.Update(t.Context(), created.ID, tenant.Update{NodeQuota: &quotaP, SessionLifetime: &lifetimeP})
		require.NoError(t, err)
		require.Equal(t, 10, s.Limits(got).NodeQuota)

		_, err = retire(t, d, s, created.ID)
		require.NoError(t, err)
		_, err = retire(t, d, s, created.ID)
		require.ErrorIs(t, err, fault.Invalid)
		require.EqualError(t, err, "tenant alice (id=1) is retired")
		_, _, err = s.Update(t.Context(), created.ID, tenant.Update{SSHKey: &got.Name})
		require.EqualError(t, err, "tenant alice (id=1) is retired")
		_, err = s.Authenticate(t.Context(), "alice", key.String())
		require.ErrorIs(t, err, fault.Forbidden)
		_, err = s.Authenticate(t.Context(), "alice", uuid.NewString())
		require.ErrorIs(t, err, fault.Unauthenticated)

		for range 2 {
			got, err = s.Unretire(t.Context(), created.ID)
			require.NoError(t, err)
			require.True(t, got.Active())
		}
		_, err = s.Authenticate(t.Context(), "alice", key.String())
		require.NoError(t, err)
	})
}

func TestKeysChangeAtOnce(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := open(d)
		alice, old, err := s.Create(t.Context(), tenant.Tenant{Name: "alice", SSHKey: "k"})
		require.NoError(t, err)
		accepts := func(key string) bool {
			_, err := s.Authenticate(t.Context(), "alice", key)
			if err != nil {
				require.ErrorIs(t, err, fault.Unauthenticated)
			}
			return err == nil
		}
		require.True(t, accepts(old.String()))
		require.True(t, accepts(old.String()), "also from memory")

		_, reset, err := s.Update(t.Context(), alice.ID, tenant.Update{ResetAPIKey: true})
		require.NoError(t, err)
		require.False(t, accepts(old.String()))
		require.True(t, accepts(reset.String()))

		given := uuid.New()
		_, shown, err := s.Update(t.Context(), alice.ID, tenant.Update{APIKey: &given})
		require.NoError(t, err)
		require.Nil(t, shown, "who gives a key knows it")
		require.False(t, accepts(reset.String()))
		require.True(t, accepts(given.String()))
		for _, wrong := range []string{"", "foo", given.String() + "x", string(make([]byte, 1000))} {
			require.False(t, accepts(wrong), "%q", wrong)
		}
	})
}

// TestKeysOfDuffy3 has a key that Duffy 3 hashed.
func TestKeysOfDuffy3(t *testing.T) {
	t.Parallel()
	d := dbtest.SQLite(t)
	_, err := d.NewInsert().Model(&tenant.Tenant{
		Name: "tenant", SSHKey: "Boo!",
		APIKeyHash: "$2b$12$fICkseHXLgrW4jOPunpUzuyXbwhTPKTa3VKdoK18nywiyWy7cZ47O",
	}).Exec(t.Context())
	require.NoError(t, err)
	s := open(d)
	_, err = s.Authenticate(t.Context(), "tenant", "a8b9899d-b128-59a1-aa86-754920b7f5ed")
	require.NoError(t, err)
	_, err = s.Authenticate(t.Context(), "tenant", "a8b9899d-b128-59a1-aa86-754920b7f5ee")
	require.ErrorIs(t, err, fault.Unauthenticated)
}

func TestUnknownTenants(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := open(d)
		_, err := s.Get(t.Context(), 99)
		require.ErrorIs(t, err, fault.NotFound)
		_, err = s.GetByName(t.Context(), "nobody")
		require.ErrorIs(t, err, fault.NotFound)
		_, _, err = s.Update(t.Context(), 99, tenant.Update{})
		require.ErrorIs(t, err, fault.NotFound)
		_, err = s.Unretire(t.Context(), 99)
		require.ErrorIs(t, err, fault.NotFound)
		_, err = s.Authenticate(t.Context(), "nobody", uuid.NewString())
		require.ErrorIs(t, err, fault.Unauthenticated, "the same as for a wrong key")
		zero := new(int)
		_, _, err = s.Create(t.Context(), tenant.Tenant{Name: "x", NodeQuota: zero})
		require.ErrorIs(t, err, fault.Invalid)
		_, _, err = s.Create(t.Context(), tenant.Tenant{})
		require.ErrorIs(t, err, fault.Invalid)
	})
}

// TestManyLoginsAtOnce would take minutes if each were checked on its own.
func TestManyLoginsAtOnce(t *testing.T) {
	t.Parallel()
	s := tenant.New(dbtest.SQLite(t).DB, tenant.Config{BcryptCost: tenant.DefaultBcryptCost})
	_, key, err := s.Create(t.Context(), tenant.Tenant{Name: "alice", SSHKey: "k"})
	require.NoError(t, err)
	var wg sync.WaitGroup
	for range 500 {
		wg.Go(func() {
			if _, err := s.Authenticate(t.Context(), "alice", key.String()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// BenchmarkAuthenticate has hashes of the cost that they really have. A wrong key
// and a chosen one that is not remembered take as long as bcrypt does; a random
// key never does.
func BenchmarkAuthenticate(b *testing.B) {
	for _, database := range []struct {
		name string
		open func(testing.TB) *db.DB
	}{{"postgres", dbtest.PostgresDurable}, {"sqlite", dbtest.SQLite}} {
		b.Run(database.name, func(b *testing.B) {
			d := database.open(b)
			restarted := func() *tenant.Service { return tenant.New(d.DB, tenant.Config{}) }
			s := restarted()
			_, random, err := s.Create(b.Context(), tenant.Tenant{Name: "random"})
			require.NoError(b, err)
			require.NoError(b, s.Import(b.Context(), []tenant.Import{{Tenant: tenant.Tenant{Name: "chosen"}, Key: "chosen"}}))
			login := func(b *testing.B, s *tenant.Service, name, key string) {
				if _, err := s.Authenticate(b.Context(), name, key); err != nil {
					require.ErrorIs(b, err, fault.Unauthenticated)
					require.Equal(b, "wrong", key)
				}
			}
			for name, key := range map[string]string{"random": random.String(), "chosen": "chosen"} {
				b.Run(name+"/first", func(b *testing.B) {
					for b.Loop() {
						b.StopTimer()
						s := restarted()
						b.StartTimer()
						login(b, s, name, key)
					}
				})
				b.Run(name+"/remembered", func(b *testing.B) {
					login(b, s, name, key)
					for b.Loop() {
						login(b, s, name, key)
					}
				})
				b.Run(name+"/wrong", func(b *testing.B) {
					for b.Loop() {
						login(b, s, name, "wrong")
					}
				})
			}
			b.Run("unknown/wrong", func(b *testing.B) {
				for b.Loop() {
					login(b, s, "unknown", "wrong")
				}
			})
		})
	}
}
