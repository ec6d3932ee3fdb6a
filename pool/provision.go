package pool

import (
	"cmp"
	"context"
	"net"
	"sync"
	"time"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/internal/foreign"
)

// provision runs a pool's backend for those nodes of j that are provisioning and
// that nobody works on.
func (s *Service) provision(ctx context.Context, j provisionJob) error {
	installation, err := s.Installation(ctx)
	if err != nil {
		return err // before anything is claimed: it is no fault of nodes
	}
	owner := NewOwner()
	nodes, err := s.claim(ctx, Provisioning, owner, j.Pool, j.Nodes)
	if err != nil || len(nodes) == 0 {
		return err
	}
	held, release := s.HoldLease(ctx, owner)
	defer release()
	began := time.Now()
	r := s.run(held, owner, j.Pool, installation, nodes, backend.Backend.Provision, (*Config).provisionTimeout)
	var seen map[int64]backend.Inspection
	if r.err == nil {
		seen = s.inspect(held, r.config, nodes, r.got)
	}
	s.nameGuesses(ctx, r.got)
	all, err := s.settleProvisioned(ctx, r, seen)
	s.metrics.ran(r, Provisioning, began, count(all, getsReady)+count(all, waits))
	return err
}

const lookupTimeout = 2 * time.Second

// nameGuesses names machines that the backend gave no name as their addresses are named, if
// they are.
func (s *Service) nameGuesses(ctx context.Context, got []backend.Node) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookupTimeout)
	defer cancel()
	var all sync.WaitGroup
	for i := range got {
		if n := &got[i]; n.Hostname == "" && n.IPAddr != "" {
			all.Go(func() { n.Hostname = lookup(ctx, n.IPAddr) })
		}
	}
	all.Wait()
}

// lookup returns the name of an address, or the address if it has none.
func lookup(ctx context.Context, ipaddr string) string {
	if names, err := net.DefaultResolver.LookupAddr(ctx, ipaddr); err == nil && len(names) > 0 {
		return cmp.Or(foreign.Hostname(names[0]), ipaddr)
	}
	return ipaddr
}
