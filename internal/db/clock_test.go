package db_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
)

// A remote is the clock of a database, which answers after some time.
type remote struct {
	ahead       time.Duration // of the test's
	there, back time.Duration
	err         error
}

func (r *remote) now() time.Time { return time.Now().Add(r.ahead).Round(0) }

func (r *remote) ask(context.Context) (time.Time, error) {
	time.Sleep(r.there)
	now := r.now()
	time.Sleep(r.back)
	return now, r.err
}

// TestClockIsTheDatabases has the clock of a machine be wrong and set.
func TestClockIsTheDatabases(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, wrong := &remote{ahead: time.Hour}, 40*time.Second
		c := db.NewClock(r.ask, func() time.Time { return r.now().Add(wrong) }, nil)
		require.NoError(t, c.Ask(t.Context()))
		for range 10 {
			require.Equal(t, r.now(), c.Now())
			require.Equal(t, wrong, c.Skew())
			time.Sleep(time.Second)
			synctest.Wait() // for what asks in the background
			wrong -= 5 * time.Minute
		}
	})
}

// TestClockFollowsTheDatabase has the clock of the database be set, or another one
// after a failover, and nobody but those who ask for the time use the clock.
func TestClockFollowsTheDatabase(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &remote{there: time.Millisecond, back: time.Millisecond}
		c := db.NewClock(r.ask, nil, nil)
		require.NoError(t, c.Ask(t.Context()))
		for _, ahead := range []time.Duration{time.Minute, -time.Hour, 3 * time.Second, 0} {
			synctest.Wait() // for what asks in the background
			r.ahead = ahead
			for range 11 {
				c.Now()
				time.Sleep(time.Second)
			}
			require.Equal(t, r.now(), c.Now())
		}
		synctest.Wait()
		r.err = errors.New("it is away")
		time.Sleep(time.Hour)
		require.ErrorIs(t, c.Ask(t.Context()), r.err)
		require.Equal(t, r.now(), c.Now(), "it goes on")
		time.Sleep(time.Second) // to the end of what asks in the background
	})
}

// TestClockIsAsGoodAsItsBestAnswer has answers take their time, on either way.
func TestClockIsAsGoodAsItsBestAnswer(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		rapid.SyncTest(t, func(t *rapid.T) {
			r, best := &remote{ahead: -time.Hour}, time.Hour
			c := db.NewClock(r.ask, nil, nil)
			took := rapid.IntRange(0, 2000)
			for range rapid.IntRange(1, 10).Draw(t, "answers") {
				r.there = time.Duration(took.Draw(t, "there")) * time.Millisecond
				r.back = time.Duration(took.Draw(t, "back")) * time.Millisecond
				require.NoError(t, c.Ask(t.Context()))
				best = min(best, r.there+r.back)
				require.WithinDuration(t, r.now(), c.Now(), best/2+100*time.Millisecond, "what a minute may add")
				time.Sleep(5 * time.Second)
			}
		})
	})
}

// TestSkewIsLogged once when it changes.
func TestSkewIsLogged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		r, wrong := &remote{}, time.Duration(0)
		c := db.NewClock(r.ask, func() time.Time { return r.now().Add(wrong) }, slog.New(slog.NewTextHandler(&out, nil)))
		for _, tt := range []struct {
			wrong time.Duration
			lines []string
		}{
			{4 * time.Second, nil},
			{40 * time.Second, []string{"level=WARN", "ahead_by=40s"}},
			{41 * time.Second, nil},
			{-5 * time.Minute, []string{"level=WARN", "ahead_by=-5m0s"}},
			{time.Second, []string{"level=INFO", "right again"}},
			{0, nil},
		} {
			out.Reset()
			wrong = tt.wrong
			for range 3 {
				require.NoError(t, c.Ask(t.Context()))
			}
			require.Equal(t, min(len(tt.lines), 1), strings.Count(out.String(), "\n"), "%s: %s", tt.wrong, out.String())
			for _, text := range tt.lines {
				require.Contains(t, out.String(), text)
			}
		}
	})
}

// TestClockOfDatabases has a machine be 40 s ahead.
func TestClockOfDatabases(t *testing.T) {
	t.Parallel()
	ahead := func() time.Time { return time.Now().Add(40 * time.Second) }
	for name, tt := range map[string]struct {
		url  string
		want func(*db.DB) time.Time
		skew time.Duration
	}{
		"postgres": {dbtest.PostgresURL(t), func(d *db.DB) (now time.Time) {
			require.NoError(t, d.QueryRowContext(t.Context(), "SELECT clock_timestamp()").Scan(&now))
			return now
		}, 40 * time.Second},
		"sqlite": {"sqlite://", func(*db.DB) time.Time { return ahead() }, 0},
	} {
		d, err := db.Open(t.Context(), tt.url, db.Config{Now: ahead})
		require.NoError(t, err)
		defer d.Close()
		require.WithinDuration(t, tt.want(d), d.Clock.Now(), 10*time.Second, name)
		require.InDelta(t, tt.skew, d.Clock.Skew(), float64(10*time.Second), name)
	}
}
