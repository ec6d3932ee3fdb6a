package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy"
	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/backend/fake"
	"github.com/duffy-ci/duffy/httpapi"
	"github.com/duffy-ci/duffy/httpapi/apiv1"
)

// TestEndToEndFake tells the story in this process, on SQLite and with machines
// that are not there.
func TestEndToEndFake(t *testing.T) {
	t.Parallel()
	tell(t, newFakeStage(t))
}

type fakeStage struct {
	files    []string // of the configuration
	machines *fake.Backend
	homes    map[string][]string // names of files, by machine
	end      func() error        // of Duffy
}

func newFakeStage(t *testing.T) *fakeStage {
	dir := t.TempDir()
	key, err := newDemoKey(filepath.Join(dir, "duffy_key"))
	require.NoError(t, err)
	override := filepath.Join(dir, "override.yaml")
	require.NoError(t, os.WriteFile(override, fmt.Appendf(nil, `
database: {sqlalchemy: {sync_url: "sqlite:///%s/duffy.sqlite"}}
ssh: {key-files: [%q]}
tasks: {shutdown-timeout: 100ms}
nodepools: {abstract: {namespaces: {mechanism: {type: fake}}}}
`, dir, key.file), 0o600))
	return &fakeStage{
		files:    []string{"../../examples/playbooks/duffy.yaml", override},
		machines: fake.New(), homes: map[string][]string{},
	}
}

func (f *fakeStage) duffy(t *testing.T, args ...string) (code int, stdout, stderr string) {
	var out, errs strings.Builder
	code = run(t.Context(), args, &out, &errs)
	return code, out.String(), errs.String()
}

func (f *fakeStage) config() []string { return []string{"-c", f.files[0], "-c", f.files[1]} }

func (f *fakeStage) start(t *testing.T) string {
	var log demoOutput
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s", &log)
		}
	})
	cfg, err := duffy.LoadConfig(f.files...)
	require.NoError(t, err)
	d, err := duffy.New(t.Context(), cfg, duffy.Options{
		Logger:         slog.New(slog.NewTextHandler(&log, nil)),
		Backends:       map[string]backend.Backend{"fake": f.machines},
		Contextualizer: f.machines,
	})
	require.NoError(t, err)
	server := httptest.NewServer(d.Handler())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Work(ctx) }()
	f.end = sync.OnceValue(func() error {
		server.Close()
		cancel()
		return errors.Join(<-ended, d.Close())
	})
	t.Cleanup(func() { _ = f.end() })
	return server.URL + httpapi.Prefix
}

func (f *fakeStage) hang(*testing.T) { f.machines.Inject(fake.Fault{In: fake.Provision, Hang: true}) }

func (f *fakeStage) stop(t *testing.T) { require.NoError(t, f.end()) }

func (f *fakeStage) exists(_ *testing.T, node apiv1.Node) bool {
	_, exists := f.machines.Machine(node.ID)
	return exists
}

func (f *fakeStage) login(_ *testing.T, node apiv1.Node, key demoKey, command string) (string, error) {
	machine, exists := f.machines.Machine(node.ID)
	switch {
	case !exists:
		return "", errRefused
	case machine.SSHKey != key.authorized():
		return "", errDenied
	}
	home := f.home(node.ID)
	if name, ok := strings.CutPrefix(command, "touch "); ok {
		f.homes[home] = append(f.homes[home], name)
		return "", nil
	}
	switch command {
	case "uname -n":
		return machine.Hostname, nil
	case "ls":
		return strings.Join(f.homes[home], "\n"), nil
	}
	return "", fmt.Errorf("%s: not found", command)
}

// home names root's home on a machine. It is another one whenever the node was
// provisioned.
func (f *fakeStage) home(node int64) string {
	times := 0
	for _, call := range f.machines.Calls() {
		if call.Op == fake.Provision && slices.Contains(call.Nodes, node) {
			times++
		}
	}
	return fmt.Sprintf("%d/%d", node, times)
}
