package duffy_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy"
	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/backend/ansible"
	"github.com/duffy-ci/duffy/backend/fake"
)

var _ backend.Cleaner = (*ansible.Backend)(nil)

// cleaned is a backend that tells when it cleans up.
type cleaned struct {
	backend.Backend
	up chan<- string
}

func (c cleaned) CleanUp(context.Context) { c.up <- "cleaned up" }

// TestWorkCleansUp has backends clean up when a process begins to work, and not when
// it only serves or administrates.
func TestWorkCleansUp(t *testing.T) {
	t.Parallel()
	up := make(chan string, 2)
	d, err := duffy.New(t.Context(), duffy.Config{Database: databases["sqlite"](t)}, duffy.Options{
		Backends: map[string]backend.Backend{"fake": cleaned{fake.New(), up}},
	})
	require.NoError(t, err)
	defer d.Close()
	require.NoError(t, d.Migrate(t.Context()))
	require.Empty(t, up)

	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Work(ctx) }()
	require.Equal(t, "cleaned up", <-up)
	stop()
	require.NoError(t, <-ended)
	require.Empty(t, up, "once is enough")
}
