package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/duffy-ci/duffy"
	"github.com/duffy-ci/duffy/internal/db"
)

// A database that is away is asked for after these pauses: ever longer ones.
const (
	awaitFirst   = 500 * time.Millisecond
	awaitLongest = 5 * time.Second
)

// awaitDatabase opens Duffy once the database is there. What waiting does not help
// is an error at once; if ctx ends before, the program is to end as it was told.
func awaitDatabase(ctx context.Context, log *slog.Logger, open func() (*duffy.Duffy, error)) (*duffy.Duffy, error) {
	for pause := awaitFirst; ; pause = min(2*pause, awaitLongest) {
		d, err := open()
		if !db.Unavailable(err) {
			return d, err
		}
		log.WarnContext(ctx, "waiting for the database", "err", err, "pause", pause)
		select {
		case <-ctx.Done():
			return nil, exitError(0)
		case <-time.After(pause):
		}
	}
}
