package tenant

import (
	"crypto/sha256"
	"fmt"
	"math"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"

	"github.com/duffy-ci/duffy/internal/fault"
)

// How many failed logins there may be at once, and how soon another one: as a
// tenant from an address, and from an address altogether, which is for somebody
// who tries many names. There is no budget of a tenant from everywhere, which
// anybody could use up to lock it out.
const (
	pairFailures    = 10
	pairRefill      = 15 * time.Second
	addressFailures = 100
	addressRefill   = 2 * time.Second
)

// throttled is how many addresses, and pairs of one with a tenant, are kept in
// mind: a few megabytes. Those that failed least recently are forgotten first,
// and have their whole budget back then. To be forgotten sooner than by waiting,
// somebody would have to fail as thousands of others: of these pairs each address
// has no more than its own budget allows, and who has thousands of addresses has
// their budgets anyway.
const throttled = 1 << 14

// A limiter keeps those from guessing who failed to log in too often.
type limiter struct {
	pairs, addresses *throttle
}

func newLimiter() limiter {
	return limiter{newThrottle(pairFailures, pairRefill), newThrottle(addressFailures, addressRefill)}
}

// A login is from where somebody logs in and as whom.
type login struct {
	from netip.Addr // the zero value is not limited
	name string
}

// newLogin takes a whole network of IPv6 for one address, as anybody has one.
func newLogin(from netip.Addr, name string) login {
	from = from.Unmap().WithZone("")
	if from.Is6() {
		from = netip.PrefixFrom(from, 64).Masked().Addr()
	}
	return login{from, name}
}

// check returns a fault.TooMany if l has to wait.
func (lim limiter) check(l login, now time.Time) error {
	if !l.from.IsValid() {
		return nil
	}
	wait := max(lim.pairs.wait(l.pair(), now), lim.addresses.wait(l.address(), now))
	if wait <= 0 {
		return nil
	}
	wait = time.Duration(math.Ceil(wait.Seconds())) * time.Second
	return &fault.Error{
		Kind: fault.TooMany, RetryAfter: wait,
		Detail: fmt.Sprintf("too many failed logins, try again in %.0f s", wait.Seconds()),
	}
}

// failed counts a login that failed.
func (lim limiter) failed(l login, now time.Time) {
	if l.from.IsValid() {
		lim.pairs.spend(l.pair(), now)
		lim.addresses.spend(l.address(), now)
	}
}

// digest has a size that does not depend on what others call themselves.
type digest [sha256.Size]byte

func (l login) pair() digest    { return sha256.Sum256([]byte(l.from.String() + " " + l.name)) }
func (l login) address() digest { return sha256.Sum256([]byte(l.from.String())) }

// A throttle has a budget for each of the keys that spent something lately.
type throttle struct {
	most  int
	every time.Duration

	mu      sync.Mutex
	budgets *simplelru.LRU[digest, *rate.Limiter]
}

func newThrottle(most int, every time.Duration) *throttle {
	budgets, err := simplelru.NewLRU[digest, *rate.Limiter](throttled, nil)
	if err != nil {
		panic(err) // only for sizes below 1
	}
	return &throttle{most: most, every: every, budgets: budgets}
}

// wait returns how long it takes until key can spend something.
func (t *throttle) wait(key digest, now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	budget, ok := t.budgets.Peek(key)
	if !ok {
		return 0
	}
	return time.Duration((1 - budget.TokensAt(now)) * float64(t.every))
}

func (t *throttle) spend(key digest, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	budget, ok := t.budgets.Get(key)
	if !ok {
		budget = rate.NewLimiter(rate.Every(t.every), t.most)
		t.budgets.Add(key, budget)
	}
	budget.AllowN(now, 1)
}
