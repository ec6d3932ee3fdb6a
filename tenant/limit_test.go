package tenant_test

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/internal/fault"
	"github.com/duffy-ci/duffy/tenant"
)

// A door is where people at addresses log in.
type door struct {
	*testing.T
	tenants *tenant.Service
	keys    map[string]string

	mu  sync.Mutex
	now time.Time
}

func newDoor(t *testing.T) *door {
	d := &door{T: t, keys: map[string]string{}, now: time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)}
	d.tenants = tenant.New(dbtest.SQLite(t).DB, tenant.Config{BcryptCost: bcrypt.MinCost, Now: func() time.Time {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.now
	}})
	for _, name := range []string{"alice", "bob"} {
		d.keys[name] = "chosen by " + name // so that it might be guessed
		require.NoError(t, d.tenants.Import(t.Context(), []tenant.Import{{Tenant: tenant.Tenant{Name: name}, Key: d.keys[name]}}))
	}
	_, key, err := d.tenants.Create(t.Context(), tenant.Tenant{Name: "carol"})
	require.NoError(t, err)
	d.keys["carol"] = key.String()
	return d
}

func (d *door) wait(duration time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.now = d.now.Add(duration)
}

func (d *door) login(from, name, key string) error {
	_, err := d.tenants.AuthenticateFrom(d.Context(), netip.MustParseAddr(from), name, key)
	return err
}

// failures returns how many logins fail until there are too many.
func (d *door) failures(from, name string) (n int) {
	for ; n < 1000; n++ {
		err := d.login(from, name, uuid.NewString())
		if errors.Is(err, fault.TooMany) {
			break
		}
		require.ErrorIs(d, err, fault.Unauthenticated)
	}
	return n
}

func TestFailedLoginsAreLimited(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	const attacker = "192.0.2.1"
	most := d.failures(attacker, "alice")
	require.Equal(t, 10, most)
	var refused *fault.Error
	require.ErrorAs(t, d.login(attacker, "alice", d.keys["alice"]), &refused, "not even the right key is looked at")
	require.Equal(t, fault.TooMany, refused.Kind)
	require.Equal(t, "too many failed logins, try again in 15 s", refused.Detail)
	require.Equal(t, 15*time.Second, refused.RetryAfter)

	require.NoError(t, d.login(attacker, "bob", d.keys["bob"]), "somebody else at the same address")
	require.NoError(t, d.login("192.0.2.2", "alice", d.keys["alice"]), "the same tenant elsewhere")
	require.NoError(t, d.login(attacker, "alice", d.keys["alice"]), "what is known to be right goes on working")
	require.ErrorIs(t, d.login(attacker, "alice", uuid.NewString()), fault.TooMany)
	d.failures(attacker, "carol")
	require.NoError(t, d.login(attacker, "carol", d.keys["carol"]), "a random key cannot be guessed")

	d.wait(refused.RetryAfter)
	require.Equal(t, 1, d.failures(attacker, "alice"))
	d.wait(time.Hour)
	require.Equal(t, most, d.failures(attacker, "alice"))
}

// TestManyNamesFromOneAddress tries tenants that exist and others.
func TestManyNamesFromOneAddress(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	const attacker = "192.0.2.1"
	failed := 0
	for i := range 20 {
		failed += d.failures(attacker, fmt.Sprint("tenant", i))
	}
	require.Equal(t, 100, failed)
	require.ErrorIs(t, d.login(attacker, "bob", d.keys["bob"]), fault.TooMany)
	require.NoError(t, d.login("192.0.2.2", "bob", d.keys["bob"]))
	d.wait(2 * time.Second)
	require.Equal(t, 1, d.failures(attacker, "another"))
}

func TestRightLoginsAreNotLimited(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	for range 200 {
		require.NoError(t, d.login("192.0.2.1", "alice", d.keys["alice"]))
	}
	for range 200 {
		_, err := d.tenants.Authenticate(t.Context(), "alice", "wrong")
		require.ErrorIs(t, err, fault.Unauthenticated, "nobody's address")
	}
}

// TestNetworksOfIPv6 has an attacker use all addresses of a network.
func TestNetworksOfIPv6(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	require.Equal(t, 10, d.failures("2001:db8::1", "alice"))
	require.ErrorIs(t, d.login("2001:db8::ffff:1:2:3", "alice", "wrong"), fault.TooMany)
	require.ErrorIs(t, d.login("2001:db8:0:1::1", "alice", "wrong"), fault.Unauthenticated)
	require.Equal(t, 10, d.failures("::ffff:192.0.2.1", "alice"))
	require.ErrorIs(t, d.login("192.0.2.1", "alice", "wrong"), fault.TooMany)
}

// TestGuessingAllAtOnce has as many guesses checked as one after another.
func TestGuessingAllAtOnce(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	var wg sync.WaitGroup
	checked := make(chan error, 500)
	for range cap(checked) {
		wg.Go(func() {
			if err := d.login("192.0.2.1", "alice", uuid.NewString()); !errors.Is(err, fault.TooMany) {
				checked <- err
			}
		})
	}
	wg.Wait()
	close(checked)
	require.GreaterOrEqual(t, len(checked), 10)
	require.Less(t, len(checked), 30, "those that were being checked meanwhile")
	for err := range checked {
		require.ErrorIs(t, err, fault.Unauthenticated)
	}
}
