package tenant

import (
	"context"
	"errors"
	"net/netip"
	"slices"
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

// A gate holds checks up until they are let through, one by one.
type gate struct {
	*testing.T
	*Service
	checking chan string // keys, when their turn has come
	pass     chan struct{}
	logins   sync.WaitGroup
	refused  atomic.Int64
}

// newGate has the tenant old, whose key was chosen, log in at an address, so long
// ago that only the address is remembered. Then the gate is closed.
func newGate(t *testing.T, known netip.Addr) *gate {
	g := &gate{
		T: t, Service: New(dbtest.SQLite(t).DB, Config{BcryptCost: bcrypt.MinCost}),
		checking: make(chan string, 10_000), pass: make(chan struct{}),
	}
	require.NoError(t, g.Import(t.Context(), []Import{{Tenant: Tenant{Name: "old"}, Key: "chosen"}}))
	_, err := g.AuthenticateFrom(t.Context(), known, "old", "chosen")
	require.NoError(t, err)
	g.verifier.verified.Purge()
	g.verifier.patience = time.Hour
	g.verifier.compare = func(hash, key []byte) error {
		g.checking <- string(key)
		<-g.pass
		return bcrypt.CompareHashAndPassword(hash, key)
	}
	t.Cleanup(func() {
		close(g.pass)
		g.logins.Wait()
	})
	return g
}

func (g *gate) login(from netip.Addr, name, key string) <-chan error {
	done := make(chan error, 1)
	g.logins.Go(func() {
		_, err := g.AuthenticateFrom(context.WithoutCancel(g.Context()), from, name, key)
		if errors.Is(err, fault.TooMany) || errors.Is(err, fault.Unavailable) {
			g.refused.Add(1)
		}
		done <- err
	})
	return done
}

// flood guesses once from each address, until all that may be checked are, and
// the others wait or are refused.
func (g *gate) flood(addresses ...netip.Addr) {
	g.Helper()
	for _, from := range addresses {
		g.login(from, "old", uuid.NewString())
	}
	require.Eventually(g, func() bool {
		return len(g.checking)+g.waiting()+int(g.refused.Load()) == len(addresses)
	}, time.Minute, time.Millisecond)
	for len(g.checking) > 0 {
		<-g.checking
	}
}

func (g *gate) waiting() int {
	g.verifier.turns.mu.Lock()
	defer g.verifier.turns.mu.Unlock()
	return g.verifier.turns.waiting.n
}

// turnOf lets checks through until that of key is at work, and returns how many.
func (g *gate) turnOf(key string) (turns int) {
	g.Helper()
	for {
		require.Positive(g, g.waiting(), "the login of %q was refused", key)
		g.pass <- struct{}{}
		turns++
		if <-g.checking == key {
			return turns
		}
	}
}

// queue logs in and returns once that waits.
func (g *gate) queue(from netip.Addr, key string) {
	g.Helper()
	queued := func() int { return g.waiting() + int(g.refused.Load()) }
	before := queued()
	g.login(from, "old", key)
	require.Eventually(g, func() bool { return queued() == before+1 }, time.Minute, time.Millisecond)
}

// TestGuessingDelaysNoOtherLogin guesses from one address, from many of a network, and
// from more of a /48 than may wait. Logins from elsewhere have their turn soon,
// right logins from among them with no more than what they are used to, and
// random keys wait for nothing.
func TestGuessingDelaysNoOtherLogin(t *testing.T) {
	t.Parallel()
	each := func(n int, address func(i byte, j byte) netip.Addr) (all []netip.Addr) {
		for i := range n {
			all = append(all, address(byte(i>>8), byte(i)))
		}
		return all
	}
	for name, hostile := range map[string][]netip.Addr{
		"one address": slices.Repeat([]netip.Addr{netip.MustParseAddr("127.0.0.2")}, 200),
		"a network":   each(90, func(i, j byte) netip.Addr { return netip.AddrFrom4([4]byte{127, 0, i, j}) }),
		"a /48": each(300, func(i, j byte) netip.Addr {
			return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, 0, i, j, 15: 1})
		}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGate(t, hostile[0])
			_, key, err := g.Create(t.Context(), Tenant{Name: "random"})
			require.NoError(t, err)
			g.verifier.turns.most = 100
			g.flood(hostile...)
			require.LessOrEqual(t, g.waiting(), g.verifier.turns.most)
			if name == "one address" {
				require.Equal(t, addressWaiting, g.waiting())
			}
			require.NoError(t, <-g.login(hostile[0], "random", key.String()), "a key that costs nothing waits for nothing")
			g.queue(netip.MustParseAddr("192.0.2.1"), "a newcomer's")
			require.LessOrEqual(t, g.turnOf("a newcomer's"), 3)
			if name == "one address" {
				return // it is full of what it does itself
			}
			g.queue(hostile[0], "chosen")
			require.LessOrEqual(t, g.turnOf("chosen"), 4)
		})
	}
}

// TestWaitingEnds with the context of a login, and a turn that comes too late goes
// to the next login.
func TestWaitingEnds(t *testing.T) {
	t.Parallel()
	turns := newTurns(1)
	at := placeOf(netip.MustParseAddr("192.0.2.1"), false)
	require.NoError(t, turns.take(t.Context(), at, false))
	tired, cancel := context.WithCancel(t.Context())
	cancel()
	for range 2 * addressWaiting {
		require.ErrorIs(t, turns.take(tired, at, false), fault.Unavailable)
	}
	require.Zero(t, turns.waiting.n)
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if i%2 == 0 {
				go cancel() // about when its turn comes
			}
			if turns.take(ctx, at, true) == nil {
				turns.done()
			}
		})
	}
	turns.done()
	wg.Wait()
	require.Equal(t, 1, turns.free)
	require.Zero(t, turns.waiting.n)
}
