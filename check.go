package duffy

import (
	"context"
	"errors"
	"fmt"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/backend/ssh"
	"github.com/duffy-ci/duffy/pool"
)

// CheckPools reports pools whose backend does not exist or says that they are
// misconfigured, with file and line where the configuration comes from files. A
// mistake that several pools inherit is reported once.
func (c Config) CheckPools(opts Options) error {
	backends := c.backends(opts, nil)
	return errors.Join(c.eachPool(func(p *pool.Config) error {
		b := backends[p.Backend]
		if b == nil {
			return &backend.SettingError{
				Path: []string{"mechanism", "type"},
				Err:  fmt.Errorf("there is no backend called %q", p.Backend),
			}
		}
		if checker, ok := b.(backend.Checker); ok {
			return checker.Check(backendPool(p))
		}
		return nil
	})...)
}

// ProbePools reports pools whose backends find that programs which they run are
// missing, or do not do what they must. It takes a second or so, and reports errors
// like CheckPools.
func (c Config) ProbePools(ctx context.Context, opts Options) error {
	return c.probe(ctx, c.backends(opts, nil))
}

func (c Config) probe(ctx context.Context, backends map[string]backend.Backend) error {
	return errors.Join(c.eachPool(func(p *pool.Config) error {
		if prober, ok := backends[p.Backend].(backend.Prober); ok {
			return prober.Probe(ctx, backendPool(p))
		}
		return nil
	})...)
}

// CheckKeys returns an error if a key in the configuration cannot be read, and a warning
// if there is none at all to log in to nodes with. Both are about the user of this process.
func (c Config) CheckKeys(ctx context.Context) (warning, err error) {
	contextualizer, err := ssh.New(c.SSH)
	if err != nil {
		return nil, err
	}
	return contextualizer.Ready(ctx), nil
}

// Warnings tells what is allowed in the pools' configuration but likely a mistake, with
// file and line as those of CheckPools.
func (c Config) Warnings(opts Options) []error {
	backends := c.backends(opts, nil)
	return c.eachPool(func(p *pool.Config) error {
		if !p.Reuses() || p.Reinstalls != nil || p.ReinstalledBy(backends[p.Backend]) {
			return nil
		}
		return &backend.SettingError{Path: []string{"reuse-nodes"}, Err: errNotReinstalled}
	})
}

var errNotReinstalled = errors.New("nothing reinstalls machines before they are reused, since there is no deprovision playbook: " +
	"they keep what tenants left, and those whose tenant may still have access fail. " +
	"Say reinstalls: true if provisioning reinstalls them, false to do without")

// eachPool returns the errors that fn returns for the pools, each once, with their
// places.
func (c Config) eachPool(fn func(*pool.Config) error) []error {
	var errs []error
	reported := map[string]bool{}
	for _, p := range c.Pools.Concrete() {
		for _, err := range split(c.files.place(p.Name, fn(p))) {
			if text := err.Error(); !reported[text] {
				reported[text] = true
				errs = append(errs, err)
			}
		}
	}
	return errs
}

func backendPool(p *pool.Config) backend.Pool {
	return backend.Pool{Name: p.Name, Settings: p.Settings, Vars: p.Vars}
}
