package chaos_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/pool"
)

// untilAtRest waits until nothing is out of place, without any help but what an
// operator has to do.
func (c *cluster) untilAtRest(t *testing.T, crowd *crowd) {
	t.Helper()
	var out []string
	begin := time.Now()
	for told := 0; time.Since(begin) < patience; time.Sleep(glance) {
		if late := int(time.Since(begin) / (20 * time.Second)); late > told {
			told = late
			t.Logf("not at rest after %s:\n%s", time.Since(begin).Round(glance), strings.Join(out, "\n"))
		}
		if err := crowd.retireForgotten(t.Context()); err != nil {
			out = []string{err.Error()}
			continue
		}
		nodes := c.nodes(t)
		if out = outOfPlace(nodes); len(out) == 0 {
			return
		}
		c.operate(t, nodes)
	}
	require.Empty(t, out, "this is stuck")
}

// outOfPlace says what is not as it is at rest.
func outOfPlace(nodes []*pool.Node) (out []string) {
	ready := map[string]int{}
	reusable := 0
	for _, n := range nodes {
		switch n.State {
		case pool.Ready:
			ready[n.Pool]++
		case pool.Unused:
		default:
			out = append(out, fmt.Sprintf("node %d of pool %q is %s since %s, held by %q until %s, to be tried at %s: %s",
				n.ID, n.Pool, n.State, n.StateSince, n.LeaseOwner, n.LeaseUntil, n.RetryAt, n.Reason()))
		}
		if n.Reusable {
			reusable++
		}
	}
	for name, level := range levels {
		if ready[name] != level {
			out = append(out, fmt.Sprintf("pool %s has %d of %d nodes", name, ready[name], level))
		}
	}
	if reusable != metal {
		out = append(out, fmt.Sprintf("there are %d of %d reusable nodes", reusable, metal))
	}
	return out
}

// operate does what is left to an operator: of a pool that does not say what to do
// about it, nodes fail whose provisioning was interrupted.
func (c *cluster) operate(t *testing.T, nodes []*pool.Node) {
	var failed []string
	for _, n := range nodes {
		if n.State == pool.Failed && n.RetryAt == nil {
			require.Equal(t, "thrown-away", n.Pool, "node %d failed for good: %s", n.ID, n.Reason())
			require.Contains(t, n.Reason(), "provisioning was interrupted, an instance of it may exist", "node %d", n.ID)
			failed = append(failed, strconv.FormatInt(n.ID, 10))
		}
	}
	if len(failed) > 0 {
		c.run(t, append([]string{"admin", "retry-nodes", "--force"}, failed...)...)
	}
}

func (c *cluster) nodes(t *testing.T) []*pool.Node {
	var nodes []*pool.Node
	require.NoError(t, c.db.NewSelect().Model(&nodes).Where("retired_at IS NULL").Order("id").Scan(t.Context()))
	return nodes
}

// checkAtRest looks whether machines, nodes, sessions and keys agree.
func (c *cluster) checkAtRest(t *testing.T, crowd *crowd) {
	machines := c.machines(t)
	var existing, ready []int64
	for id, keys := range machines {
		existing = append(existing, id)
		if strings.Contains(keys, "tenant") || strings.Count(keys, "ssh-ed25519") != 1 {
			t.Errorf("a tenant's key is still on the machine of node %d:\n%s", id, keys)
		}
	}
	for _, n := range c.nodes(t) {
		if n.State == pool.Ready {
			ready = append(ready, n.ID)
		}
	}
	slices.Sort(existing)
	if !slices.Equal(existing, ready) {
		t.Errorf("there are machines of the nodes %v, and ready are %v", existing, ready)
	}
	c.checkSessions(t, crowd)
}

// checkSessions looks whether all sessions that tenants were told about are known,
// and over.
func (c *cluster) checkSessions(t *testing.T, crowd *crowd) {
	var over []int64
	err := c.db.NewSelect().Table("sessions").Column("id").Where("retired_at IS NOT NULL").Scan(context.Background(), &over)
	require.NoError(t, err)
	crowd.mu.Lock()
	defer crowd.mu.Unlock()
	for id := range crowd.answered {
		if !slices.Contains(over, id) {
			t.Errorf("session %d is lost, or not over", id)
		}
	}
	clear(crowd.answered)
}
