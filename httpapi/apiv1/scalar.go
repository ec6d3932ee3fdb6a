package apiv1

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Integer is a number in a request that may also come as a string of digits, or
// with a fraction of zero: 2, "2" and 2.0 are the same.
type Integer int64

// UnmarshalJSON implements [json.Unmarshaler].
func (i *Integer) UnmarshalJSON(data []byte) error {
	var spec TimeSpec
	if err := spec.UnmarshalJSON(data); err != nil {
		return fmt.Errorf("%s is not an integer", data)
	}
	text := strings.TrimSpace(string(spec))
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		*i = Integer(n)
		return nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
		return fmt.Errorf("%s is not an integer", data)
	}
	*i = Integer(f)
	return nil
}

// Boolean is a truth value in a request that may also come as 0 or 1, or as a
// word: true, t, yes, y, on, 1 or false, f, no, n, off, 0 in any case.
type Boolean bool

// UnmarshalJSON implements [json.Unmarshaler].
func (b *Boolean) UnmarshalJSON(data []byte) error {
	switch strings.ToLower(strings.Trim(string(data), `"`)) {
	case "true", "t", "yes", "y", "on", "1":
		*b = true
	case "false", "f", "no", "n", "off", "0":
		*b = false
	default:
		return fmt.Errorf("%s is neither true nor false", data)
	}
	return nil
}

// TimeSpec is a time or a duration in a request, as the caller wrote it: text
// such as 1h30m, +1h or 2026-11-22T15:43:13Z, or a number, which is taken as the
// text of it.
type TimeSpec string

// UnmarshalJSON implements [json.Unmarshaler].
func (s *TimeSpec) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) == nil {
		*s = TimeSpec(text)
		return nil
	}
	var number json.Number
	if err := json.Unmarshal(data, &number); err != nil {
		return fmt.Errorf("%s is neither text nor a number", data)
	}
	*s = TimeSpec(number)
	return nil
}

// Seconds is a duration in a result, as a number of seconds that always has a
// fraction: 21600.0.
type Seconds float64

// SecondsOf returns d in seconds.
func SecondsOf(d time.Duration) Seconds { return Seconds(d.Seconds()) }

// Duration returns s as a duration.
func (s Seconds) Duration() time.Duration { return time.Duration(float64(s) * float64(time.Second)) }

// MarshalJSON implements [json.Marshaler].
func (s Seconds) MarshalJSON() ([]byte, error) {
	text := strconv.FormatFloat(float64(s), 'f', -1, 64)
	if !strings.Contains(text, ".") {
		text += ".0"
	}
	return []byte(text), nil
}
