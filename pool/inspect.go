package pool

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/duffy-ci/duffy/backend"
)

// ForContextualizer returns what contextualizers get to know about n.
func (s *Service) ForContextualizer(n *Node) backend.Node {
	node := n.ForBackend()
	node.Inspection = n.inspection()
	if c := s.cfg.Pools.Get(n.Pool); c != nil {
		node.HostKeys = c.HostKeys
	}
	return node
}

// inspection returns how n was when it was inspected, nil if it never was.
func (n *Node) inspection() *backend.Inspection {
	text, err := json.Marshal(n.Data["ssh"])
	if err != nil {
		return nil
	}
	var i backend.Inspection
	if err := json.Unmarshal(text, &i); err != nil || len(i.HostKeys) == 0 {
		return nil // somebody else's data
	}
	return &i
}

// wasHandedOut tells whether a tenant may have had access to n since it was
// provisioned.
func (n *Node) wasHandedOut() bool { return n.Data["nodes_spec"] != nil }

// inspect looks at nodes that were just provisioned, all at once, and returns what it
// saw of those that answered.
func (s *Service) inspect(ctx context.Context, c *Config, nodes []*Node, results []backend.Node) map[int64]backend.Inspection {
	inspector, ok := s.cfg.Contextualizer.(backend.Inspector)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.InspectTimeout)
	defer cancel()
	got := byID(results)
	var all sync.WaitGroup
	var mu sync.Mutex
	seen := map[int64]backend.Inspection{}
	for _, n := range nodes {
		node := got[n.ID]
		if node.IPAddr == "" {
			continue
		}
		node.Data, node.HostKeys = n.Data, c.HostKeys
		all.Go(func() {
			i, err := inspector.Inspect(ctx, node)
			if err != nil {
				s.log.InfoContext(ctx, "node cannot be inspected yet, it will be when it is handed out",
					"node", n.ID, "pool", n.Pool, "err", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			seen[n.ID] = i
		})
	}
	all.Wait()
	return seen
}

// InspectFirst inspects a node that owner contextualizes and that was not inspected
// yet, and keeps what it saw. So it is known before a tenant has access. Where the
// contextualizer is no [backend.Inspector] it does nothing. An error that is none of the
// contextualizer's matches [backend.ErrNotTried].
func (s *Service) InspectFirst(ctx context.Context, owner string, n *Node) error {
	inspector, ok := s.cfg.Contextualizer.(backend.Inspector)
	if !ok || n.inspection() != nil {
		return nil
	}
	seen, err := inspector.Inspect(ctx, s.ForContextualizer(n))
	if err != nil {
		return err
	}
	kept, err := returning(ctx, setData(s.update(s.db, Contextualizing, n.ID), "ssh", seen).
		Where("lease_owner = ?", owner))
	if err == nil && len(kept) == 0 {
		err = ErrLeaseLost
	}
	if err != nil {
		return backend.NotTried(fmt.Errorf("cannot write down how node %d is: %w", n.ID, err))
	}
	n.Data = kept[0].Data
	return nil
}
