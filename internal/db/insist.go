package db

import (
	"context"
	"errors"
	"time"

	"github.com/uptrace/bun"
)

const (
	insistPauseMin = 100 * time.Millisecond
	insistPauseMax = 2 * time.Second

	// attemptTimeout limits one attempt: the database may take a connection and not answer.
	attemptTimeout = 10 * time.Second
)

// Insist runs do in a transaction, again and again, until that succeeds. It is for what only
// this process knows. do must work again after a commit that was not confirmed.
//
// While the database is away there is no limit as long as ctx lasts. After the end of ctx,
// and with an error that says something else, it gives up after patience, and returns the
// error. failed is told each error that it goes on after.
func Insist(ctx context.Context, d *bun.DB, patience time.Duration, failed func(error), do func(context.Context, bun.Tx) error) error {
	var refused, ended time.Time
	for pause := insistPauseMin; ; pause = min(2*pause, insistPauseMax) {
		err := attempt(ctx, d, do)
		switch now := time.Now(); {
		case err == nil:
			return nil
		case away(err):
			refused = time.Time{}
		case refused.IsZero():
			refused = now
		}
		if ctx.Err() != nil && ended.IsZero() {
			ended = time.Now()
		}
		if over(refused, patience) || over(ended, patience) {
			return err
		}
		failed(err)
		time.Sleep(pause)
	}
}

func attempt(ctx context.Context, d *bun.DB, do func(context.Context, bun.Tx) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), attemptTimeout)
	defer cancel()
	return d.RunInTx(ctx, nil, do)
}

// away tells whether an attempt failed since the database did not answer. Its context ends
// for no other reason.
func away(err error) bool {
	return Unavailable(err) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

func over(since time.Time, patience time.Duration) bool {
	return !since.IsZero() && time.Since(since) >= patience
}
