package tenant

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/duffy-ci/duffy/internal/fault"
)

// How many logins wait to be checked, from an address and in all.
const (
	addressWaiting = 64
	allWaiting     = 1024
)

// Errors for logins that are not checked, and may be tried again a second later.
var (
	errAddressWaits = &fault.Error{
		Kind: fault.TooMany, RetryAfter: time.Second,
		Detail: "too many logins at once from this address, try again in 1 s",
	}
	errTooManyWait = &fault.Error{
		Kind: fault.Unavailable, RetryAfter: time.Second,
		Detail: "too many logins at once, try again",
	}
)

// turns limits how many logins are checked at once; the others wait. A login waits
// for at most one of each network and one of each address in its own network,
// however many of theirs wait. If too many wait in all, the last one of the network
// with the most gives up its place.
type turns struct {
	most int // waiting in all

	mu      sync.Mutex
	free    int
	waiting rota
}

func newTurns(atOnce int) *turns { return &turns{most: allWaiting, free: atOnce} }

// A place is where a login waits: logins that were right lately take turns with
// all others; among either, networks take turns, and in each network addresses.
type place [3]string

// placeOf returns the place of logins from an address. Its network is a /48 of
// IPv6 or a /16 of IPv4: what one customer of a provider may have addresses in.
func placeOf(from netip.Addr, known bool) place {
	class, bits := "others", 16
	if known {
		class = "known"
	}
	if from.Is6() {
		bits = 48
	}
	return place{class, netip.PrefixFrom(from, bits).Masked().String(), from.String()}
}

// take waits for a turn, which ends with done. It returns a fault.Unavailable if ctx
// ends before or too many wait in all, and a fault.TooMany if too many wait at this
// place, unless that is unlimited.
func (t *turns) take(ctx context.Context, at place, unlimited bool) error {
	t.mu.Lock()
	if t.free > 0 {
		t.free--
		t.mu.Unlock()
		return nil
	}
	if !unlimited && t.waiting.at(at[:]...) >= addressWaiting {
		t.mu.Unlock()
		return errAddressWaits
	}
	w := &waiter{at, make(chan error, 1)}
	t.waiting.push(w, at[:]...)
	if t.waiting.n > t.most {
		last := t.waiting.longest()
		t.waiting.remove(last, last.at[:]...)
		last.turn <- errTooManyWait
	}
	t.mu.Unlock()
	select {
	case err := <-w.turn:
		return err
	case <-ctx.Done():
		return t.leave(w)
	}
}

// leave removes w, and passes on a turn that came just then.
func (t *turns) leave(w *waiter) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case err := <-w.turn:
		if err == nil {
			t.pass()
		}
	default:
		t.waiting.remove(w, w.at[:]...)
	}
	return errTooManyWait
}

// done ends a turn.
func (t *turns) done() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pass()
}

func (t *turns) pass() {
	if t.waiting.n == 0 {
		t.free++
		return
	}
	t.waiting.pop().turn <- nil
}
