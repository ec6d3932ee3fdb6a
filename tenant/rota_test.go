package tenant

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestNewcomersSoonHaveTheirTurn has any number of addresses keep their queues
// full. However they do that, a login that comes later waits for one of each
// network in its class, and in its own network for one of each address.
func TestNewcomersSoonHaveTheirTurn(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var waiting rota
		from := rapid.Custom(func(t *rapid.T) place {
			v6 := rapid.Bool().Draw(t, "v6")
			network, host := rapid.ByteRange(0, 20).Draw(t, "network"), rapid.ByteRange(0, 20).Draw(t, "host")
			addr := netip.AddrFrom4([4]byte{10, network, 0, host})
			if v6 {
				addr = newLogin(netip.AddrFrom16([16]byte{0x20, 1, 0, 0, 0, network, 0, host, 15: 1}), "").from
			}
			return placeOf(addr, rapid.Bool().Draw(t, "known"))
		})
		hostile := rapid.SliceOfNDistinct(from, 1, 60, func(p place) place { return p }).Draw(t, "hostile")
		fill := func() {
			for _, at := range hostile {
				for waiting.at(at[:]...) < 3 {
					waiting.push(&waiter{at: at}, at[:]...)
				}
			}
		}
		fill()
		for range rapid.IntRange(0, 200).Draw(t, "turns before") {
			waiting.pop()
			fill()
		}
		newcomer := &waiter{at: from.Filter(func(p place) bool { return !slices.Contains(hostile, p) }).Draw(t, "newcomer")}
		classes, networks, addresses := map[string]bool{}, map[string]bool{}, 1
		for _, at := range append(hostile, newcomer.at) {
			classes[at[0]] = true
			if at[0] == newcomer.at[0] {
				networks[at[1]] = true
			}
		}
		for _, at := range hostile {
			if at[0] == newcomer.at[0] && at[1] == newcomer.at[1] {
				addresses++
			}
		}
		waiting.push(newcomer, newcomer.at[:]...)
		turns := 1
		for ; waiting.pop() != newcomer; turns++ {
			fill()
		}
		if most := len(classes) * len(networks) * addresses; turns > most {
			t.Fatalf("the newcomer had the turn %d, of at most %d", turns, most)
		}
	})
}

// TestRotaKeepsCount does anything in any order.
func TestRotaKeepsCount(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var r rota
		var in []*waiter
		gone := func(w *waiter) { in = slices.DeleteFunc(in, func(other *waiter) bool { return other == w }) }
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				w := &waiter{}
				for i := range w.at {
					w.at[i] = rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name")
				}
				r.push(w, w.at[:]...)
				in = append(in, w)
			},
			"pop": func(t *rapid.T) {
				if len(in) == 0 {
					t.Skip()
				}
				w := r.pop()
				for _, other := range in {
					if other.at == w.at {
						require.Same(t, other, w, "first come, first served at a place")
						break
					}
				}
				gone(w)
			},
			"remove": func(t *rapid.T) {
				if len(in) == 0 {
					t.Skip()
				}
				w := rapid.SampledFrom(in).Draw(t, "waiter")
				r.remove(w, w.at[:]...)
				gone(w)
			},
			"longest": func(t *rapid.T) {
				if len(in) == 0 {
					t.Skip()
				}
				w := r.longest()
				require.Contains(t, in, w)
				for _, other := range in {
					require.GreaterOrEqual(t, r.at(w.at[0]), r.at(other.at[0]))
				}
			},
			"": func(t *rapid.T) {
				require.Equal(t, len(in), r.n)
				for _, w := range in {
					n := 0
					for _, other := range in {
						if other.at == w.at {
							n++
						}
					}
					require.Equal(t, n, r.at(w.at[:]...))
				}
			},
		})
		for len(in) > 0 {
			gone(r.pop())
		}
		require.Zero(t, r.n)
		require.Empty(t, r.names)
		require.Empty(t, r.below)
	})
}
