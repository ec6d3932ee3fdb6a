package pool

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/backend"
)

// A told node is one that the backend told an address of, or only something to remove it by.
func toldNode(id int64, address string) backend.Node {
	return backend.Node{ID: id, IPAddr: address, Provision: map[string]any{"instance": id}}
}

// TestOutcomes has runs end in every way that they can. The run has the nodes 1 and 2.
func TestOutcomes(t *testing.T) {
	t.Parallel()
	const owner, address = "me", "192.0.2.1"
	errFailed := errors.New("no capacity")
	provisioning := func(change func(n *Node)) *Node {
		n := &Node{State: Provisioning, LeaseOwner: owner, Data: Data{}}
		if change != nil {
			change(n)
		}
		return n
	}
	holder := func(state State) *Node {
		return &Node{ID: 7, State: state, IPAddr: address, Hostname: "seven", Data: Data{"provision": map[string]any{"instance": 7}}}
	}
	retry := &Config{OnInterrupted: OnInterruptedRetry}
	for name, tt := range map[string]struct {
		run    run
		first  *Node // the row of node 1
		holder *Node
		want   []fate // of the nodes 1 and 2, and of others
		blame  string
	}{
		"all": {run: run{got: []backend.Node{toldNode(1, "10.0.0.1"), toldNode(2, "10.0.0.2")}}, want: []fate{getsReady, getsReady}},
		"some": {
			run:  run{got: []backend.Node{toldNode(2, "10.0.0.2")}},
			want: []fate{fails, getsReady}, blame: "the backend provisioned 1 of 2 nodes",
		},
		"none":      {run: run{err: errFailed}, want: []fate{fails, fails}, blame: "no capacity"},
		"half-made": {run: run{got: []backend.Node{toldNode(1, "")}, err: errFailed}, want: []fate{isRemoved, fails}, blame: "no capacity"},
		"whole, and an error": {
			run:  run{got: []backend.Node{toldNode(1, "10.0.0.1")}, err: errFailed},
			want: []fate{isRemoved, fails}, blame: "no capacity",
		},
		"more": {
			run:  run{got: []backend.Node{toldNode(1, "10.0.0.1"), toldNode(2, "10.0.0.2"), toldNode(0, "10.0.0.3")}},
			want: []fate{getsReady, getsReady, isRemoved},
		},
		"one of them twice": {
			run: run{got: []backend.Node{toldNode(1, "10.0.0.1"), toldNode(2, "10.0.0.2"), {
				ID: 2, IPAddr: "10.0.0.3", Provision: map[string]any{"instance": 3},
			}}},
			want: []fate{getsReady, getsReady, isRemoved},
		},
		"other nodes'": {
			run:  run{got: []backend.Node{toldNode(1, "10.0.0.1"), toldNode(2, "10.0.0.2"), toldNode(7, address)}},
			want: []fate{getsReady, getsReady},
		},
		"one address for both": {
			run:  run{got: []backend.Node{toldNode(1, address), toldNode(2, address)}},
			want: []fate{getsReady, isRemoved}, blame: "ipaddr 192.0.2.1 is the one of node 1, which is ready",
		},
		"one machine for both": {
			run: run{got: []backend.Node{
				{ID: 1, IPAddr: address, Provision: map[string]any{"a": 1}}, {ID: 2, IPAddr: address, Provision: map[string]any{"a": 1}},
			}},
			want:  []fate{getsReady, isRemoved},
			blame: "ipaddr 192.0.2.1 is the one of node 1, which is ready, and so is all else that the backend told",
		},
		"another's address": {
			run:    run{got: []backend.Node{toldNode(1, address), toldNode(2, "10.0.0.2")}},
			holder: holder(Deployed), want: []fate{isRemoved, getsReady}, blame: "ipaddr 192.0.2.1 is the one of node 7, which is deployed",
		},
		"the address of one that is to go": {
			run:    run{got: []backend.Node{toldNode(1, address), toldNode(2, "10.0.0.2")}},
			holder: holder(Deprovisioning), want: []fate{waits, getsReady},
		},
		"the address of one that is to be cleaned up": {
			run:    run{got: []backend.Node{toldNode(1, address), toldNode(2, "10.0.0.2")}},
			holder: holder(Failed), want: []fate{waits, getsReady},
		},
		"the address of one that never goes": {
			run:    run{got: []backend.Node{toldNode(1, address), toldNode(2, "10.0.0.2")}},
			holder: holder(Deprovisioning), first: provisioning(func(n *Node) { n.Attempts = addressTries }),
			want: []fate{isRemoved, getsReady}, blame: "ipaddr 192.0.2.1 is the one of node 7, which is deprovisioning",
		},
		"the machine of one that is to go": {
			run:    run{got: []backend.Node{{ID: 1, IPAddr: address, Provision: map[string]any{"instance": 7}}, toldNode(2, "10.0.0.2")}},
			holder: holder(Deprovisioning), want: []fate{isRemoved, getsReady},
			blame: "ipaddr 192.0.2.1 is the one of node 7, which is deprovisioning, and so is all else that the backend told",
		},
		"stopped":            {run: run{stopped: true, err: context.Canceled}, want: []fate{isLost, isLost}},
		"stopped, by id":     {run: run{stopped: true, err: context.Canceled, config: retry}, want: []fate{startsOver, startsOver}},
		"stopped, half-made": {run: run{stopped: true, got: []backend.Node{toldNode(1, "")}, err: context.Canceled}, want: []fate{isRemoved, isLost}},
		"stopped, reusable": {
			run: run{stopped: true, err: context.Canceled}, first: provisioning(func(n *Node) { n.Reusable = true }),
			want: []fate{startsOver, isLost},
		},
		"lost":        {run: run{lost: true, err: context.Canceled}, want: []fate{isTheirs, isTheirs}},
		"lost, whole": {run: run{lost: true, err: context.Canceled, got: []backend.Node{toldNode(1, "10.0.0.1")}}, want: []fate{getsReady, isTheirs}},
		"reusable": {
			run: run{err: errFailed}, first: provisioning(func(n *Node) { n.Reusable = true }),
			want: []fate{goesBack, fails}, blame: "no capacity",
		},
		"interrupted before": {
			run: run{err: errFailed}, first: provisioning(func(n *Node) { n.Data["error"] = map[string]any{"interrupted": true} }),
			want: []fate{isLost, fails}, blame: "no capacity",
		},
		"told of before": {
			run: run{err: errFailed}, first: provisioning(func(n *Node) { n.Data["provision"] = map[string]any{"a": 1} }),
			want: []fate{isRemoved, fails}, blame: "no capacity",
		},
		"given up": {
			run:   run{got: []backend.Node{toldNode(1, "10.0.0.1"), toldNode(2, "10.0.0.2")}},
			first: &Node{State: Failed}, want: []fate{isRemoved, getsReady},
		},
		"given up, nothing told": {run: run{err: errFailed}, first: &Node{State: Failed}, want: []fate{isTheirs, fails}, blame: "no capacity"},
		"given up and begun again": {
			run:   run{got: []backend.Node{toldNode(1, "10.0.0.1"), toldNode(2, "10.0.0.2")}},
			first: &Node{State: Provisioning, LeaseOwner: "other"}, want: []fate{isKept, getsReady},
		},
		"given up and forced": {
			run:   run{got: []backend.Node{toldNode(1, ""), toldNode(2, "10.0.0.2")}},
			first: &Node{State: Deprovisioning, LeaseOwner: "other"}, want: []fate{isKept, getsReady},
		},
		"moved by others": {
			run:   run{got: []backend.Node{toldNode(1, "10.0.0.1"), toldNode(2, "10.0.0.2")}},
			first: provisioning(func(n *Node) { n.State = Failed }), want: []fate{isRemoved, getsReady},
			blame: "something other than Duffy made the node failed while it was provisioned",
		},
		"written already": {
			run:   run{got: []backend.Node{toldNode(1, "10.0.0.1"), toldNode(2, "10.0.0.2")}},
			first: &Node{State: Ready, Data: Data{"provision": map[string]any{"instance": 1}}}, want: []fate{isTheirs, getsReady},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := tt.run
			r.owner, r.nodes = owner, []*Node{{ID: 1}, {ID: 2}}
			rows := map[int64]*Node{1: tt.first, 2: provisioning(nil)}
			if tt.first == nil {
				rows[1] = provisioning(nil)
			}
			rows[1].ID, rows[2].ID = 1, 2
			others := &taken{addresses: map[string]*Node{}, names: map[string]bool{}}
			if tt.holder != nil {
				others.add(tt.holder)
			}
			var fates []fate
			all := r.outcomes(rows, others)
			for _, o := range all {
				fates = append(fates, o.fate)
				require.NotEmpty(t, o.reason)
				require.NotContains(t, o.reason, "context canceled")
			}
			require.Equal(t, tt.want, fates)
			require.Equal(t, tt.blame, blame(all))
		})
	}
}

// TestNames has nodes keep the names that backends gave them, if they are free.
func TestNames(t *testing.T) {
	t.Parallel()
	named := func(id int64, name string) backend.Node {
		n := toldNode(id, "192.0.2."+string(rune('0'+id)))
		n.Hostname = name
		return n
	}
	r := run{owner: "me", nodes: []*Node{{ID: 1}, {ID: 2}, {ID: 3}, {ID: 4}}, got: []backend.Node{
		named(1, "free"), named(2, "free"), named(3, "taken"), named(4, ""),
	}}
	rows := map[int64]*Node{}
	for _, n := range r.nodes {
		rows[n.ID] = &Node{ID: n.ID, State: Provisioning, LeaseOwner: "me"}
	}
	others := &taken{addresses: map[string]*Node{}, names: map[string]bool{"taken": true, "192.0.2.4": true}}
	var names []string
	for _, o := range r.outcomes(rows, others) {
		require.Equal(t, getsReady, o.fate)
		names = append(names, o.name)
	}
	require.Equal(t, []string{"free", "192.0.2.2", "192.0.2.3", ""}, names)
}
