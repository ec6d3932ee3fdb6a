package tenant

import (
	"database/sql/driver"
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

// Scan implements [database/sql.Scanner]. A month counts 30 days.
func (i *Interval) Scan(src any) error {
	if b, ok := src.([]byte); ok {
		src = string(b)
	}
	var v pgtype.Interval
	if err := v.Scan(src); err != nil {
		return err
	}
	days := time.Duration(v.Days) + 30*time.Duration(v.Months)
	*i = Interval(days*day + time.Duration(v.Microseconds)*time.Microsecond)
	return nil
}
