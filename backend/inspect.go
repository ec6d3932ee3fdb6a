package backend

import "context"

// An Inspector is a [Contextualizer] that tells a node from another one in its
// place, and from the same one with more people let in. Duffy calls Inspect once,
// before a tenant has access for the first time, keeps the answer, and passes it on
// in [Node.Inspection] from then on. With it
//
//   - Contextualize and Decontextualize fail if the node's host key is none of
//     HostKeys, unless [Node.HostKeys] is [AnyHostKey], and leave the node alone;
//   - Decontextualize fails if anything else than tenants' keys differs in what
//     AuthorizedKeysSHA256 is of. The tenants' keys are removed nevertheless.
//
// A node that can be reused and whose Decontextualize failed is not reused, unless
// its machine is reinstalled. So Decontextualize must not succeed unless it has seen
// that nobody whom Contextualize let in has access.
type Inspector interface {
	// Inspect returns what node is like. It changes nothing on it.
	Inspect(ctx context.Context, node Node) (Inspection, error)
}

// An Inspection is what a node was like before a tenant had access. It is kept as
// data.ssh of the node, in this form.
type Inspection struct {
	// User and Port are where the contextualizer logged in.
	User string `json:"user"`
	Port int    `json:"port"`

	// HostKeys are public keys as in authorized_keys: the node has proven that it
	// has the private ones.
	HostKeys []string `json:"host_keys"`

	// AuthorizedKeysSHA256 is a hash, in hexadecimal digits, of who else may log in
	// as User. It is empty if that is too much to look at; it is not compared then.
	AuthorizedKeysSHA256 string `json:"authorized_keys_sha256,omitempty"`
}

// HostKeys says which host keys a contextualizer accepts.
type HostKeys string

// What HostKeys may be.
const (
	AnyHostKey     HostKeys = "any"
	FirstHostKey   HostKeys = "first-use" // those of Node.Inspection, any if that is nil
	PinnedHostKeys HostKeys = "pinned"    // those that provisioning told as ssh_host_key
)

// A Keeper is a [Backend] that leaves the machines of some pools as they are when
// their nodes are deprovisioned.
type Keeper interface {
	// Keeps reports whether Deprovision does nothing to nodes of pool.
	Keeps(pool Pool) bool
}
