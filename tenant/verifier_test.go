package tenant

import (
	"errors"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/internal/fault"
)

// TestNobodyLearnsWhoExists counts what takes time, since time itself cannot be
// relied on: an unknown tenant and a wrong key cost the same.
func TestNobodyLearnsWhoExists(t *testing.T) {
	t.Parallel()
	s := New(dbtest.SQLite(t).DB, Config{BcryptCost: bcrypt.MinCost})
	var hashes []string
	s.verifier.compare = func(hash, key []byte) error {
		hashes = append(hashes, string(hash))
		return bcrypt.CompareHashAndPassword(hash, key)
	}
	alice, _, err := s.Create(t.Context(), Tenant{Name: "alice"})
	require.NoError(t, err)

	tries := func(name string, keys ...string) (texts []string, costs []int) {
		hashes = nil
		for _, key := range keys {
			_, err := s.Authenticate(t.Context(), name, key)
			require.ErrorIs(t, err, fault.Unauthenticated)
			texts = append(texts, err.Error())
		}
		for _, hash := range hashes {
			cost, err := bcrypt.Cost([]byte(hash))
			require.NoError(t, err)
			costs = append(costs, cost)
		}
		return texts, costs
	}
	keys := []string{"", "x", "x", alice.APIKeyHash, strings.Repeat("x", 100), "\x00"}
	texts, costs := tries("alice", keys...)
	require.Equal(t, []int{4, 4, 4, 4, 4, 4}, costs)
	for _, unknown := range []string{"nobody", "", "Alice"} {
		otherTexts, otherCosts := tries(unknown, keys...)
		require.Equal(t, texts, otherTexts)
		require.Equal(t, costs, otherCosts)
	}
}

// TestRightKeysAreCheckedOnce also has a limited login cost nothing.
func TestRightKeysAreCheckedOnce(t *testing.T) {
	t.Parallel()
	now := time.Now()
	s := New(dbtest.SQLite(t).DB, Config{BcryptCost: bcrypt.MinCost, Now: func() time.Time { return now }})
	var checks atomic.Int64
	s.verifier.compare = func(hash, key []byte) error {
		checks.Add(1)
		return bcrypt.CompareHashAndPassword(hash, key)
	}
	_, key, err := s.Create(t.Context(), Tenant{Name: "alice"})
	require.NoError(t, err)
	for range 100 {
		_, err := s.Authenticate(t.Context(), "alice", key.String())
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
