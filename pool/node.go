package pool

import (
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/internal/foreign"
)

// A State is what is going on with a node.
type State string

// The states of a node. The only moves between them are:
//
//	(new row), unused  -> provisioning     fill
//	provisioning       -> ready            the backend answered with an address that no other node has
//	provisioning       -> unused, failed   it failed: a reusable node, a throw-away one
//	ready              -> contextualizing  reserved for a session
//	ready              -> deprovisioning   too old, unhealthy, drained
//	contextualizing    -> deployed         every node of the session has the tenant's key
//	contextualizing    -> failed           it does not answer
//	contextualizing    -> ready            the request was undone before the key got there
//	contextualizing    -> deprovisioning   the request was undone, the key may be there
//	deployed           -> deprovisioning   the session was retired or has expired
//	deprovisioning     -> unused, done     a reusable node, a throw-away one, whose row is retired
//	deprovisioning     -> failed           the last try failed
//	failed             -> deprovisioning   enough is known to clean up, or an operator retries it
//	failed             -> done             newer failures of the pool tell as much, or an operator retires it
//	done               -> failed           a backend told of its machine after it was retired
//
// A move is one UPDATE that names the state it comes from; if that finds no row,
// somebody else has moved the node. Something other than Duffy may move it from any state to any
// other: if that happens while a backend works on it, what that tells of a machine is kept
// nevertheless, by a move to failed.
const (
	Unused          State = "unused"
	Provisioning    State = "provisioning"
	Ready           State = "ready"
	Contextualizing State = "contextualizing"
	Deployed        State = "deployed"
	Deprovisioning  State = "deprovisioning"
	Done            State = "done"
	Failed          State = "failed"
)

// A Node is a machine that Duffy knows, in Duffy 3's table nodes.
type Node struct {
	bun.BaseModel `bun:"table:nodes,alias:n"`

	ID       int64  `bun:",pk,autoincrement"`
	Hostname string `bun:",nullzero"`
	IPAddr   string `bun:"ipaddr,nullzero"`
	State    State
	Comment  *string
	Pool     string `bun:",nullzero"`
	Reusable bool
	Data     Data `bun:"type:json"`

	CreatedAt time.Time `bun:",nullzero,default:current_timestamp"`
	RetiredAt *time.Time

	// SessionID is the one session that holds the node.
	SessionID *int64

	// Work that takes time is done by whoever the lease names, until it ends.
	LeaseOwner string `bun:",nullzero"`
	LeaseUntil *time.Time

	Attempts   int        // at deprovisioning, or to get its address
	Forced     bool       // deprovisioned by an operator's word, although nothing is known of its machine
	RetryAt    *time.Time // when reconcile shall look after the node
	StateSince *time.Time
}

// Active tells whether the node still counts.
func (n *Node) Active() bool { return n.RetiredAt == nil }

// ForBackend returns what backends get to know about n: hostname and address as they
// were told by them. For contextualizers there is [Service.ForContextualizer].
func (n *Node) ForBackend() backend.Node {
	return backend.Node{
		ID:       n.ID,
		Hostname: asTold(n.provision()["hostname"], n.Hostname, foreign.Hostname),
		IPAddr:   asTold(n.provision()["ipaddr"], n.IPAddr, foreign.Address),
		Data:     n.Data, Provision: n.provision(),
	}
}

// Data is the JSON object that a node carries. Duffy itself uses these keys:
//
//	provision   whatever the backend returned when it provisioned the node
//	nodes_spec  what the session asked for that the node was reserved for
//	error       {"failed_at": time, "detail": reason} of the last failure
//	ssh         a [backend.Inspection], how the node was before a tenant had access
type Data map[string]any

// Keys of Data that do not survive the deprovisioning of a reusable node.
var ephemeral = []string{"error", "nodes_spec", "provision", "ssh"}

// Value implements [driver.Valuer].
func (d Data) Value() (driver.Value, error) {
	if d == nil {
		return "{}", nil
	}
	return encode(map[string]any(d))
}

// Scan implements [database/sql.Scanner]. It keeps numbers as they were written, and
// cleans what Duffy 3 stored as [foreign.Data] does. What is no object counts as empty.
func (d *Data) Scan(src any) error {
	var raw []byte
	switch src := src.(type) {
	case nil:
		*d = Data{}
		return nil
	case []byte:
		raw = src
	case string:
		raw = []byte(src)
	default:
		return fmt.Errorf("node data is a %T", src)
	}
	object, err := decode(raw)
	if err != nil && !errors.As(err, new(*json.UnmarshalTypeError)) {
		return err
	}
	*d = foreign.Data(object)
	return nil
}
