package apiv1_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/httpapi/apiv1"
)

// FuzzScalars has what is read from JSON be the same after it was written.
func FuzzScalars(f *testing.F) {
	for _, seed := range []string{
		`2`, `"2"`, `" 2 "`, `2.0`, `1e2`, `-3`, `1e400`, `9007199254740993`, `9223372036854775808`, `"0x10"`, `"NaN"`, `null`, `true`, `"YES"`,
		`"off"`, `1`, `0`, `"1h30m"`, `"2026-11-22T15:43:13.672953+00:00"`, `[]`, `{}`, `"\u0000"`, `""`, `"`,
		`"0000-01-01 0:00+01"`, `"0001-01-01T00:00:00+01:00"`, `"9999-12-31T23:59:59-01:00"`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !json.Valid([]byte(text)) {
			return // which the decoder finds before it asks types
		}
		roundTrip[apiv1.Integer](t, text)
		roundTrip[apiv1.Boolean](t, text)
		roundTrip[apiv1.TimeSpec](t, text)
		roundTrip[apiv1.Optional[apiv1.Integer]](t, text)
		roundTrip[apiv1.Optional[apiv1.TimeSpec]](t, text)

		var at apiv1.Time
		if json.Unmarshal([]byte(text), &at) == nil {
			written, err := json.Marshal(at)
			require.NoError(t, err)
			var again apiv1.Time
			require.NoError(t, json.Unmarshal(written, &again), "%s", written)
			require.Equal(t, at.Truncate(time.Microsecond), again.Time)
		}
	})
}

func roundTrip[T any](t *testing.T, text string) {
	t.Helper()
	var v, again T
	if json.Unmarshal([]byte(text), &v) != nil {
		return
	}
	written, err := json.Marshal(v)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(written, &again), "%s", written)
	require.Equal(t, v, again)
}

// FuzzParseTime has times mean the same after they were written.
func FuzzParseTime(f *testing.F) {
	for _, seed := range []string{
		"2026-11-22T15:43:00.5+00:00", "2026-11-22t15:43:00z", "2026-11-22 13:13-02:30", "2026-11-22", " 2026-11-22T15:43 ", "0000-01-01",
		"9999-12-31T23:59:59.999999999-23:59", "2026-02-29", "2026-11-22T24:00", "2026-11-22T15:43:60Z", "",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		at, err := apiv1.ParseTime(text)
		if err != nil {
			return
		}
		require.Equal(t, time.UTC, at.Location())
		again, err := apiv1.ParseTime(at.String())
		require.NoError(t, err)
		require.Equal(t, at.Truncate(time.Microsecond), again.Time)
	})
}
