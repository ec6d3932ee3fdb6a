package httpapi

import (
	"context"
	"slices"

	"github.com/duffy-ci/duffy/pool"
	"github.com/duffy-ci/duffy/tenant"
)

// AnonymousRead is how much callers without credentials see of sessions and nodes.
// A tenant sees as much of other tenants' nodes, and at least as much as with
// ReadLimited.
type AnonymousRead int

const (
	// ReadLimited shows ids, states, pools, hostnames, addresses, times and the
	// names of tenants. Everything else is empty, null or what a new tenant has.
	ReadLimited AnonymousRead = iota

	// ReadFull shows what Duffy 3 showed, but for the errors of nodes.
	ReadFull

	// ReadNone makes every operation require credentials.
	ReadNone
)

// A view is how much of a node, a session or a tenant an answer shows.
type view int

const (
	outlineView  view = iota // what ReadLimited names
	ownView                  // and what a tenant needs of its own
	openView                 // and all data, without errors of nodes
	completeView             // everything
)

// viewFor decides how much a caller sees. by is nil for a caller without
// credentials; own tells whether the node, session or tenant belongs to the caller.
func (a AnonymousRead) viewFor(by *tenant.Tenant, own bool) view {
	switch {
	case by != nil && by.IsAdmin:
		return completeView
	case a == ReadFull:
		return openView
	case by != nil && own:
		return ownView
	}
	return outlineView
}

// sees decides how much the caller of an operation sees of what belongs to it, or not.
func (a *api) sees(ctx context.Context, own bool) view {
	return a.AnonymousRead.viewFor(caller(ctx), own)
}

// tenantData are the keys of data that a tenant sees of its own nodes and sessions.
// An administrator or a playbook may have put secrets under any other.
var tenantData = []string{"nodes_spec", "nodes_specs", "provision", "ssh"}

// internalData are the keys of data that only administrators see: they quote nodes
// and playbooks.
var internalData = []string{"error"}

// data returns what v shows of the data of a node or a session. It is never nil.
func (v view) data(all map[string]any) map[string]any {
	shown := map[string]any{}
	for key, value := range all {
		if v == completeView ||
			v == openView && !slices.Contains(internalData, key) ||
			v == ownView && slices.Contains(tenantData, key) {
			shown[key] = value
		}
	}
	return shown
}

// node returns what v shows of n.
func (v view) node(n *pool.Node) *pool.Node {
	shown := &pool.Node{
		ID: n.ID, Hostname: n.Hostname, IPAddr: n.IPAddr, State: n.State, Pool: n.Pool, Reusable: n.Reusable,
		CreatedAt: n.CreatedAt, RetiredAt: n.RetiredAt, Data: v.data(n.Data),
	}
	if v > outlineView {
		shown.Comment = n.Comment
	}
	return shown
}

// tenant returns what v shows of t: in outline it has no limits of its own.
func (v view) tenant(t *tenant.Tenant) *tenant.Tenant {
	if v > outlineView {
		return t
	}
	return &tenant.Tenant{ID: t.ID, Name: t.Name, CreatedAt: t.CreatedAt, RetiredAt: t.RetiredAt}
}
