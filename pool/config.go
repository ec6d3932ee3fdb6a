package pool

import (
	"fmt"
	"time"

	"github.com/duffy-ci/duffy/backend"
)

// Default time limits of one run of a pool's backend.
const (
	DefaultProvisionTimeout   = 20 * time.Minute
	DefaultDeprovisionTimeout = 20 * time.Minute
)

// What becomes of a node whose provisioning was interrupted by a crash, if it is
// of a pool whose nodes are thrown away: an instance may exist that nobody knows.
const (
	OnInterruptedFail  = "fail"  // the node fails, for an operator to look at
	OnInterruptedRetry = "retry" // the backend is asked again for the same node
)

// A Config is the configuration of one pool. Of a zero Config only Name and
// Backend have to be set to make a pool that is never filled.
type Config struct {
	Name string

	// Abstract pools exist to be extended. Nothing is provisioned for them.
	Abstract bool

	// FillLevel is how many nodes are kept ready or on their way to it. nil means
	// that the pool is neither filled nor listed.
	FillLevel *int

	// ReuseNodes selects the unused reusable nodes that may be provisioned for
	// this pool: each value is a string or an int64 and must equal the one of the
	// same name in the node's data. Empty means that the pool makes new nodes and
	// throws them away after use.
	ReuseNodes map[string]any

	// Together has the backend run once for all nodes that are due, instead of
	// once for each (the configuration's run-parallel: false).
	Together bool

	// ProvisionTimeout and DeprovisionTimeout limit one run of the backend; zero
	// means the default.
	ProvisionTimeout   time.Duration
	DeprovisionTimeout time.Duration

	// OnInterrupted is OnInterruptedFail if empty. OnInterruptedRetry also says that
	// the backend finds what exists of a node by its id alone, to deprovision it too.
	OnInterrupted string

	// HostKeys says which host keys the contextualizer accepts of the pool's nodes;
	// empty leaves it to the contextualizer.
	HostKeys backend.HostKeys

	// Reinstalls tells that nothing of what a tenant did to a reusable node is left
	// when the next one gets it. nil means that the backend sees to it when it
	// deprovisions nodes, unless it is a [backend.Keeper] and says otherwise. A node
	// that is not reinstalled is reused only if its tenant is provably locked out.
	Reinstalls *bool

	// Backend names the backend, Settings is the section of that name, see
	// [backend.Pool].
	Backend  string
	Settings map[string]any

	// Vars holds the whole configuration for templates to refer to, see
	// [backend.Pool].
	Vars map[string]any
}

// findsByID tells whether the backend finds what exists of a node by nothing but its id, or
// its name, which has the id in it.
func (c *Config) findsByID() bool { return c != nil && c.OnInterrupted == OnInterruptedRetry }

// Reuses tells whether the pool's nodes go back to be provisioned again.
func (c *Config) Reuses() bool { return len(c.ReuseNodes) > 0 }

// ReinstalledBy tells whether nothing of what tenants did to the pool's nodes is left
// when they are reused, where b is the pool's backend.
func (c *Config) ReinstalledBy(b backend.Backend) bool {
	if c.Reinstalls != nil {
		return *c.Reinstalls
	}
	keeper, ok := b.(backend.Keeper)
	return !ok || !keeper.Keeps(c.backendPool())
}

func (c *Config) provisionTimeout() time.Duration {
	if c.ProvisionTimeout > 0 {
		return c.ProvisionTimeout
	}
	return DefaultProvisionTimeout
}

func (c *Config) deprovisionTimeout() time.Duration {
	if c.DeprovisionTimeout > 0 {
		return c.DeprovisionTimeout
	}
	return DefaultDeprovisionTimeout
}

func (c *Config) backendPool() backend.Pool {
	return backend.Pool{Name: c.Name, Settings: c.Settings, Vars: c.Vars}
}

// A Set is a number of pools with different names, in the order of the
// configuration. It does not change once made.
type Set struct {
	configs []Config
	byName  map[string]*Config
}

// NewSet makes a Set of configs. It refuses two of the same name and
// configurations that make no sense.
func NewSet(configs ...Config) (*Set, error) {
	s := &Set{configs: configs, byName: make(map[string]*Config, len(configs))}
	for i := range configs {
		c := &configs[i]
		switch {
		case c.Name == "":
			return nil, fmt.Errorf("pool number %d has no name", i+1)
		case s.byName[c.Name] != nil:
			return nil, fmt.Errorf("pool %q is defined twice", c.Name)
		case c.Backend == "" && !c.Abstract:
			return nil, fmt.Errorf("pool %q names no backend", c.Name)
		}
		s.byName[c.Name] = c
	}
	return s, nil
}

// Get returns the pool called name, abstract ones included, or nil.
func (s *Set) Get(name string) *Config {
	if s == nil {
		return nil
	}
	return s.byName[name]
}

// Concrete returns the pools that have nodes.
func (s *Set) Concrete() []*Config {
	if s == nil {
		return nil
	}
	var cs []*Config
	for i := range s.configs {
		if c := &s.configs[i]; !c.Abstract {
			cs = append(cs, c)
		}
	}
	return cs
}
