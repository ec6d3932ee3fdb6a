package ansible

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/backend"
)

// FuzzEvents has a playbook write anything into the file of events. No node is
// counted twice, and errors stay readable.
func FuzzEvents(f *testing.F) {
	for _, seed := range []string{
		`{"event": "task", "task": "x"}` + "\n" + `{"event": "duffy_out", "duffy_out": {"nodes": [{"id": 1, "ipaddr": "192.0.2.1"}, {"ipaddr": "::1"}]}}`,
		`{"event": "failed", "host": "h", "task": "t", "msg": {"a": 1}, "stderr": "one\ntwo"}` + "\n" + `{"event": "failed", "msg": "x\n\ny"}`,
		`{"event": "duffy_out", "duffy_out": {"nodes": [null, 5, {"ipaddr": 5}, {"ipaddr": "nowhere"}, {"hostname": []}]}}`,
		`{"event": "duffy_out", "duffy_out": {"nodes": {}}}`, `{"event": "duffy_out", "duffy_out": []}`, `{"event": "no hosts"}`, `{"event": 5`, "",
		`{"event": "duffy_out", "duffy_out": {"nodes": [{"id": 1e999}, {"id": 12345678901234567890}]}}`,
	} {
		f.Add(seed)
	}
	nodes := []backend.Node{{ID: 1, IPAddr: "192.0.2.1", Provision: map[string]any{"id": 1, "ipaddr": "192.0.2.1"}}, {ID: 2, Hostname: "two"}}
	f.Fuzz(func(t *testing.T, text string) {
		file := filepath.Join(t.TempDir(), "events")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		e, err := readEvents(file)
		require.NoError(t, err)
		for _, err := range []error{e.failure("p.yml", errors.New("x"), text), e.stopped("p.yml", errors.New("x"))} {
			require.ErrorContains(t, err, "p.yml")
		}
		for _, failed := range e.failures {
			require.Less(t, utf8.RuneCountInString(failed.String()), 3*maxMessage+len(failed.Host)+4*len(failed.Task)+100)
		}
		results, err := e.nodes("p.yml")
		if err != nil {
			require.ErrorContains(t, err, "p.yml")
			return
		}
		usable, _, faults := pair(nodes, results)
		require.LessOrEqual(t, len(usable), len(nodes))
		require.True(t, len(usable) == len(nodes) || len(faults) > 0)
		matched, faults := match(backend.Request{Nodes: nodes}, results)
		seen := map[int64]bool{}
		for _, node := range matched {
			require.False(t, seen[node.ID])
			seen[node.ID] = true
		}
		require.True(t, len(matched) == len(nodes) || len(faults) > 0)
	})
}
