// Package chaos_test shows that Duffy survives anything: it runs real processes,
// PostgreSQL, playbooks and a cloud of SSH servers, puts load on them, breaks them
// at random instants, and looks what became of nodes, sessions and keys.
package chaos_test

import (
	"flag"
	"math/rand/v2"
	"testing"
	"time"
)

var (
	seed    = flag.Uint64("chaos.seed", 2, "what decides about the faults")
	rounds  = flag.Int("chaos.rounds", 2, "how many rounds to play")
	only    = flag.String("chaos.only", "", "which kinds of faults there are, with commas between them, instead of all")
	playFor = flag.Duration("chaos.for", 0, "play rounds for this long instead")
)

// TestChaos breaks many processes that share a PostgreSQL database.
func TestChaos(t *testing.T) {
	t.Parallel()
	play(t, startCluster(t))
}

// TestChaosWithRedis has jobs in Redis, which loses them.
func TestChaosWithRedis(t *testing.T) {
	t.Parallel()
	play(t, startClusterWithRedis(t))
}

// TestChaosOfOne breaks the one process that does everything on SQLite.
func TestChaosOfOne(t *testing.T) {
	t.Parallel()
	play(t, startOne(t))
}

// play plays rounds. In each, faults begin and end at random instants; then
// everything has to move again, and to come to rest without anything out of place.
func play(t *testing.T, c *cluster) {
	f := &figures{faults: map[string]int{}, outcomes: map[string]int{}}
	crowd := c.newCrowd(t, f)
	begin := time.Now()
	for n := 0; n < *rounds && *playFor == 0 || time.Since(begin) < *playFor; n++ {
		random := rand.New(rand.NewPCG(*seed, uint64(n)))
		f.rounds++
		t.Logf("round %d", f.rounds)
		playRound(t, c, crowd, f, random)
		if t.Failed() {
			break
		}
	}
	f.took = time.Since(begin)
	f.restarts = c.restarts()
	t.Logf("%s", f)
	for _, line := range c.logged(`"request failed"`) {
		t.Logf("answered 500: %s", line)
	}
	for _, line := range c.logged("panic", "DATA RACE") {
		t.Errorf("a program is wrong: %s", line)
	}
}

func playRound(t *testing.T, c *cluster, crowd *crowd, f *figures, random *rand.Rand) {
	crowd.come(t)
	c.suffer(t, plan(random, c.suffers), f)
	ended := time.Now()
	crowd.untilServed(t, ended)
	serving := time.Since(ended)
	crowd.leave()
	c.untilAtRest(t, crowd)
	atRest := time.Since(ended)
	c.checkAtRest(t, crowd)
	t.Logf("a session after %s, at rest after %s", serving.Round(glance), atRest.Round(glance))
	f.serving, f.atRest = max(f.serving, serving), max(f.atRest, atRest)
}
