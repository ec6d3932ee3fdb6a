package httpapi

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"

	lru "github.com/hashicorp/golang-lru/v2"
)

// familiarMax is how many credentials are remembered, in less than a megabyte.
const familiarMax = 4096

// familiar remembers credentials that were right, and whose. It decides whose turn
// it is to have them checked, nothing else: they may be wrong by now.
type familiar struct {
	secret [sha256.Size]byte
	whose  *lru.Cache[[sha256.Size]byte, holder]
}

func newFamiliar() *familiar {
	whose, err := lru.New[[sha256.Size]byte, holder](familiarMax)
	if err != nil {
		panic(err) // only for sizes below 1
	}
	f := &familiar{whose: whose}
	rand.Read(f.secret[:])
	return f
}

func (f *familiar) holder(name, key string) (h holder, ok bool) {
	return f.whose.Get(f.digest(name, key))
}

func (f *familiar) add(name, key string, h holder) { f.whose.Add(f.digest(name, key), h) }

func (f *familiar) forget(name, key string) { f.whose.Remove(f.digest(name, key)) }

// digest tells nothing of a key to those who read the memory of the process.
func (f *familiar) digest(name, key string) (sum [sha256.Size]byte) {
	mac := hmac.New(sha256.New, f.secret[:])
	mac.Write([]byte(name + ":" + key)) // as in the header, where no name has a colon
	mac.Sum(sum[:0])
	return sum
}
