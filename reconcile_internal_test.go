package duffy

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestReadyAsksForReconcile has no pass succeed for long, in a process that works.
func TestReadyAsksForReconcile(t *testing.T) {
	t.Parallel()
	d, err := New(t.Context(), Config{Database: "sqlite:///" + filepath.Join(t.TempDir(), "duffy.db")}, Options{})
	require.NoError(t, err)
	defer d.Close()
	require.NoError(t, d.Migrate(t.Context()))
	require.NoError(t, d.Ready(t.Context()), "it does not work")
	d.passes.succeeded(time.Now().Add(-overdue))
	require.ErrorContains(t, d.Ready(t.Context()), "no reconcile has succeeded for 2m0s")
	d.passes.succeeded(time.Now())
	require.NoError(t, d.Ready(t.Context()))
}
