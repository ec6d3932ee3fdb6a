package ansible_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/backend/ansible"
)

// returning is a backend whose playbooks set duffy_out.nodes to results, JSON.
func returning(t *testing.T, results string) *ansible.Backend {
	t.Helper()
	dir := t.TempDir()
	event := fmt.Sprintf(`{"event": "duffy_out", "duffy_out": {"nodes": %s}}`, results)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "event"), []byte(event+"\n"), 0o600))
	return ansible.New(ansible.Config{Playbook: script(t, "cat "+filepath.Join(dir, "event")+` >> "$DUFFY_EVENTS"`)})
}

func TestProvisionResults(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		results string
		nodes   map[int64]string // that something is known of, and their addresses
		reason  string           // if none can be used
	}{
		"by position":   {`[{"ipaddr": "192.0.2.1"}, {"ipaddr": "2001:db8::2"}]`, map[int64]string{5: "192.0.2.1", 3: "2001:db8::2"}, ""},
		"too few":       {`[{"ipaddr": "192.0.2.1"}]`, map[int64]string{5: "192.0.2.1"}, ""},
		"none":          {`[]`, map[int64]string{}, "duffy_out.nodes has 0 entries, but 2 were asked for"},
		"too many":      {`[{"ipaddr": "192.0.2.1"}, {"ipaddr": "192.0.2.2"}, {"ipaddr": "192.0.2.3"}]`, map[int64]string{5: "192.0.2.1", 3: "192.0.2.2", 0: "192.0.2.3"}, ""},
		"one is bad":    {`[{"ipaddr": "nowhere"}, {"ipaddr": "192.0.2.2"}]`, map[int64]string{5: "", 3: "192.0.2.2"}, ""},
		"all are bad":   {`[{"ipaddr": "nowhere"}, {"hostname": "x"}]`, map[int64]string{5: "", 3: ""}, `duffy_out.nodes[0].ipaddr is "nowhere", which is not an IP address; duffy_out.nodes[1] has no ipaddr`},
		"null, numbers": {`[{"ipaddr": null}, {"ipaddr": 7}]`, map[int64]string{5: "", 3: ""}, "duffy_out.nodes[0] has no ipaddr; duffy_out.nodes[1] has no ipaddr"},
		"not mappings":  {`[null, "192.0.2.1"]`, map[int64]string{}, "duffy_out.nodes[0] is not a mapping; duffy_out.nodes[1] is not a mapping"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nodes, err := returning(t, tt.results).Provision(t.Context(), request(pool(t.TempDir()), 5, 3))
			if tt.reason != "" {
				require.EqualError(t, err, "provision.yml: "+tt.reason)
			} else {
				require.NoError(t, err)
			}
			addresses := map[int64]string{}
			for _, node := range nodes {
				addresses[node.ID] = node.IPAddr
				require.NotEmpty(t, node.Provision)
				if node.IPAddr != "" {
					require.Equal(t, node.IPAddr, node.Provision["ipaddr"])
				}
			}
			require.Equal(t, tt.nodes, addresses)
		})
	}
}

func TestDeprovisionResults(t *testing.T) {
	t.Parallel()
	known := `[
		{"ID": 1, "Provision": {"ipaddr": "192.0.2.1", "id": 10, "disks": [{"size": 5}]}},
		{"ID": 2, "Data": {"provision": {"ipaddr": "192.0.2.2", "id": 20, "disks": [{"size": 5}]}}},
		{"ID": 3, "IPAddr": "192.0.2.3"}
	]`
	for name, tt := range map[string]struct {
		results string
		gone    []int64
		reason  string // if there are none
	}{
		"everything":           {`[{"ipaddr": "192.0.2.2", "id": 20, "disks": [{"size": 5}]}, {"ipaddr": "192.0.2.1", "id": 10, "disks": [{"size": 5}]}]`, []int64{2, 1}, ""},
		"one key":              {`[{"id": 10}]`, []int64{1}, ""},
		"numbers are numbers":  {`[{"id": 10.0}, {"disks": [{"size": 5.0}]}]`, []int64{1, 2}, ""},
		"ambiguous":            {`[{"disks": [{"size": 5}]}, {"disks": [{"size": 5}]}]`, []int64{1, 2}, ""},
		"never provisioned":    {`[{"id": 3}]`, []int64{3}, ""},
		"never had a hostname": {`[{"id": 3, "hostname": null, "ipaddr": "192.0.2.3"}]`, []int64{3}, ""},
		"some are unknown":     {`[{"id": 99}, {"id": 10, "more": 1}, {"id": 20}]`, []int64{2}, ""},
		"one key differs":      {`[{"id": 10, "ipaddr": "192.0.2.2"}]`, nil, `duffy_out.nodes[0] is none of the nodes: {"id":10,"ipaddr":"192.0.2.2"}; duffy_out.nodes does not have node 1; duffy_out.nodes does not have node 2; duffy_out.nodes does not have node 3`},
		"no keys":              {`[{}, null, "10"]`, nil, "duffy_out.nodes[0] is none of the nodes: {}; "},
		"null is not missing":  {`[{"id": 10, "more": null}]`, nil, "duffy_out.nodes[0] is none of the nodes"},
		"none":                 {`[]`, nil, "duffy_out.nodes does not have node 1; "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			req := backend.Request{Pool: pool(t.TempDir())}
			require.NoError(t, json.Unmarshal([]byte(known), &req.Nodes))
			nodes, err := returning(t, tt.results).Deprovision(t.Context(), req)
			if tt.reason != "" {
				require.ErrorContains(t, err, "deprovision.yml: "+tt.reason)
				return
			}
			require.NoError(t, err)
			var gone []int64
			for _, node := range nodes {
				gone = append(gone, node.ID)
				require.Contains(t, req.Nodes, node)
			}
			require.Equal(t, tt.gone, gone)
		})
	}
}
