package riverqueue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/duffy-ci/duffy/queue"
)

const (
	// Workers ask for jobs when some are announced, though not more often than
	// fetchCooldown, and every pollInterval for those that were not.
	fetchCooldown = 3 * time.Millisecond
	pollInterval  = 250 * time.Millisecond

	// A process announces jobs this often at most. PostgreSQL commits
	// transactions that announce something one after the other, each with a wait
	// for the disk of its own: a busy service must not have many of them.
	announceCooldown = pollInterval

	// A job that fails is run again after 1 and 2 seconds. More is up to reconcile.
	maxAttempts = 3

	// Jobs are only of interest while they are to be done, or if they failed.
	completedRetention = time.Minute
	discardedRetention = 24 * time.Hour

	// A job is taken for lost, and run again, when it has been running for its
	// timeout and this long on top, in which its handler may notice the timeout,
	// and not before lostAfter.
	timeoutGrace = 30 * time.Second
	lostAfter    = time.Minute

	// The database is asked this often whether it is back.
	pingInterval = time.Second
)

// riverConfig returns the configuration of a client that only inserts.
func (q *Queue) riverConfig() *river.Config {
	return &river.Config{
		FetchCooldown: announceCooldown,
		Logger:        slog.New(warnings{q.cfg.Logger.Handler()}),
		MaxAttempts:   maxAttempts,
	}
}

// Work implements [queue.Queue]. Jobs of a kind that mux does not handle fail. It
// returns an error if River's tables are not there, and waits for a database that is
// away.
func (q *Queue) Work(ctx context.Context, mux *queue.Mux) error {
	cfg := q.riverConfig()
	cfg.CompletedJobRetentionPeriod = completedRetention
	cfg.DiscardedJobRetentionPeriod = discardedRetention
	cfg.ErrorHandler = failures{q.cfg.Logger}
	cfg.FetchCooldown = fetchCooldown
	cfg.FetchPollInterval = pollInterval
	cfg.PollOnly = q.cfg.PollOnly
	cfg.JobTimeout = lostAfter // of none, since all have their own, but River wants it so
	cfg.RescueStuckJobsAfter = lostAfter
	cfg.RetryPolicy = retries{q.cfg.Now}
	cfg.ReindexerSchedule = river.NeverSchedule() // of indexes that Migrate drops
	cfg.SoftStopTimeout = q.cfg.ShutdownTimeout
	cfg.Queues = map[string]river.QueueConfig{
		shortQueue: {MaxWorkers: q.cfg.ShortWorkers},
		longQueue:  {MaxWorkers: q.cfg.LongWorkers},
	}
	cfg.Workers = river.NewWorkers()
	w := &worker{mux: mux}
	for _, kind := range mux.Kinds() {
		river.AddWorkerArgs(cfg.Workers, anyArgs{kind}, w)
	}

	ctx, release := cancelled(ctx)
	defer release()
	c, err := q.start(ctx, cfg)
	if c == nil {
		return err
	}
	<-c.Stopped()
	return nil
}

// cancelled returns a context that is cancelled when ctx ends, in whatever way that
// does. River takes anything but a cancellation for an error, which it tries to get
// over without end.
func cancelled(ctx context.Context) (_ context.Context, release func()) {
	plain, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	if ctx.Err() != nil {
		cancel() // now, not soon
	}
	return plain, func() { stop(); cancel() }
}

// start starts a client, once the database is there. It returns none if ctx ends.
func (q *Queue) start(ctx context.Context, cfg *river.Config) (client, error) {
	for ctx.Err() == nil {
		c, err := q.engine.worker(cfg)
		if err != nil {
			return nil, fmt.Errorf("set up River: %w", err)
		}
		if err = c.Start(ctx); err == nil {
			return c, nil
		}
		if ctx.Err() != nil {
			break
		}
		if !q.passes(ctx, err) {
			return nil, fmt.Errorf("start River: %w", err)
		}
		q.cfg.Logger.WarnContext(ctx, "cannot start River, waiting for the database", "err", err)
		q.awaitDatabase(ctx)
	}
	return nil, nil
}

// passes tells whether River could not be started for a reason that passes.
func (q *Queue) passes(ctx context.Context, err error) bool {
	return q.cfg.Unavailable != nil && q.cfg.Unavailable(err) || q.db.PingContext(ctx) != nil
}

// awaitDatabase waits, at least for pingInterval, until the database answers.
func (q *Queue) awaitDatabase(ctx context.Context) {
	tick := time.NewTicker(pingInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if q.db.PingContext(ctx) == nil {
			return
		}
	}
}

// anyArgs stands for the jobs of a kind, whose JSON is left to the mux.
type anyArgs struct{ kind string }

func (a anyArgs) Kind() string                { return a.kind }
func (a *anyArgs) UnmarshalJSON([]byte) error { return nil }

// worker has jobs of all kinds handled by a mux.
type worker struct {
	river.WorkerDefaults[anyArgs]
	mux *queue.Mux
}

// Timeout is when River takes a job for lost. The mux stops it before.
func (w *worker) Timeout(job *river.Job[anyArgs]) time.Duration {
	return w.mux.Timeout(job.Kind) + timeoutGrace
}

func (w *worker) Work(ctx context.Context, job *river.Job[anyArgs]) error {
	if err := w.mux.Dispatch(ctx, job.Kind, job.EncodedArgs); err != nil {
		return storable{err}
	}
	return nil
}

// storable is an error whose text River can write to a database in any encoding, also
// if it quotes what others wrote. A job whose error cannot be written stays running.
type storable struct{ error }

func (e storable) Error() string {
	quoted := strconv.QuoteToASCII(e.error.Error())
	return quoted[1 : len(quoted)-1]
}

func (e storable) Unwrap() error { return e.error }

// retries is a [river.ClientRetryPolicy] that waits a second longer each time.
type retries struct{ now func() time.Time }

func (r retries) NextRetry(job *rivertype.JobRow) time.Time {
	return r.now().Add(time.Duration(job.Attempt) * time.Second)
}

// failures is a [river.ErrorHandler] that logs.
type failures struct{ log *slog.Logger }

func (f failures) HandleError(ctx context.Context, job *rivertype.JobRow, err error) *river.ErrorHandlerResult {
	if unknown := (*rivertype.UnknownJobKindError)(nil); !errors.As(err, &unknown) { // which River logs itself
		if s := (storable{}); errors.As(err, &s) {
			err = s.error
		}
		f.warn(ctx, job, err.Error())
	}
	return nil
}

func (f failures) HandlePanic(ctx context.Context, job *rivertype.JobRow, value any, trace string) *river.ErrorHandlerResult {
	f.warn(ctx, job, fmt.Sprintf("panic: %v\n%s", value, trace))
	return nil
}

func (f failures) warn(ctx context.Context, job *rivertype.JobRow, reason string) {
	f.log.WarnContext(ctx, "job failed", slog.String("kind", job.Kind), slog.Int64("job", job.ID),
		slog.Int("attempt", job.Attempt), slog.Int("of", job.MaxAttempts), slog.String("error", reason))
}

// warnings is a [slog.Handler] that lets nothing less than warnings through.
type warnings struct{ slog.Handler }

func (w warnings) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && w.Handler.Enabled(ctx, level)
}

func (w warnings) WithAttrs(attrs []slog.Attr) slog.Handler {
	return warnings{w.Handler.WithAttrs(attrs)}
}

func (w warnings) WithGroup(name string) slog.Handler { return warnings{w.Handler.WithGroup(name)} }
