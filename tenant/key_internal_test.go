package tenant

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
)

func primaryRow(t *testing.T, s *Service, id int64) *Key {
	t.Helper()
	keys, err := s.Keys(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, PrimaryKey, keys[0].Name)
	return keys[0]
}

// TestRandomKeysAreCheckedQuickly by processes that have just started. Keys that a
// person may have chosen are always checked slowly.
func TestRandomKeysAreCheckedQuickly(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		restarted := func() (*Service, func() []int) {
			s := New(d.DB, Config{BcryptCost: bcrypt.MinCost})
			return s, counting(t, s)
		}
		s, _ := restarted()
		_, made, err := s.Create(t.Context(), Tenant{Name: "made"})
		require.NoError(t, err)
		reset, _, err := s.Create(t.Context(), Tenant{Name: "reset"})
		require.NoError(t, err)
		_, resetTo, err := s.Update(t.Context(), reset.ID, Update{ResetAPIKey: true})
		require.NoError(t, err)
		second, _, err := s.Create(t.Context(), Tenant{Name: "second"})
		require.NoError(t, err)
		_, secondKey, err := s.CreateKey(t.Context(), second.ID, NewKey{})
		require.NoError(t, err)
		for name, key := range map[string]uuid.UUID{"made": made, "reset": *resetTo, "second": secondKey} {
			s, costs := restarted()
			_, err := s.Authenticate(t.Context(), name, key.String())
			require.NoError(t, err)
			require.Empty(t, costs(), name)
		}

		// Keys that Duffy 3 made take no time from their second use on, if they are random.
		ofDuffy3 := func(name, key string) int64 {
			hash, err := s.hash(key)
			require.NoError(t, err)
			old := &Tenant{Name: name, APIKeyHash: hash}
			_, err = d.NewInsert().Model(old).Exec(t.Context())
			require.NoError(t, err)
			return old.ID
		}
		random, chosen := uuid.NewString(), uuid.NewSHA1(uuid.NameSpaceOID, []byte("chosen")).String()
		ids := map[string]int64{random: ofDuffy3("random", random), chosen: ofDuffy3("chosen", chosen)}
		require.NoError(t, s.Import(t.Context(), []Import{{Tenant: Tenant{Name: "imported"}, Key: "imported"}}))
		imported, err := s.GetByName(t.Context(), "imported")
		require.NoError(t, err)
		ids["imported"] = imported.ID
		for _, used := range []string{"first", "again"} {
			for name, key := range map[string]string{"random": random, "chosen": chosen, "imported": "imported"} {
				s, costs := restarted()
				_, err = s.Authenticate(t.Context(), name, key)
				require.NoError(t, err)
				require.Equal(t, used == "again" && name == "random", len(costs()) == 0, "%s %s", name, used)
				require.Eventually(t, func() bool { return primaryRow(t, s, ids[key]).LastUsedAt != nil }, time.Minute, time.Millisecond)
				require.Equal(t, name == "random", primaryRow(t, s, ids[key]).Hash != nil, name)
			}
		}
	})
}

// TestRowsOfOtherPrimaryKeys has Duffy 3, or an older program, change the key that
// a row stands for: the row counts no more.
func TestRowsOfOtherPrimaryKeys(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := New(d.DB, Config{BcryptCost: bcrypt.MinCost})
		alice, old, err := s.Create(t.Context(), Tenant{Name: "alice"})
		require.NoError(t, err)
		_, err = s.Authenticate(t.Context(), "alice", old.String())
		require.NoError(t, err)
		now := uuid.NewString()
		hash, err := s.hash(now)
		require.NoError(t, err)
		_, err = d.ExecContext(t.Context(), "UPDATE tenants SET api_key = ?", hash)
		require.NoError(t, err)
		stale := *primaryRowAsIs(t, s, alice.ID)

		for _, service := range []*Service{s, New(d.DB, Config{BcryptCost: bcrypt.MinCost})} {
			_, err = service.Authenticate(t.Context(), "alice", old.String())
			require.Error(t, err)
			_, err = service.Authenticate(t.Context(), "alice", now)
			require.NoError(t, err)
		}
		fresh := func() bool { k := primaryRow(t, s, alice.ID); return k.Hash != nil && k.is(now) }
		require.Eventually(t, fresh, time.Minute, time.Millisecond)

		stale.LastUsedAt = nil
		require.NoError(t, savePrimary(t.Context(), d, &stale), "a login that was checked before")
		require.True(t, fresh())
	})
}

func primaryRowAsIs(t *testing.T, s *Service, id int64) *Key {
	t.Helper()
	k := new(Key)
	require.NoError(t, s.db.NewSelect().Model(k).Where("tenant_id = ? AND stands_for IS NOT NULL", id).Scan(t.Context()))
	return k
}

// TestLastUse is written at most once a minute, by however many processes.
func TestLastUse(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		began := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
		now := began
		cfg := Config{BcryptCost: bcrypt.MinCost, Now: func() time.Time { return now }}
		s, other := New(d.DB, cfg), New(d.DB, cfg)
		alice, primary, err := s.Create(t.Context(), Tenant{Name: "alice"})
		require.NoError(t, err)
		_, second, err := s.CreateKey(t.Context(), alice.ID, NewKey{})
		require.NoError(t, err)
		lastUses := func() (at [2]*time.Time) {
			keys, err := s.Keys(t.Context(), alice.ID)
			require.NoError(t, err)
			for i, k := range keys {
				if k.LastUsedAt != nil {
					utc := k.LastUsedAt.UTC()
					at[i] = &utc
				}
			}
			return at
		}
		written := func(want [2]*time.Time) {
			t.Helper()
			require.EventuallyWithT(t, func(c *assert.CollectT) { assert.Equal(c, want, lastUses()) }, time.Minute, time.Millisecond)
		}
		use := func(s *Service, key uuid.UUID) {
			t.Helper()
			_, err := s.Authenticate(t.Context(), "alice", key.String())
			require.NoError(t, err)
		}
		written([2]*time.Time{})
		use(s, second)
		written([2]*time.Time{nil, &began})
		now = began.Add(59 * time.Second)
		later := now
		use(s, second)
		use(other, second)
		use(s, primary)
		written([2]*time.Time{&later, &began})
		now = began.Add(time.Minute)
		again := now
		use(other, second)
		written([2]*time.Time{&later, &again})
		_, err = s.Authenticate(t.Context(), "alice", "wrong")
		require.Error(t, err)
		require.Equal(t, [2]*time.Time{&later, &again}, lastUses())
	})
}
