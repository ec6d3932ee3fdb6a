package chaos_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// figures are what the rounds were like.
type figures struct {
	rounds   int
	took     time.Duration
	faults   map[string]int // by kind
	restarts int            // of processes that ended by themselves

	serving, atRest time.Duration // the longest from the end of a round's faults

	mu       sync.Mutex
	outcomes map[string]int // of requests
}

// handedOut is the outcome of a request that got its session.
const handedOut = "handed out"

func (f *figures) count(outcome string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.outcomes[outcome]++
}

func (f *figures) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var b strings.Builder
	total := 0
	for _, n := range f.faults {
		total += n
	}
	fmt.Fprintf(&b, "%d rounds in %s, %d faults, %d sessions handed out\n",
		f.rounds, f.took.Round(time.Second), total, f.outcomes[handedOut])
	fmt.Fprintf(&b, "longest from the end of faults: %s to a session, %s to everything in place\n",
		f.serving.Round(100*time.Millisecond), f.atRest.Round(100*time.Millisecond))
	fmt.Fprintf(&b, "processes that ended by themselves: %d\n", f.restarts)
	for title, counts := range map[string]map[string]int{"faults": f.faults, "requests": f.outcomes} {
		fmt.Fprintf(&b, "%s:\n", title)
		for _, kind := range slices.Sorted(maps.Keys(counts)) {
			fmt.Fprintf(&b, "%6d %s\n", counts[kind], kind)
		}
	}
	return b.String()
}
