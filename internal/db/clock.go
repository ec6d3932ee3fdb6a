package db

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	// The database is asked for its time this often at most, and so long.
	askEvery = 5 * time.Second
	askLimit = 5 * time.Second

	// skewMax is how far the clock of this machine may be from the database's before
	// the log says so.
	skewMax = 5 * time.Second

	// drift is by how much a clock that is kept right gains or loses at most: adjtime
	// slews by half a thousandth.
	drift = 1.0 / 2000
)

// A Clock tells the time of a database, which is what processes compare: their own
// clocks differ, and are set. It is the database's time when it was last asked, and
// what has passed since by a clock that nobody sets. So telling the time asks
// nothing, and it is right to within half of the fastest round trip. It is safe for
// concurrent use.
type Clock struct {
	ask  func(context.Context) (time.Time, error) // nil is the clock of this machine
	wall func() time.Time
	log  *slog.Logger

	mu     sync.Mutex
	asked  time.Time     // when it was last asked for
	at     time.Time     // when it was base, by the own clock that nobody sets
	base   time.Time     // the database's time
	within time.Duration // of which base is right
	told   time.Duration // the skew that the log was told of
}

// NewClock returns a clock of what ask returns, which is the database's time at some
// instant between call and return. If ask is nil it is the clock of this machine. That
// is wall, or time.Now if wall is nil. The log is told when it is wrong; nil discards.
func NewClock(ask func(context.Context) (time.Time, error), wall func() time.Time, log *slog.Logger) *Clock {
	if wall == nil {
		wall = time.Now
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Clock{ask: ask, wall: wall, log: log}
}

// Now returns the time. Every few seconds it has the database asked in the background.
// It is the time of this machine before Ask has succeeded once.
func (c *Clock) Now() time.Time {
	if c.ask == nil {
		return c.wall()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if now.Sub(c.asked) >= askEvery {
		c.asked = now
		go func() { _ = c.Ask(context.Background()) }() // which logs nothing: who uses the database does
	}
	if c.base.IsZero() {
		return c.wall()
	}
	return c.base.Add(now.Sub(c.at))
}

// Ask asks the database for its time. An answer that took long counts only if the
// clock is certainly wrong.
func (c *Clock) Ask(ctx context.Context) error {
	if c.ask == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	began := time.Now()
	told, err := c.ask(ctx)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = began
	c.learn(began, time.Now(), told)
	c.watchSkew(ctx)
	return nil
}

// learn takes in that it was told at some instant between two of the own clock. What
// it takes over is what fits that and what was known. If nothing does, the database's
// clock was set, or is another one's since a failover.
func (c *Clock) learn(began, ended, told time.Time) {
	first, last := told, told.Add(ended.Sub(began)) // what it may be now
	if !c.base.IsZero() {
		passed := ended.Sub(c.at)
		known, within := c.base.Add(passed), c.within+time.Duration(float64(passed)*drift)
		if low, high := known.Add(-within), known.Add(within); !low.After(last) && !high.Before(first) {
			first, last = later(first, low), earlier(last, high)
		}
	}
	c.within = last.Sub(first) / 2
	c.at, c.base = ended, first.Add(c.within)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// Skew returns how far the clock of this machine is ahead of the database's. It is
// negative if it is behind, and zero if there is only one clock, or the database was
// never asked.
func (c *Clock) Skew() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.skew()
}

func (c *Clock) skew() time.Duration {
	if c.base.IsZero() {
		return 0
	}
	return c.wall().Sub(c.base.Add(time.Since(c.at)))
}

// watchSkew tells the log when the skew becomes too large, changes, or is over.
func (c *Clock) watchSkew(ctx context.Context) {
	skew := c.skew().Round(time.Millisecond)
	wrong, changed := skew.Abs() > skewMax, (skew-c.told).Abs() > skewMax
	switch {
	case wrong && changed:
		c.log.WarnContext(ctx, "the clock of this machine differs from the database's, which is what counts: set it", "ahead_by", skew)
		c.told = skew
	case !wrong && c.told != 0:
		c.log.InfoContext(ctx, "the clock of this machine is right again", "ahead_by", skew)
		c.told = 0
	}
}
