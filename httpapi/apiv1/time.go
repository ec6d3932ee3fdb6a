package apiv1

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

const (
	wholeSeconds = "2006-01-02T15:04:05-07:00"
	microseconds = "2006-01-02T15:04:05.000000-07:00"
)

// Time is a point in time, written in UTC the way Python's isoformat does it:
// 2026-11-22T15:43:13.672953+00:00, without the fraction if that is zero. Parts
// of a microsecond are cut off. It reads what [ParseTime] reads.
type Time struct{ time.Time }

// String returns the time as it is written in JSON.
func (t Time) String() string {
	utc := t.UTC().Truncate(time.Microsecond)
	if utc.Nanosecond() == 0 {
		return utc.Format(wholeSeconds)
	}
	return utc.Format(microseconds)
}

// MarshalText implements [encoding.TextMarshaler].
func (t Time) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (t *Time) UnmarshalText(text []byte) (err error) {
	*t, err = ParseTime(string(text))
	return err
}

// MarshalJSON implements [json.Marshaler].
func (t Time) MarshalJSON() ([]byte, error) { return json.Marshal(t.String()) }

// UnmarshalJSON implements [json.Unmarshaler].
func (t *Time) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return err
	}
	return t.UnmarshalText([]byte(text))
}

// ParseTime reads a date, or a date and a time, in the forms of ISO 8601 that
// Duffy 3 reads: a space or a T between date and time, seconds and their
// fraction or none, an offset as Z, +01, +0100, +01:00 or none, which means UTC.
// The result is in UTC.
func ParseTime(text string) (Time, error) {
	upper := strings.ToUpper(strings.TrimSpace(text))
	upper = strings.Replace(upper, " ", "T", 1)
	for _, clock := range []string{"T15:04:05", "T15:04"} {
		for _, offset := range []string{"Z07:00", "Z0700", "Z07", ""} {
			if t, err := time.Parse("2006-01-02"+clock+offset, upper); err == nil && written(t) {
				return Time{t.UTC()}, nil
			}
		}
	}
	if t, err := time.Parse(time.DateOnly, upper); err == nil && written(t) {
		return Time{t.UTC()}, nil
	}
	return Time{}, fmt.Errorf("%q is not a time such as 2026-11-22T15:43:13+00:00", text)
}

// written reports whether the year of t has four digits and is none before the first,
// in UTC too: others cannot be written as they are read.
func written(t time.Time) bool {
	return t.Year() >= 1 && t.Year() <= 9999 && t.UTC().Year() >= 1 && t.UTC().Year() <= 9999
}
