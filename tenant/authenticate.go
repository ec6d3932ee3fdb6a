package tenant

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"github.com/hashicorp/golang-lru/v2/expirable"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"

	"github.com/duffy-ci/duffy/internal/fault"
)

// How many credentials are remembered as right, and for how long after they were
// last used. A changed key or a retired tenant is noticed at once all the same.
const (
	verifiedMax = 4096
	verifiedFor = 10 * time.Minute
)

// Authenticate returns the active tenant called name whose API key is key. An
// unknown tenant and a wrong key are the same fault.Unauthenticated after the
// same time; a retired tenant with the right key is a fault.Forbidden.
func (s *Service) Authenticate(ctx context.Context, name, key string) (*Tenant, error) {
	return s.AuthenticateFrom(ctx, netip.Addr{}, name, key)
}

// AuthenticateFrom is Authenticate for somebody at an address, from which only so
// many logins may fail: a fault.TooMany says how long to wait, and the key has
// not been looked at then. Credentials that were right within the last ten
// minutes go on working: one broken script does not shut out the others behind
// its address. The zero address is not limited.
func (s *Service) AuthenticateFrom(ctx context.Context, from netip.Addr, name, key string) (*Tenant, error) {
	t, err := s.GetByName(ctx, name)
	if err != nil && !errors.Is(err, fault.NotFound) {
		return nil, err
	}
	hash := s.noKey
	if t != nil {
		hash = t.APIKeyHash
	}
	right, err := s.verifier.verify(ctx, newLogin(from, name), hash, key)
	switch {
	case err != nil:
		return nil, err
	case t == nil || !right:
		return nil, fault.Newf(fault.Unauthenticated, "Unauthorized")
	case !t.Active():
		return nil, fault.Newf(fault.Forbidden, "Forbidden")
	}
	return t, nil
}

// noKey returns a hash that stands in for that of an unknown tenant, and takes as
// long to check. Nobody knows a key that it matches.
func noKey(cost int) string {
	return fmt.Sprintf("$2a$%02d$8Wft9o.Tw67UjX0dbK19eer93knb0ugCBHDkJ1KTmdZtaz/YvGuTC", cost)
}

// How long a login waits for its turn to be checked.
const checkPatience = 10 * time.Second

// A verifier checks keys against bcrypt hashes, which takes a quarter of a
// second of CPU each, and remembers the right ones.
type verifier struct {
	compare  func(hash, key []byte) error
	now      func() time.Time
	secret   [sha256.Size]byte
	verified *expirable.LRU[[sha256.Size]byte, struct{}]
	checks   singleflight.Group
	running  *semaphore.Weighted
	limiter  limiter
}

func newVerifier(now func() time.Time) *verifier {
	v := &verifier{
		compare:  bcrypt.CompareHashAndPassword,
		now:      now,
		verified: expirable.NewLRU[[sha256.Size]byte, struct{}](verifiedMax, nil, verifiedFor),
		running:  semaphore.NewWeighted(int64(runtime.GOMAXPROCS(0))),
		limiter:  newLimiter(),
	}
	rand.Read(v.secret[:])
	return v
}

// verify tells whether key has the given hash. Since the hash is part of what is
// remembered, a changed key stops matching at once. Requests share a check only
// if they are from one address: others may have to wait.
func (v *verifier) verify(ctx context.Context, l login, hash, key string) (bool, error) {
	id := v.id(l.name, hash, key)
	if _, ok := v.verified.Get(id); ok {
		v.verified.Add(id, struct{}{})
		return true, nil
	}
	if err := v.limiter.check(l, v.now()); err != nil {
		return false, err
	}
	checked := v.checks.DoChan(string(id[:])+l.from.String(), func() (any, error) {
		return v.check(id, l, hash, key)
	})
	select {
	case r := <-checked:
		return r.Val.(bool), r.Err
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// check may serve several requests at once, so it has a patience of its own. Its
// turn may come after many others of the same login have failed.
func (v *verifier) check(id [sha256.Size]byte, l login, hash, key string) (bool, error) {
	ctx, cancel := context.WithTimeout(context.Background(), checkPatience)
	defer cancel()
	if err := v.running.Acquire(ctx, 1); err != nil {
		return false, fault.Wrap(fault.Unavailable, err, "too many logins at once, try again")
	}
	defer v.running.Release(1)
	if err := v.limiter.check(l, v.now()); err != nil {
		return false, err
	}
	if v.compare([]byte(hash), []byte(key)) != nil {
		v.limiter.failed(l, v.now())
		return false, nil
	}
	v.verified.Add(id, struct{}{})
	return true, nil
}

func (v *verifier) id(name, hash, key string) (id [sha256.Size]byte) {
	mac := hmac.New(sha256.New, v.secret[:])
	for _, part := range []string{name, hash, key} {
		sum := sha256.Sum256([]byte(part))
		mac.Write(sum[:])
	}
	mac.Sum(id[:0])
	return id
}
