package ssh

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A stoppedContext is over, and nobody has noticed, as in a process that was
// stopped and has just gone on.
type stoppedContext struct{ context.Context }

func (stoppedContext) Deadline() (time.Time, bool) { return time.Now().Add(-time.Millisecond), true }

func TestNothingIsSentTooLate(t *testing.T) {
	t.Parallel()
	sent, err := io.ReadAll(inTime(stoppedContext{t.Context()}, strings.NewReader("script")))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Empty(t, sent)
	sent, err = io.ReadAll(inTime(t.Context(), strings.NewReader("script")))
	require.NoError(t, err)
	require.Equal(t, "script", string(sent))
}
