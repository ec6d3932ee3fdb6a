// Package backend is the seam between Duffy and machines.
//
// A [Backend] makes machines and removes them again; a [Contextualizer] gives a
// tenant access to a machine and takes it away. Whoever wants other machines
// than the ones of [github.com/duffy-ci/duffy/backend/ansible] implements
// Backend and shows with [github.com/duffy-ci/duffy/backend/backendtest] that
// it keeps the contract.
package backend

import (
	"context"
	"fmt"
	"strings"
)

// A Backend provisions and deprovisions nodes. Its methods may run
// concurrently, for different nodes and for the same: after a crash Duffy
// repeats what it does not know to have finished, so both are idempotent by
// [Request.NodeName]. They stop, with all that they started, when ctx ends.
type Backend interface {
	// Provision makes the requested nodes usable and returns those that are,
	// each with the ID it was requested by, an IPAddr and whatever else is worth
	// keeping in Provision. A node missing from the result has failed; an error
	// fails them all, and its text is shown to operators as the reason. What is
	// known of a machine that cannot be used is worth returning all the same, if
	// need be with the error: a node without an IPAddr has failed, and is
	// deprovisioned by what its Provision tells. So is a machine that nobody asked
	// for, which is returned with the ID 0.
	Provision(ctx context.Context, req Request) ([]Node, error)

	// Deprovision removes the requested nodes, or makes them ready to be
	// provisioned again, and returns those for which that succeeded. A node that
	// is gone already has succeeded, if that was seen: one that could not be looked
	// for has not. A node missing from the result has failed; an error fails them
	// all. Failed ones are asked for again.
	Deprovision(ctx context.Context, req Request) ([]Node, error)
}

// A Checker is a Backend that can tell early that a pool is misconfigured.
type Checker interface {
	// Check reports what is wrong with the pool's configuration without touching
	// any machine. It returns *[SettingError] values, joined with [errors.Join]
	// if there are several.
	Check(pool Pool) error
}

// A Prober is a Backend that runs programs of others, which may be missing, or may
// not do what Duffy relies on.
type Prober interface {
	// Probe runs the programs that the pool needs, without touching any machine. A
	// process that provisions nodes calls it once for each of its pools before it
	// begins, and does not begin after an error. Errors are as of [Checker].
	Probe(ctx context.Context, pool Pool) error
}

// A Cleaner is a Backend that may leave something behind on this machine when its
// process is killed.
type Cleaner interface {
	// CleanUp removes what processes that are no more left behind, and nothing of
	// those that live. It is called when a process begins to work, and tells the
	// log what fails.
	CleanUp(ctx context.Context)
}

// A Contextualizer gives a tenant access to nodes. Its methods may run
// concurrently for different nodes, and are idempotent. They stop when ctx ends.
//
// An error says that the node is no good, and Duffy replaces it, unless the error
// matches [ErrNotTried].
type Contextualizer interface {
	// Contextualize lets the holder of sshKey (lines of an authorized_keys file)
	// log in to node, and nobody let in by an earlier call. After an error the
	// key may or may not be on the node, unless the error matches [ErrUntouched].
	Contextualize(ctx context.Context, node Node, sshKey string) error

	// Decontextualize locks out whoever Contextualize let in. It succeeds only if it
	// is sure of that.
	Decontextualize(ctx context.Context, node Node) error
}

// A Readier is a [Contextualizer] that knows without any node whether it could try one.
type Readier interface {
	// Ready returns an error that matches [ErrNotTried] if calls would fail with such
	// a one now. It is asked often, and does not take longer than ctx.
	Ready(ctx context.Context) error
}

// A Pool is what a backend gets to know about the pool it works for.
type Pool struct {
	Name string

	// Settings is the section of the pool's configuration that is named like the
	// backend: nodepools.concrete.NAME.mechanism.BACKEND. Templates in it are
	// not rendered yet.
	Settings map[string]any

	// Vars holds the pool's whole configuration, unknown keys included, which is
	// what templates in Settings may refer to.
	Vars map[string]any
}

// A Request asks a backend to do something with nodes of one pool.
type Request struct {
	// Installation says which Duffy asks: up to 16 lower-case letters and digits, of
	// which the first is a letter. It is made with the database, so a Duffy with
	// another database has another one, though its nodes have the same IDs. It
	// changes only if an operator declares the database a copy. It is empty only in
	// requests that do not come from Duffy's pools.
	Installation string

	Pool  Pool
	Nodes []Node
}

// NodeName returns the name for the machine of a node with this ID, such as
// duffy-kpnbgacl-17, which no other Duffy has for one of its machines. Backends that
// find a machine by what it is called call it so: by its ID alone they would find,
// and remove, machines of another Duffy on the same provider.
func (r Request) NodeName(id int64) string {
	if r.Installation == "" {
		return fmt.Sprintf("duffy-%d", id)
	}
	return fmt.Sprintf("duffy-%s-%d", r.Installation, id)
}

// A Node is a machine as Duffy and a backend speak about it.
type Node struct {
	// ID is Duffy's own, stable for the life of the node's record. Other Duffys have
	// nodes with the same ID, see [Request.NodeName].
	ID int64

	// Hostname and IPAddr are empty for a node that was never provisioned. A
	// backend may leave Hostname empty: Duffy then looks the address up, and
	// takes the address itself if that fails.
	Hostname string
	IPAddr   string

	// Data is the node's data as Duffy keeps it, for reading only.
	Data map[string]any

	// Provision is what provisioning the node told about it: any JSON. Tenants
	// see it as data.provision. "ssh_port", "ssh_user" and "ssh_host_key" tell a
	// contextualizer how to reach the node, see
	// [github.com/duffy-ci/duffy/backend/ssh].
	Provision map[string]any

	// Inspection is what an [Inspector] saw, nil if none did. HostKeys is what the
	// node's pool has a contextualizer accept, empty if that is up to it. Backends
	// have no use for them.
	Inspection *Inspection
	HostKeys   HostKeys
}

// A SettingError says which setting of a pool is wrong.
type SettingError struct {
	Path []string // below the pool, for example mechanism, ansible, topdir
	Err  error
}

func (e *SettingError) Error() string { return strings.Join(e.Path, ".") + ": " + e.Err.Error() }

func (e *SettingError) Unwrap() error { return e.Err }
