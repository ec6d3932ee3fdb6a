package tenant_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/tenant"
)

// FuzzInterval has intervals be the same after they were written to a database.
func FuzzInterval(f *testing.F) {
	for _, seed := range []string{"06:00:00", "1 day 02:03:04.5", "-1 days +02:00:00", "1 mon", "2 years 1 mon", "", "00:00:00.000001", "1", "99999999:00:00"} {
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
