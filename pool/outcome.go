package pool

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/duffy-ci/duffy/backend"
)

// A fate is what becomes of a node after a run that was to provision it.
type fate string

const (
	getsReady  fate = "ready"
	waits      fate = "waits"       // another node, which is about to go, has its address
	isRemoved  fate = "removed"     // failed, and what was told of its machine is kept to remove it by
	fails      fate = "failed"      // there is no machine
	isLost     fate = "interrupted" // failed, and a machine may exist of which nothing is known
	goesBack   fate = "unused"      // failed, but it is reusable
	startsOver fate = "starts over"
	isKept     fate = "kept" // it is somebody else's by now, who gets to know what was told
	isTheirs   fate = "theirs"
)

// An outcome is what becomes of a node, or of a machine that no node asked for.
type outcome struct {
	fate
	row    *Node        // as it is now, nil if there is none
	told   backend.Node // what the backend told
	name   string       // the hostname of a node that gets ready
	reason string       // why it does not
	blamed bool         // the pool rests for this
}

// ours tells whether the lease on a row is still the run's.
func (r *run) ours(row *Node) bool { return row != nil && row.LeaseOwner == r.owner }

// outcomes tells what becomes of the nodes of a run that was to provision them, by their rows
// as they are now, and of machines that it made beside. Names and addresses that others have
// are in taken, to which those of the nodes come.
func (r *run) outcomes(rows map[int64]*Node, taken *taken) []outcome {
	got, surplus := r.sort()
	var all []outcome
	for _, n := range r.nodes {
		result := got[n.ID]
		result.ID = n.ID
		row := rows[n.ID]
		var o outcome
		if r.ours(row) && row.State == Provisioning && row.Active() {
			o = r.outcome(row, result, taken)
		} else {
			o = r.moved(row, result)
		}
		o.row, o.told = row, result
		all = append(all, o)
	}
	for _, result := range surplus {
		all = append(all, outcome{fate: isRemoved, told: result, reason: "the backend made more nodes than it was asked for"})
	}
	return explain(r, all)
}

// sort returns what was told of each node, and of machines that nobody asked for. Those of
// other nodes are theirs.
func (r *run) sort() (got map[int64]backend.Node, surplus []backend.Node) {
	got = map[int64]backend.Node{}
	for _, n := range r.got {
		first, again := got[n.ID]
		switch {
		case n.ID != 0 && (!again || len(first.Provision) == 0):
			got[n.ID] = n
		case len(n.Provision) > 0 && !sameData(first.Provision, n.Provision):
			n.ID = 0
			surplus = append(surplus, n)
		}
	}
	return got, surplus
}

// outcome tells what becomes of a node that is the run's.
func (r *run) outcome(row *Node, result backend.Node, taken *taken) outcome {
	blamed := !r.stopped && !r.lost
	switch {
	case result.IPAddr != "" && (r.err == nil || r.lost):
		return r.usable(row, result, taken)
	case len(result.Provision) > 0:
		return outcome{fate: isRemoved, blamed: blamed}
	case r.lost:
		return outcome{fate: isTheirs} // whoever takes over decides
	case len(row.provision()) > 0:
		return outcome{fate: isRemoved, blamed: blamed} // of which an earlier run told
	case r.stopped && startsAgain(r.config, row):
		return outcome{fate: startsOver}
	case r.stopped:
		return outcome{fate: isLost}
	case row.Reusable:
		return outcome{fate: goesBack, blamed: blamed}
	case row.interrupted():
		return outcome{fate: isLost, blamed: blamed}
	}
	return outcome{fate: fails, blamed: blamed}
}

// addressTries is how often a node that waits for its address is looked at, for half an hour,
// before it fails.
const addressTries = 180

// usable tells what becomes of a node whose machine can be used, unless another has its
// address. Names are not as important: another one will do.
func (r *run) usable(row *Node, result backend.Node, taken *taken) outcome {
	holder := taken.addresses[result.IPAddr]
	why := func(format string) string {
		return fmt.Sprintf("ipaddr %s is the one of node %d, "+format, result.IPAddr, holder.ID, holder.State)
	}
	switch {
	case holder == nil:
		n := &Node{ID: row.ID, State: Ready, IPAddr: result.IPAddr, Data: Data{"provision": result.Provision}}
		n.Hostname = taken.free(result.Hostname, result.IPAddr)
		taken.add(n)
		return outcome{fate: getsReady, name: n.Hostname}
	case sameData(holder.provision(), result.Provision):
		return outcome{fate: isRemoved, reason: why("which is %s, and so is all else that the backend told"), blamed: true}
	case holder.leaves() && row.Attempts < addressTries:
		return outcome{fate: waits, reason: why("which is %s: waiting for its machine to be removed")}
	}
	return outcome{fate: isRemoved, reason: why("which is %s"), blamed: true}
}

// moved tells what becomes of a node that is no longer the run's, or that something other
// than Duffy has moved meanwhile.
func (r *run) moved(row *Node, result backend.Node) outcome {
	known := len(result.Provision) > 0
	reason := "its machine was provisioned after the node had been given up"
	if r.ours(row) {
		reason = fmt.Sprintf("something other than Duffy made the node %s while it was provisioned", row.State)
	}
	switch {
	case row == nil:
		if known {
			return outcome{fate: isRemoved, reason: reason}
		}
	case r.ours(row) && known:
		return outcome{fate: isRemoved, reason: reason, blamed: true}
	case r.ours(row) && r.stopped && row.Active():
		return outcome{fate: isLost, reason: mayExist + reason}
	case r.ours(row) && !r.lost && row.Active():
		return outcome{fate: fails, reason: reason, blamed: true}
	case !known, sameData(row.provision(), result.Provision):
	case !row.Active():
		return outcome{fate: isRemoved, reason: reason}
	case len(row.provision()) > 0:
	case row.State == Failed:
		return outcome{fate: isRemoved, reason: reason}
	case row.State == Provisioning, row.State == Deprovisioning:
		return outcome{fate: isKept}
	}
	return outcome{fate: isTheirs}
}

// explain gives outcomes that have no reason of their own the run's.
func explain(r *run, all []outcome) []outcome {
	ready := 0
	for _, o := range all {
		if o.fate == getsReady || o.fate == waits {
			ready++
		}
	}
	reason := fmt.Sprintf("the backend provisioned %d of %d nodes", ready, len(r.nodes))
	switch {
	case r.lost:
		reason = ErrLeaseLost.Error()
	case r.stopped:
		reason = "the worker was shut down"
	case r.err != nil:
		reason = r.err.Error()
	}
	for i, o := range all {
		switch {
		case o.reason != "":
		case o.fate == isLost:
			all[i].reason = mayExist + reason
		default:
			all[i].reason = reason
		}
	}
	return all
}

const mayExist = "provisioning was interrupted, an instance of it may exist: "

// blame returns why the pool has to rest after a run, nothing if it need not.
func blame(all []outcome) string {
	for _, o := range all {
		if o.blamed {
			return strings.TrimPrefix(o.reason, mayExist)
		}
	}
	return ""
}

// startsAgain tells whether a node whose provisioning was interrupted is provisioned again:
// whatever exists of it is found then.
func startsAgain(c *Config, n *Node) bool { return n.Reusable || c.findsByID() }

// taken is who has which names and addresses.
type taken struct {
	addresses map[string]*Node // those of nodes that are about to go only if no other has them
	names     map[string]bool
}

func (t *taken) add(n *Node) {
	if n.State != Failed && n.Hostname != "" {
		t.names[n.Hostname] = true
	}
	if holder := t.addresses[n.IPAddr]; n.IPAddr != "" && (holder == nil || holder.leaves()) {
		t.addresses[n.IPAddr] = n
	}
}

// free returns the first of names that nobody has, nothing if all are taken.
func (t *taken) free(names ...string) string {
	for _, name := range names {
		if name != "" && !t.names[name] {
			return name
		}
	}
	return ""
}

// leaves tells whether a node is about to give its address back.
func (n *Node) leaves() bool { return n.State == Deprovisioning || n.State == Failed }

// provision returns what is known of the node's machine.
func (n *Node) provision() map[string]any {
	provision, _ := n.Data["provision"].(map[string]any)
	return provision
}

// sameData tells whether two machines are one as far as what was told of them tells.
func sameData(a, b map[string]any) bool { return reflect.DeepEqual(plain(a), plain(b)) }

// plain returns data as it is read from the database.
func plain(data map[string]any) any {
	text, err := json.Marshal(data)
	if err != nil {
		return data
	}
	var d Data
	if err := d.Scan(text); err != nil {
		return data
	}
	return map[string]any(d)
}
