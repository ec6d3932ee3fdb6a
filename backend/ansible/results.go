package ansible

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"

	"github.com/duffy-ci/duffy/backend"
)

// pair gives each node the result at its position. Those whose result has no
// usable address are to be cleaned up, as are those that nobody asked for; of the
// others, nothing is known. Faults tell why nodes are not usable.
func pair(nodes []backend.Node, results []any) (usable, unusable []backend.Node, faults []string) {
	for i, node := range nodes {
		if i >= len(results) {
			faults = append(faults, fmt.Sprintf("duffy_out.nodes has %d entries, but %d were asked for", len(results), len(nodes)))
			break
		}
		result, ok := results[i].(map[string]any)
		if !ok {
			faults = append(faults, fmt.Sprintf("duffy_out.nodes[%d] is not a mapping", i))
			continue
		}
		node.IPAddr, node.Provision = "", result
		node.Hostname, _ = result["hostname"].(string)
		address, ok := result["ipaddr"].(string)
		if !ok {
			faults = append(faults, fmt.Sprintf("duffy_out.nodes[%d] has no ipaddr", i))
			unusable = append(unusable, node)
			continue
		}
		if _, err := netip.ParseAddr(address); err != nil {
			faults = append(faults, fmt.Sprintf("duffy_out.nodes[%d].ipaddr is %q, which is not an IP address", i, address))
			unusable = append(unusable, node)
			continue
		}
		node.IPAddr = address
		usable = append(usable, node)
	}
	for i := len(nodes); i < len(results); i++ {
		faults = append(faults, fmt.Sprintf("duffy_out.nodes[%d] is more than was asked for: %s", i, brief(results[i])))
		if result, ok := results[i].(map[string]any); ok {
			surplus := backend.Node{Provision: result}
			surplus.IPAddr, _ = result["ipaddr"].(string)
			surplus.Hostname, _ = result["hostname"].(string)
			unusable = append(unusable, surplus)
		}
	}
	return usable, unusable, faults
}

// match finds the nodes that results are about: all values of a result equal the
// ones that provisioning the node gave. Of a node that was not provisioned, they
// equal what the playbook was told.
func match(req backend.Request, results []any) (matched []backend.Node, faults []string) {
	nodes := req.Nodes
	left := make([]map[string]any, len(nodes)) // what is known of nodes not yet matched
	for i, node := range nodes {
		left[i], _ = plain(data(node)["provision"]).(map[string]any)
		if len(left[i]) == 0 {
			left[i], _ = plain(known(req, node)).(map[string]any)
		}
	}
results:
	for i, result := range results {
		wanted, _ := plain(result).(map[string]any)
		for j, known := range left {
			if known != nil && contains(known, wanted) {
				matched = append(matched, nodes[j])
				left[j] = nil
				continue results
			}
		}
		faults = append(faults, fmt.Sprintf("duffy_out.nodes[%d] is none of the nodes: %s", i, brief(result)))
	}
	for j, known := range left {
		if known != nil {
			faults = append(faults, fmt.Sprintf("duffy_out.nodes does not have node %d", nodes[j].ID))
		}
	}
	return matched, faults
}

// contains tells whether all of wanted, and that is something, is in known.
func contains(known, wanted map[string]any) bool {
	for key, value := range wanted {
		if have, ok := known[key]; !ok || !reflect.DeepEqual(have, value) {
			return false
		}
	}
	return len(wanted) > 0
}

// plain returns value as if it had been stored as JSON: 1 equals 1.0 then.
func plain(value any) any {
	text, err := json.Marshal(value)
	if err != nil {
		return nil
	}
	var decoded any
	_ = json.Unmarshal(text, &decoded)
	return decoded
}

// brief tells which machine a result is about.
func brief(result any) string {
	about := map[string]any{}
	if result, ok := result.(map[string]any); ok {
		for _, key := range []string{"id", "hostname", "ipaddr"} {
			if value, ok := result[key]; ok {
				about[key] = value
			}
		}
	}
	text, _ := json.Marshal(about)
	return shorten(string(text))
}
