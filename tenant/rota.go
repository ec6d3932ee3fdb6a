package tenant

import "slices"

// A rota is a fair queue. Each waiter queues under a list of names: the first names
// take turns, and the turns of a name go round the next names below it in the same
// way. The zero value is empty.
type rota struct {
	n       int              // waiters, at this level and below
	names   []string         // with waiters, the next one first
	below   map[string]*rota // by name
	waiters []*waiter        // at the last level, first come first
}

// A waiter waits for its turn at a place.
type waiter struct {
	at   place
	turn chan error // gets one value: nil for its turn, or why there is none
}

// at returns the number of waiters under these names.
func (r *rota) at(names ...string) int {
	for _, name := range names {
		if r = r.below[name]; r == nil {
			return 0
		}
	}
	return r.n
}

// push adds w under these names, behind the waiters there.
func (r *rota) push(w *waiter, names ...string) {
	r.n++
	if len(names) == 0 {
		r.waiters = append(r.waiters, w)
		return
	}
	next := r.below[names[0]]
	if next == nil {
		if r.below == nil {
			r.below = map[string]*rota{}
		}
		next = &rota{}
		r.below[names[0]] = next
		r.names = append(r.names, names[0])
	}
	next.push(w, names[1:]...)
}

// pop removes and returns the waiter whose turn it is. The rota must not be empty.
func (r *rota) pop() *waiter {
	r.n--
	if len(r.names) == 0 {
		w := r.waiters[0]
		r.waiters = r.waiters[1:]
		return w
	}
	name := r.names[0]
	r.names = append(r.names[1:], name)
	w := r.below[name].pop()
	r.forget(name)
	return w
}

// longest returns the last waiter of the longest queue: of the name with the most
// waiters, and below it likewise. The rota must not be empty.
func (r *rota) longest() *waiter {
	if len(r.names) == 0 {
		return r.waiters[len(r.waiters)-1]
	}
	most := slices.MaxFunc(r.names, func(a, b string) int { return r.below[a].n - r.below[b].n })
	return r.below[most].longest()
}

// remove removes w, which waits under these names.
func (r *rota) remove(w *waiter, names ...string) {
	r.n--
	if len(names) == 0 {
		r.waiters = slices.DeleteFunc(r.waiters, func(other *waiter) bool { return other == w })
		return
	}
	r.below[names[0]].remove(w, names[1:]...)
	r.forget(names[0])
}

// forget removes a name without waiters.
func (r *rota) forget(name string) {
	if r.below[name].n == 0 {
		delete(r.below, name)
		r.names = slices.DeleteFunc(r.names, func(other string) bool { return other == name })
	}
}
