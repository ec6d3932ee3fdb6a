package tenant

import (
	"database/sql/driver"
	"math"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// An Interval is a duration as PostgreSQL's type interval keeps it. On SQLite it
// is the same text.
type Interval time.Duration

const day = 24 * time.Hour

// Value implements [driver.Valuer].
func (i Interval) Value() (driver.Value, error) {
	return pgtype.Interval{Microseconds: time.Duration(i).Microseconds(), Valid: true}.Value()
}

// longest is the longest Interval, in whole seconds. Duffy 3 took longer ones.
const longest = Interval(math.MaxInt64 / time.Second * time.Second)

// Scan implements [database/sql.Scanner]. A month counts 30 days. What is too long
// becomes the longest Interval, and what is too negative its opposite.
func (i *Interval) Scan(src any) error {
	if b, ok := src.([]byte); ok {
		src = string(b)
	}
	var v pgtype.Interval
	if err := v.Scan(src); err != nil {
		return err
	}
	// Whole seconds do not overflow: months and days are of 32 bits.
	seconds := (int64(v.Days)+30*int64(v.Months))*int64(day/time.Second) + v.Microseconds/1e6
	switch most := int64(longest / Interval(time.Second)); {
	case seconds >= most:
		*i = longest
	case seconds <= -most:
		*i = -longest
	default:
		*i = Interval(time.Duration(seconds)*time.Second + time.Duration(v.Microseconds%1e6)*time.Microsecond)
	}
	return nil
}
