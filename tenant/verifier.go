package tenant

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"runtime"
	"time"

	"github.com/hashicorp/golang-lru/v2/expirable"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sync/singleflight"
)

// How many credentials are remembered as right, and for how long after they were
// last used. A changed key or a retired tenant is noticed at once all the same.
const (
	verifiedMax = 4096
	verifiedFor = 10 * time.Minute
)

// knownFor is how long after a right login others as the same tenant from the same
// address have turns apart from those of strangers.
const knownFor = 7 * 24 * time.Hour

// checkPatience is how long a login waits for its turn to be checked.
const checkPatience = 30 * time.Second

// longestRest is how long nothing is checked at most after a wrong key.
const longestRest = time.Second

// A verifier checks keys. Keys with a hash of their own take microseconds. A bcrypt
// hash takes a quarter of a second of CPU: half of the processors do that at most,
// and logins take turns.
type verifier struct {
	compare  func(hash, key []byte) error
	now      func() time.Time
	secret   [sha256.Size]byte
	verified *expirable.LRU[digest, string]   // what is stored of a key that was right
	known    *expirable.LRU[digest, struct{}] // address and tenant of logins that were right
	checks   singleflight.Group
	turns    *turns
	patience time.Duration // with which a login waits for its turn
	limiter  limiter
}

func newVerifier(now func() time.Time) *verifier {
	v := &verifier{
		compare:  bcrypt.CompareHashAndPassword,
		now:      now,
		verified: expirable.NewLRU[digest, string](verifiedMax, nil, verifiedFor),
		known:    expirable.NewLRU[digest, struct{}](verifiedMax, nil, knownFor),
		turns:    newTurns(max(1, runtime.GOMAXPROCS(0)/2)),
		patience: checkPatience,
		limiter:  newLimiter(),
	}
	rand.Read(v.secret[:])
	return v
}

// verify returns the one of keys that key is, or nil. keys are those of one tenant,
// its primary key first. A wrong key always takes one comparison with the bcrypt
// hash of the primary key. Requests share it only if they are from one address:
// others may have to wait.
func (v *verifier) verify(ctx context.Context, l login, keys []*Key, key string) (*Key, error) {
	key = key[:min(len(key), keyMax+1)]
	id := v.id(l.name, key)
	if k := v.remembered(id, keys); k != nil {
		v.right(id, l, k)
		return k, nil
	}
	for _, k := range keys { // random ones cannot be guessed, limited or not
		if k.is(key) {
			v.right(id, l, k)
			return k, nil
		}
	}
	if err := v.limiter.check(l, v.now()); err != nil {
		return nil, err
	}
	primary := keys[0]
	checked := v.checks.DoChan(string(id[:])+primary.stored()+l.from.String(), func() (any, error) {
		return v.check(l, primary.stored(), key)
	})
	select {
	case r := <-checked:
		if r.Err != nil || !r.Val.(bool) {
			return nil, r.Err
		}
		v.right(id, l, primary)
		return primary, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// remembered returns the one of keys that was right lately, or nil.
func (v *verifier) remembered(id digest, keys []*Key) *Key {
	stored, ok := v.verified.Get(id)
	if !ok {
		return nil
	}
	for _, k := range keys {
		if k.stored() == stored {
			return k
		}
	}
	return nil
}

// right remembers a key that was right.
func (v *verifier) right(id digest, l login, k *Key) {
	v.verified.Add(id, k.stored())
	v.known.Add(l.pair(), struct{}{})
}

// check reports whether hash is the bcrypt hash of key. It may serve several requests at
// once, so it has a patience of its own. Its turn may come after many others of
// the same login have failed. After a wrong key the turn rests for as long as checking it
// took: wrong keys one after the other leave time to everything else.
func (v *verifier) check(l login, hash, key string) (bool, error) {
	ctx, cancel := context.WithTimeout(context.Background(), v.patience)
	defer cancel()
	if err := v.turns.take(ctx, placeOf(l.from, v.known.Contains(l.pair())), !l.from.IsValid()); err != nil {
		return false, err
	}
	if err := v.limiter.check(l, v.now()); err != nil {
		v.turns.done()
		return false, err
	}
	began := time.Now()
	wrong := v.compare([]byte(hash), []byte(key)) != nil
	if wrong || checkKey(key) != nil {
		v.limiter.failed(l, v.now())
		time.AfterFunc(min(time.Since(began), longestRest), v.turns.done)
		return false, nil
	}
	v.turns.done()
	return true, nil
}

func (v *verifier) id(name, key string) (id digest) {
	mac := hmac.New(sha256.New, v.secret[:])
	for _, part := range []string{name, key} {
		sum := sha256.Sum256([]byte(part))
		mac.Write(sum[:])
	}
	mac.Sum(id[:0])
	return id
}
