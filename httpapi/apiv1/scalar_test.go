package apiv1_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/httpapi/apiv1"
)

func TestTimeIsWrittenLikePython(t *testing.T) {
	t.Parallel()
	cet := time.FixedZone("CET", 3600)
	for want, in := range map[string]time.Time{
		"2026-11-22T15:43:13.672953+00:00": time.Date(2026, 11, 22, 16, 43, 13, 672953999, cet),
		"2026-11-22T15:43:13.600000+00:00": time.Date(2026, 11, 22, 15, 43, 13, 600000000, time.UTC),
		"2026-01-01T00:00:00+00:00":        time.Date(2026, 1, 1, 0, 0, 0, 999, time.UTC),
	} {
		written, err := json.Marshal(apiv1.Time{Time: in})
		require.NoError(t, err)
		require.Equal(t, `"`+want+`"`, string(written))
	}
}

func TestTimeReadsISO8601(t *testing.T) {
	t.Parallel()
	minute := time.Date(2026, 11, 22, 15, 43, 0, 0, time.UTC)
	for in, want := range map[string]time.Time{
		"2026-11-22T15:43:00.5+00:00":   minute.Add(time.Second / 2),
		"2026-11-22T15:43:00Z":          minute,
		"2026-11-22t15:43:00z":          minute,
		"2026-11-22T15:43:00":           minute,
		"2026-11-22 15:43:00":           minute,
		"2026-11-22T15:43":              minute,
		"2026-11-22T20:43:00+05:00":     minute,
		"2026-11-22T20:43:00+0500":      minute,
		"2026-11-22T20:43:00+05":        minute,
		"2026-11-22 13:13-02:30":        minute,
		"2026-11-22":                    minute.Truncate(24 * time.Hour),
		" 2026-11-22T15:43:00.000001 ":  minute.Add(time.Microsecond),
		"2026-11-22T15:43:00.123456789": minute.Add(123456789),
	} {
		var got apiv1.Time
		quoted, _ := json.Marshal(in)
		require.NoError(t, json.Unmarshal(quoted, &got), in)
		require.Equal(t, want, got.Time, in)
	}
	for _, in := range []string{`"soon"`, `""`, `"+1h"`, `"2026-13-01"`, `"2026-11-22T25:00:00Z"`, `5`} {
		require.Error(t, json.Unmarshal([]byte(in), new(apiv1.Time)), in)
	}
}

func TestInteger(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]apiv1.Integer{
		`2`: 2, `"2"`: 2, `" 2 "`: 2, `2.0`: 2, `1e2`: 100, `-3`: -3, `"-3"`: -3, `0`: 0,
	} {
		var got apiv1.Integer
		require.NoError(t, json.Unmarshal([]byte(in), &got), in)
		require.Equal(t, want, got, in)
	}
	for _, in := range []string{`2.5`, `"two"`, `""`, `true`, `{}`, `[2]`, `1e300`, `"NaN"`} {
		require.Error(t, json.Unmarshal([]byte(in), new(apiv1.Integer)), in)
	}
}

func TestBoolean(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]apiv1.Boolean{
		`true`: true, `"True"`: true, `"yes"`: true, `1`: true, `"1"`: true,
		`false`: false, `"FALSE"`: false, `"off"`: false, `0`: false,
	} {
		got := !want
		require.NoError(t, json.Unmarshal([]byte(in), &got), in)
		require.Equal(t, want, got, in)
	}
	for _, in := range []string{`"foo"`, `2`, `""`, `{}`} {
		require.Error(t, json.Unmarshal([]byte(in), new(apiv1.Boolean)), in)
	}
}

func TestTimeSpec(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]apiv1.TimeSpec{
		`"+1h"`: "+1h", `"2099-01-01T00:00:00Z"`: "2099-01-01T00:00:00Z", `90`: "90", `90.5`: "90.5", `"90"`: "90",
	} {
		var got apiv1.TimeSpec
		require.NoError(t, json.Unmarshal([]byte(in), &got), in)
		require.Equal(t, want, got, in)
	}
	for _, in := range []string{`true`, `{}`, `["+1h"]`} {
		require.Error(t, json.Unmarshal([]byte(in), new(apiv1.TimeSpec)), in)
	}
}

func TestSeconds(t *testing.T) {
	t.Parallel()
	for want, d := range map[string]time.Duration{
		"21600.0": 6 * time.Hour, "0.0": 0, "1.5": 1500 * time.Millisecond, "3153600000.0": 100 * 365 * 24 * time.Hour,
	} {
		written, err := json.Marshal(apiv1.SecondsOf(d))
		require.NoError(t, err)
		require.Equal(t, want, string(written))
		var read apiv1.Seconds
		require.NoError(t, json.Unmarshal(written, &read))
		require.Equal(t, d, read.Duration())
	}
}

func TestOptionalTellsAbsentFromNull(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]apiv1.TenantUpdate{
		`{}`:                         {},
		`{"node_quota":null}`:        {NodeQuota: apiv1.Null[apiv1.Integer]()},
		`{"node_quota":5}`:           {NodeQuota: apiv1.Some[apiv1.Integer](5)},
		`{"active":false}`:           {Active: apiv1.Some[apiv1.Boolean](false)},
		`{"session_lifetime":"+3h"}`: {SessionLifetime: apiv1.Some[apiv1.TimeSpec]("+3h")},
	} {
		var got apiv1.TenantUpdate
		require.NoError(t, json.Unmarshal([]byte(in), &got), in)
		require.Equal(t, want, got, in)
		written, err := json.Marshal(got)
		require.NoError(t, err)
		require.Equal(t, in, string(written))
	}
	require.Error(t, json.Unmarshal([]byte(`{"node_quota":"many"}`), new(apiv1.TenantUpdate)))
}
