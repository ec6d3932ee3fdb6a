package tenant_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/tenant"
)

// FuzzInterval has intervals be the same after they were written to a database.
func FuzzInterval(f *testing.F) {
	for _, seed := range []string{"06:00:00", "1 day 02:03:04.5", "-1 days +02:00:00", "1 mon", "2 years 1 mon", "", "00:00:00.000001", "1", "99999999:00:00", "999999999 days", "-2147483648 days"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var read, again tenant.Interval
		if read.Scan([]byte(text)) != nil {
			return
		}
		written, err := read.Value()
		require.NoError(t, err)
		require.NoError(t, again.Scan(written))
		require.Equal(t, time.Duration(read).Truncate(time.Microsecond), time.Duration(again))
	})
}

// TestLongIntervals has those that Duffy 3 took, and that do not fit, not turn
// into others.
func TestLongIntervals(t *testing.T) {
	t.Parallel()
	const longest = 9223372036 * time.Second
	for text, want := range map[string]time.Duration{
		"999999999 days": longest, "178956970 years": longest, "-999999999 days": -longest, "106751 days 23:47:16": longest,
		"106751 days 23:47:15.5": longest - 500*time.Millisecond, "-1 days -00:00:00.5": -24*time.Hour - 500*time.Millisecond,
	} {
		var i tenant.Interval
		require.NoError(t, i.Scan(text), text)
		require.Equal(t, want, time.Duration(i), text)
	}
}
