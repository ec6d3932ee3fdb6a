package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/httpapi/apiv1"
	"github.com/duffy-ci/duffy/httpapi/client"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
)

const (
	example  = "/run/example"       // where Duffy runs
	override = "/run/override.yaml" // what is not as in the example
	machines = "/run/machines"      // their directories
)

// A host is the stage on which everything is real.
type host struct {
	services []*service_
}

// newHost prepares it as the example's README tells, but for PostgreSQL, and for
// playbooks not being waited for when Duffy is to stop.
func newHost(t *testing.T) *host {
	text := fmt.Sprintf(`
database: {sqlalchemy: {sync_url: %q}}
tasks: {shutdown-timeout: 100ms}
nodepools: {abstract: {namespaces: {mechanism: {ansible: {extra-vars: {state_dir: %q}}}}}}
`, dbtest.PostgresURL(t), machines)
	require.NoError(t, os.WriteFile(override, []byte(text), 0o600))
	key, err := newDemoKey(filepath.Join(example, "duffy_key"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(key.file+".pub", []byte(key.authorized()), 0o600))
	return &host{}
}

func (h *host) duffy(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return runProgram(t, example, args...)
}

func (h *host) config() []string { return []string{"-c", "duffy.yaml", "-c", override} }
