// Package duration reads and writes durations as Duffy 3 does.
package duration

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const day = 24 * time.Hour

// units are those of the groups in components, from the second group on.
var units = []time.Duration{7 * day, day, time.Hour, time.Minute, time.Second, time.Millisecond}

var (
	components = regexp.MustCompile(`^([-+]?)(?:\s*(\d+)w)?(?:\s*(\d+)d)?(?:\s*(\d+)h)?(?:\s*(\d+)m)?(?:\s*(\d+)s)?(?:\s*(\d+)ms)?$`)
	seconds    = regexp.MustCompile(`^\d+(?:\.\d+)?$`)
)

var (
	errFormat       = errors.New("expected a duration such as 90s, 1h30m or 1w2d3h4m5s6ms, or a number of seconds")
	errSignedFormat = errors.New("expected a duration with a sign, such as +1h30m or -20m25s")
	errOverflow     = errors.New("the duration is too long, at most 292 years can be told apart")
)

// Parse reads a duration as configuration files and the command line have it: a
// number of seconds, or numbers of weeks, days, hours, minutes, seconds and
// milliseconds in this order, each optional, in upper or lower case, with spaces
// before numbers and a plus sign in front if one likes. It is never negative.
func Parse(s string) (time.Duration, error) {
	s = strings.TrimSpace(s)
	if seconds.MatchString(s) {
		return parseSeconds(s)
	}
	if strings.HasPrefix(s, "-") {
		return 0, errFormat
	}
	return parseComponents(s, errFormat)
}

// ParseSigned reads a duration as the REST API has it in expires_at: like Parse,
// but a sign is required and a bare number of seconds is refused.
func ParseSigned(s string) (time.Duration, error) {
	s = strings.TrimSpace(s)
	if !strings.HasPrefix(s, "-") && !strings.HasPrefix(s, "+") {
		return 0, errSignedFormat
	}
	return parseComponents(s, errSignedFormat)
}

func parseSeconds(s string) (time.Duration, error) {
	whole, fraction, _ := strings.Cut(s, ".")
	d, err := add(0, whole, time.Second)
	if err != nil || fraction == "" {
		return d, err
	}
	nanoseconds := (fraction + "000000000")[:9]
	return add(d, nanoseconds, time.Nanosecond)
}

func parseComponents(s string, errFormat error) (time.Duration, error) {
	m := components.FindStringSubmatch(strings.ToLower(s))
	if m == nil || strings.Join(m[2:], "") == "" {
		return 0, errFormat
	}
	var d time.Duration
	for i, unit := range units {
		if m[i+2] == "" {
			continue
		}
		var err error
		if d, err = add(d, m[i+2], unit); err != nil {
			return 0, err
		}
	}
	if m[1] == "-" {
		d = -d
	}
	return d, nil
}

func add(d time.Duration, digits string, unit time.Duration) (time.Duration, error) {
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n > int64((math.MaxInt64-d)/unit) {
		return 0, errOverflow
	}
	return d + time.Duration(n)*unit, nil
}

// Python writes d, down to microseconds, as Python's str(datetime.timedelta)
// does: "6:00:00", "1 day, 0:00:00", "-1 day, 23:59:59.500000".
func Python(d time.Duration) string {
	days, rest := d/day, d%day
	if rest < 0 {
		days, rest = days-1, rest+day
	}
	var b strings.Builder
	if days != 0 {
		plural := "s"
		if days == 1 || days == -1 {
			plural = ""
		}
		fmt.Fprintf(&b, "%d day%s, ", days, plural)
	}
	fmt.Fprintf(&b, "%d:%02d:%02d", rest/time.Hour, rest/time.Minute%60, rest/time.Second%60)
	if us := rest / time.Microsecond % 1e6; us != 0 {
		fmt.Fprintf(&b, ".%06d", us)
	}
	return b.String()
}
