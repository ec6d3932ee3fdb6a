// Package seam cleans what backends and contextualizers say, see
// [github.com/duffy-ci/duffy/internal/foreign].
package seam

import (
	"context"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/internal/foreign"
)

// Backend returns b with errors that are escaped and nodes that can be stored, see
// [foreign.Error] and [foreign.Data]. A node whose address is not an IP address has none, and its
// name is of a bounded length. Optional interfaces of b are not kept.
func Backend(b backend.Backend) backend.Backend { return cleanBackend{b} }

type cleanBackend struct{ inner backend.Backend }

func (b cleanBackend) Provision(ctx context.Context, req backend.Request) ([]backend.Node, error) {
	nodes, err := b.inner.Provision(ctx, req)
	return cleanNodes(nodes), foreign.Error(err)
}

func (b cleanBackend) Deprovision(ctx context.Context, req backend.Request) ([]backend.Node, error) {
	nodes, err := b.inner.Deprovision(ctx, req)
	return cleanNodes(nodes), foreign.Error(err)
}

func cleanNodes(nodes []backend.Node) []backend.Node {
	cleaned := make([]backend.Node, len(nodes))
	for i, n := range nodes {
		n.Hostname = foreign.Name(n.Hostname)
		n.IPAddr = foreign.Address(n.IPAddr)
		n.Provision = foreign.Data(n.Provision)
		cleaned[i] = n
	}
	return cleaned
}

// Contextualizer returns c with errors that are escaped, see [foreign.Error], and inspections that
// can be stored, or nil if c is nil. It is a [backend.Inspector] if c is one.
func Contextualizer(c backend.Contextualizer) backend.Contextualizer {
	switch inspector, ok := c.(backend.Inspector); {
	case c == nil:
		return nil
	case ok:
		return cleanInspector{cleanContextualizer{c}, inspector}
	}
	return cleanContextualizer{c}
}

type cleanContextualizer struct{ inner backend.Contextualizer }

func (c cleanContextualizer) Contextualize(ctx context.Context, node backend.Node, sshKey string) error {
	return foreign.Error(c.inner.Contextualize(ctx, node, sshKey))
}

func (c cleanContextualizer) Decontextualize(ctx context.Context, node backend.Node) error {
	return foreign.Error(c.inner.Decontextualize(ctx, node))
}

type cleanInspector struct {
	cleanContextualizer
	inspector backend.Inspector
}

func (c cleanInspector) Inspect(ctx context.Context, node backend.Node) (backend.Inspection, error) {
	seen, err := c.inspector.Inspect(ctx, node)
	seen.User, seen.AuthorizedKeysSHA256 = foreign.Storable(seen.User), foreign.Storable(seen.AuthorizedKeysSHA256)
	keys := make([]string, len(seen.HostKeys))
	for i, key := range seen.HostKeys {
		keys[i] = foreign.Storable(key)
	}
	seen.HostKeys = keys
	return seen, foreign.Error(err)
}
