package chaos_test

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A fault is something that goes wrong for a while.
type fault struct {
	kind   string
	at     time.Duration // from the beginning of the round
	lasts  time.Duration
	victim int // chooses one of several
}

// A kind of fault says what it is about, how long one lasts, and what it is.
type kind struct {
	about
	shortest, longest time.Duration
	begin, end        func(c *cluster, t *testing.T, victim int)
}

// What faults can be about; those about the same thing come one after the other.
type about string

const (
	ofServe    about = "serve"
	ofWorker   about = "worker"
	ofDatabase about = "database"
	ofNetwork  about = "network"
	ofRedis    about = "Redis"
	ofCloud    about = "cloud"
)

// A process that is stopped or cut off for longest has lost its leases, which
// last 30 s.
const longerThanALease = 45 * time.Second

// Hung playbooks of one that is stopped do what they were told when others have
// long taken over the nodes, unless somebody stops them.
const longerThanATakeover = 75 * time.Second

var kinds = map[string]kind{
	"kill -9 serve":                 {ofServe, 0, 5 * time.Second, killed(serving), started(serving)},
	"kill -9 worker":                {ofWorker, 0, 5 * time.Second, killed(working), started(working)},
	"stop serve":                    {ofServe, 35 * time.Second, longerThanALease, signalled(serving, syscall.SIGSTOP), signalled(serving, syscall.SIGCONT)},
	"stop worker":                   {ofWorker, 35 * time.Second, longerThanATakeover, signalled(working, syscall.SIGSTOP), signalled(working, syscall.SIGCONT)},
	"stop worker and its playbooks": {ofWorker, 35 * time.Second, longerThanATakeover, allSignalled(working, syscall.SIGSTOP), allSignalled(working, syscall.SIGCONT)},

	"restart serve":  {ofServe, 0, 0, terminated(serving), started(serving)},
	"restart worker": {ofWorker, 0, 0, terminated(working), started(working)},

	"kill -9 database": {
		ofDatabase, 0, 15 * time.Second,
		func(c *cluster, t *testing.T, _ int) { c.postgres.Kill(t) },
		func(c *cluster, t *testing.T, _ int) { c.postgres.Start(t) },
	},
	"restart database": {
		ofDatabase, 0, 5 * time.Second,
		func(c *cluster, t *testing.T, _ int) { c.postgres.Stop(t) },
		func(c *cluster, t *testing.T, _ int) { c.postgres.Start(t) },
	},

	"stop database": {
		ofDatabase, 5 * time.Second, longerThanALease,
		func(c *cluster, t *testing.T, _ int) { c.postgres.Pause(t) },
		func(c *cluster, t *testing.T, _ int) { c.postgres.Resume(t) },
	},

	"Redis loses everything": {
		ofRedis, 0, 20 * time.Second,
		func(c *cluster, _ *testing.T, _ int) { c.redis.Stop() },
		func(c *cluster, t *testing.T, _ int) { c.redis.Start(t) },
	},

	"cut connections to database": {ofNetwork, 0, 0, func(c *cluster, _ *testing.T, _ int) {
		for _, p := range c.proxies {
			p.cut()
		}
	}, nil},
	"serve without database": {
		ofNetwork, 10 * time.Second, longerThanALease,
		func(c *cluster, _ *testing.T, v int) { c.proxies[serving(c, v)].stall(true) },
		func(c *cluster, _ *testing.T, v int) { c.proxies[serving(c, v)].stall(false) },
	},
	"worker without database": {
		ofNetwork, 10 * time.Second, longerThanALease,
		func(c *cluster, _ *testing.T, v int) { c.proxies[working(c, v)].stall(true) },
		func(c *cluster, _ *testing.T, v int) { c.proxies[working(c, v)].stall(false) },
	},

	"cloud slow":          {ofCloud, 10 * time.Second, 30 * time.Second, wrong(func(f *cloudFaults) { f.Delay = 5 * time.Second }), wrong(func(f *cloudFaults) { f.Delay = 0 })},
	"cloud fails":         {ofCloud, 5 * time.Second, 30 * time.Second, wrong(func(f *cloudFaults) { f.FailBefore = true }), wrong(func(f *cloudFaults) { f.FailBefore = false })},
	"cloud seems to fail": {ofCloud, 5 * time.Second, 30 * time.Second, wrong(func(f *cloudFaults) { f.FailAfter = true }), wrong(func(f *cloudFaults) { f.FailAfter = false })},
	"playbooks hang":      {ofCloud, 10 * time.Second, longerThanATakeover, wrong(func(f *cloudFaults) { f.Hang = true }), wrong(func(f *cloudFaults) { f.Hang = false })},
	"nodes unreachable":   {ofCloud, 5 * time.Second, 20 * time.Second, wrong(func(f *cloudFaults) { f.Unreachable = 2 }), wrong(func(f *cloudFaults) { f.Unreachable = 0 })},
	"cloud and nodes stopped": {
		ofCloud, 5 * time.Second, 20 * time.Second,
		func(c *cluster, _ *testing.T, _ int) { c.cloud.signal(syscall.SIGSTOP) },
		func(c *cluster, _ *testing.T, _ int) { c.cloud.signal(syscall.SIGCONT) },
	},
}

func serving(c *cluster, victim int) *process { return c.serving[victim%len(c.serving)] }
func working(c *cluster, victim int) *process { return c.workers[victim%len(c.workers)] }

type choose func(c *cluster, victim int) *process

func killed(of choose) func(*cluster, *testing.T, int) {
	return func(c *cluster, _ *testing.T, v int) { of(c, v).end(syscall.SIGKILL) }
}

func terminated(of choose) func(*cluster, *testing.T, int) {
	return func(c *cluster, _ *testing.T, v int) { of(c, v).end(syscall.SIGTERM) }
}

func started(of choose) func(*cluster, *testing.T, int) {
	return func(c *cluster, t *testing.T, v int) { of(c, v).start(t) }
}

func signalled(of choose, signal syscall.Signal) func(*cluster, *testing.T, int) {
	return func(c *cluster, _ *testing.T, v int) { of(c, v).signal(signal) }
}

func allSignalled(of choose, signal syscall.Signal) func(*cluster, *testing.T, int) {
	return func(c *cluster, _ *testing.T, v int) { of(c, v).signalAll(signal) }
}

func wrong(change func(*cloudFaults)) func(*cluster, *testing.T, int) {
	return func(c *cluster, t *testing.T, _ int) {
		change(&c.wrong)
		c.tellCloud(t)
	}
}

// plan decides about the faults of a round.
func plan(random *rand.Rand, possible []about) []fault {
	var names []string
	for name, k := range kinds {
		if slices.Contains(possible, k.about) && (*only == "" || slices.Contains(strings.Split(*only, ","), name)) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	random.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	faults := make([]fault, min(2+random.IntN(3), len(names)))
	for i := range faults {
		k := kinds[names[i]]
		faults[i] = fault{
			kind: names[i], victim: random.IntN(2),
			at:    time.Duration(random.Int64N(int64(15 * time.Second))),
			lasts: k.shortest + time.Duration(random.Int64N(int64(k.longest-k.shortest)+1)),
		}
	}
	return apart(faults)
}

// apart has faults that are about the same thing come one after the other.
func apart(faults []fault) []fault {
	slices.SortFunc(faults, func(a, b fault) int { return cmp.Compare(a.at, b.at) })
	type thing struct {
		about
		number int
	}
	free := map[thing]time.Duration{}
	for i, f := range faults {
		thing := thing{about: kinds[f.kind].about}
		if thing.about == ofServe || thing.about == ofWorker {
			thing.number = f.victim
		}
		faults[i].at = max(f.at, free[thing])
		free[thing] = faults[i].at + f.lasts
	}
	return faults
}

// suffer has the faults begin and end.
func (c *cluster) suffer(t *testing.T, faults []fault, f *figures) {
	type event struct {
		at time.Duration
		do func(*cluster, *testing.T, int)
		fault
		what string
	}
	var events []event
	for _, fault := range faults {
		k := kinds[fault.kind]
		f.faults[fault.kind]++
		events = append(events, event{fault.at, k.begin, fault, "begins"}, event{fault.at + fault.lasts, k.end, fault, "ends"})
	}
	slices.SortStableFunc(events, func(a, b event) int { return cmp.Compare(a.at, b.at) })
	begin := time.Now()
	for _, e := range events {
		time.Sleep(time.Until(begin.Add(e.at)))
		if e.do != nil {
			t.Logf("%s %5.1f s: %s %s (%d)", time.Now().Format("15:04:05"), time.Since(begin).Seconds(), e.kind, e.what, e.victim)
			e.do(c, t, e.victim)
		}
	}
}
