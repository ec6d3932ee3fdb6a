package foreign

import (
	"context"

	"github.com/duffy-ci/duffy/backend"
)

// Backend returns b with errors that are escaped and nodes that can be stored, see
// [Error] and [Data]. A node whose address is not an IP address has none, and its
// name is of a bounded length. Optional interfaces of b are not kept.
func Backend(b backend.Backend) backend.Backend { return cleanBackend{b} }

type cleanBackend struct{ inner backend.Backend }

func (b cleanBackend) Provision(ctx context.Context, req backend.Request) ([]backend.Node, error) {
	nodes, err := b.inner.Provision(ctx, req)
	return cleanNodes(nodes), Error(err)
}

func (b cleanBackend) Deprovision(ctx context.Context, req backend.Request) ([]backend.Node, error) {
	nodes, err := b.inner.Deprovision(ctx, req)
	return cleanNodes(nodes), Error(err)
}

func cleanNodes(nodes []backend.Node) []backend.Node {
	cleaned := make([]backend.Node, len(nodes))
	for i, n := range nodes {
		n.Hostname = first(hostnameMax, Line(n.Hostname).String())
		n.IPAddr = Address(n.IPAddr)
		n.Provision = Data(n.Provision)
		cleaned[i] = n
	}
	return cleaned
}

// Contextualizer returns c with errors that are escaped, see [Error], or nil if c is
// nil.
func Contextualizer(c backend.Contextualizer) backend.Contextualizer {
	if c == nil {
		return nil
	}
	return cleanContextualizer{c}
}

type cleanContextualizer struct{ inner backend.Contextualizer }

func (c cleanContextualizer) Contextualize(ctx context.Context, node backend.Node, sshKey string) error {
	return Error(c.inner.Contextualize(ctx, node, sshKey))
}

func (c cleanContextualizer) Decontextualize(ctx context.Context, node backend.Node) error {
	return Error(c.inner.Decontextualize(ctx, node))
}
