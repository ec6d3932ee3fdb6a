package tenant

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/internal/fault"
)

// counting makes s count its checks. costs returns their bcrypt costs since it was
// called last.
func counting(t *testing.T, s *Service) (costs func() []int) {
	var mu sync.Mutex
	var hashes []string
	s.verifier.compare = func(hash, key []byte) error {
		mu.Lock()
		defer mu.Unlock()
		hashes = append(hashes, string(hash))
		return bcrypt.CompareHashAndPassword(hash, key)
	}
	return func() (costs []int) {
		mu.Lock()
		defer mu.Unlock()
		for _, hash := range hashes {
			cost, err := bcrypt.Cost([]byte(hash))
			require.NoError(t, err)
			costs = append(costs, cost)
		}
		hashes = nil
		return costs
	}
}

// TestNobodyLearnsWhoExists counts what takes time, since time itself cannot be
// relied on: an unknown tenant and any wrong key cost the same.
func TestNobodyLearnsWhoExists(t *testing.T) {
	t.Parallel()
	now := time.Now()
	s := New(dbtest.SQLite(t).DB, Config{BcryptCost: bcrypt.MinCost, Now: func() time.Time { return now }})
	costs := counting(t, s)
	alice, _, err := s.Create(t.Context(), Tenant{Name: "alice"})
	require.NoError(t, err)
	retired, key, err := s.Create(t.Context(), Tenant{Name: "retired"})
	require.NoError(t, err)
	_, err = s.db.NewUpdate().Model(retired).Set("retired_at = ?", now).WherePK().Exec(t.Context())
	require.NoError(t, err)
	require.NoError(t, s.Import(t.Context(), []Import{{Tenant: Tenant{Name: "imported"}, Key: "chosen"}}))
	_, good, err := s.CreateKey(t.Context(), alice.ID, NewKey{Name: "good"})
	require.NoError(t, err)
	soon := now.Add(time.Minute)
	_, expired, err := s.CreateKey(t.Context(), alice.ID, NewKey{Name: "expired", ExpiresAt: &soon})
	require.NoError(t, err)
	_, taken, err := s.CreateKey(t.Context(), alice.ID, NewKey{Name: "taken"})
	require.NoError(t, err)
	_, err = s.RetireKey(t.Context(), alice.ID, "taken")
	require.NoError(t, err)
	now = soon

	keys := []string{
		"", "x", "x", alice.APIKeyHash, strings.Repeat("x", 100), "\x00", uuid.NewString(),
		expired.String(), taken.String(), good.String() + "x", good.String() + "\x00" + good.String(),
	}
	want := slices.Repeat([]int{bcrypt.MinCost}, len(keys))
	for _, name := range []string{"alice", "imported", "retired", "nobody", "", "Alice"} {
		for _, key := range keys {
			_, err := s.Authenticate(t.Context(), name, key)
			require.ErrorIs(t, err, fault.Unauthenticated)
			require.EqualError(t, err, "Unauthorized")
		}
		require.Equal(t, want, costs(), name)
	}
	_, err = s.Authenticate(t.Context(), "retired", key.String())
	require.ErrorIs(t, err, fault.Forbidden)
	require.Empty(t, costs())
}

// TestRightKeysAreCheckedOnce has a key that a person may have chosen, of which
// there is only the bcrypt hash. It also has a limited login cost nothing.
func TestRightKeysAreCheckedOnce(t *testing.T) {
	t.Parallel()
	now := time.Now()
	s := New(dbtest.SQLite(t).DB, Config{BcryptCost: bcrypt.MinCost, Now: func() time.Time { return now }})
	var checks atomic.Int64
	s.verifier.compare = func(hash, key []byte) error {
		checks.Add(1)
		return bcrypt.CompareHashAndPassword(hash, key)
	}
	require.NoError(t, s.Import(t.Context(), []Import{{Tenant: Tenant{Name: "alice"}, Key: "chosen"}}))
	for range 100 {
		_, err := s.Authenticate(t.Context(), "alice", "chosen")
		require.NoError(t, err)
	}
	require.EqualValues(t, 1, checks.Load())

	from := netip.MustParseAddr("192.0.2.1")
	var refused int
	for range 100 {
		if _, err := s.AuthenticateFrom(t.Context(), from, "alice", "wrong"); errors.Is(err, fault.TooMany) {
			refused++
		}
	}
	require.Equal(t, 100-pairFailures, refused)
	require.EqualValues(t, 1+pairFailures, checks.Load())
}

// TestLimiterForgets keeps no more in mind than it says, and forgets those first
// who failed least recently.
func TestLimiterForgets(t *testing.T) {
	t.Parallel()
	lim := newLimiter()
	now := time.Now()
	attacker := newLogin(netip.MustParseAddr("192.0.2.1"), "alice")
	for range pairFailures {
		lim.failed(attacker, now)
	}
	others, long := netip.MustParseAddr("10.0.0.1"), strings.Repeat("long", 100)
	for range throttled - 1 {
		lim.failed(newLogin(others, long), now)
		others = others.Next()
	}
	require.ErrorIs(t, lim.check(attacker, now), fault.TooMany)
	require.Equal(t, throttled, lim.pairs.budgets.Len())
	for range 2 {
		lim.failed(newLogin(others, "alice"), now)
		others = others.Next()
	}
	require.NoError(t, lim.check(attacker, now))
	require.Equal(t, throttled, lim.pairs.budgets.Len())
	require.Equal(t, throttled, lim.addresses.budgets.Len())
}
