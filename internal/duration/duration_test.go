package duration_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/internal/duration"
)

const day = 24 * time.Hour

func TestParse(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"0":                    0,
		"300":                  5 * time.Minute,
		" 300 ":                5 * time.Minute,
		"0.1":                  100 * time.Millisecond,
		"1.0000000019":         time.Second + time.Nanosecond,
		"6h":                   6 * time.Hour,
		"+3h30m":               3*time.Hour + 30*time.Minute,
		" +3H30M ":             3*time.Hour + 30*time.Minute,
		"1w2d3h4m5s6ms":        9*day + 3*time.Hour + 4*time.Minute + 5*time.Second + 6*time.Millisecond,
		"1w 2d 3h":             9*day + 3*time.Hour,
		"+ 1d":                 day,
		"6ms":                  6 * time.Millisecond,
		"90m":                  90 * time.Minute,
		"15250w":               15250 * 7 * day,
		"9223372036":           9223372036 * time.Second,
		"9223372036.854775807": 1<<63 - 1,
	} {
		d, err := duration.Parse(text)
		require.NoError(t, err, text)
		require.Equal(t, want, d, text)
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", " ", "+", "-2d", "-300", "+300", "1.", ".5", "1e3", "1h2d", "h", "6 h", "6hours", "1:30", "1h1h", "٣h",
	} {
		_, err := duration.Parse(text)
		require.ErrorContains(t, err, "expected a duration", text)
	}
}

func TestParseSigned(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"+1h":            time.Hour,
		"-30m":           -30 * time.Minute,
		" -1W2D ":        -9 * day,
		"+1w2d3h4m5s6ms": 9*day + 3*time.Hour + 4*time.Minute + 5*time.Second + 6*time.Millisecond,
	} {
		d, err := duration.ParseSigned(text)
		require.NoError(t, err, text)
		require.Equal(t, want, d, text)
	}
	for _, text := range []string{"", "1h", "300", "+", "-", "+300", "+-1h", "2026-11-22T15:43:13+00:00"} {
		_, err := duration.ParseSigned(text)
		require.ErrorContains(t, err, "with a sign", text)
	}
}

func TestOverflow(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"9223372037", "9223372036.854775808", "15251w", "15250w3d", "99999999999999999999s", "2562048h",
	} {
		_, err := duration.Parse(text)
		require.ErrorContains(t, err, "too long", text)
		if text[len(text)-1] > '9' {
			_, err = duration.ParseSigned("-" + text)
			require.ErrorContains(t, err, "too long", text)
		}
	}
}

func TestPython(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0:                              "0:00:00",
		6 * time.Hour:                  "6:00:00",
		90 * time.Second:               "0:01:30",
		day:                            "1 day, 0:00:00",
		10*day + 12*time.Hour:          "10 days, 12:00:00",
		1500 * time.Millisecond:        "0:00:01.500000",
		time.Microsecond:               "0:00:00.000001",
		-500 * time.Millisecond:        "-1 day, 23:59:59.500000",
		-day:                           "-1 day, 0:00:00",
		-(2*day + 23*time.Hour):        "-3 days, 1:00:00",
		-time.Second - 3*day:           "-4 days, 23:59:59",
		123 * time.Nanosecond:          "0:00:00",
		9*day + 59*time.Minute + 1<<30: "9 days, 0:59:01.073741",
	} {
		require.Equal(t, want, duration.Python(d))
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"300", "1.5", "+3h30m", "1w2d3h4m5s6ms", "-20m", "99999999999999999999w", "\u00a01h"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := duration.Parse(text)
		if err != nil {
			require.Zero(t, d)
		}
		require.GreaterOrEqual(t, d, time.Duration(0))

		if signed, signedErr := duration.ParseSigned("+" + text); signedErr == nil && err == nil {
			require.Equal(t, d, signed)
		}
	})
}

func FuzzComponents(f *testing.F) {
	f.Add(uint8(1), uint8(2), uint8(3), uint8(4), uint8(5), uint8(6))
	f.Fuzz(func(t *testing.T, w, d, h, m, s, ms uint8) {
		want := time.Duration(w)*7*day + time.Duration(d)*day + time.Duration(h)*time.Hour +
			time.Duration(m)*time.Minute + time.Duration(s)*time.Second + time.Duration(ms)*time.Millisecond
		text := fmt.Sprintf("%dw%dd%dh%dm%ds%dms", w, d, h, m, s, ms)

		got, err := duration.Parse(text)
		require.NoError(t, err)
		require.Equal(t, want, got)

		got, err = duration.ParseSigned("-" + text)
		require.NoError(t, err)
		require.Equal(t, -want, got)
	})
}
