package riverqueue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/duffy-ci/duffy/queue"
)

const (
	// fetchCooldown keeps workers from asking for jobs more often than that, which
	// they do when jobs are announced, and at every pollInterval for those that
	// were not: those that are due now but were inserted before, and those
	// inserted within announceCooldown of others by the same process.
	fetchCooldown    = 3 * time.Millisecond
	pollInterval     = 250 * time.Millisecond
	announceCooldown = time.Millisecond

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
)

// riverConfig returns the configuration of a client that only inserts.
func (q *Queue) riverConfig() *river.Config {
	return &river.Config{
		FetchCooldown: announceCooldown,
		Logger:        slog.New(warnings{q.cfg.Logger.Handler()}),
		MaxAttempts:   maxAttempts,
	}
}

// Work implements [queue.Queue]. Jobs of a kind that mux does not handle fail.
func (q *Queue) Work(ctx context.Context, mux *queue.Mux) error {
	cfg := q.riverConfig()
	cfg.CompletedJobRetentionPeriod = completedRetention
	cfg.DiscardedJobRetentionPeriod = discardedRetention
	cfg.ErrorHandler = failures{q.cfg.Logger}
	cfg.FetchCooldown = fetchCooldown
	cfg.FetchPollInterval = pollInterval
	cfg.JobTimeout = lostAfter // of none, since all have their own, but River wants it so
	cfg.RescueStuckJobsAfter = lostAfter
	cfg.RetryPolicy = retries{}
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
	periodic := &periodicJobs{ctx: ctx}
	cfg.PeriodicJobs = periodic.of(mux)

	c, err := q.engine.worker(cfg)
	if err != nil {
		return fmt.Errorf("set up River: %w", err)
	}
	periodic.client = c
	if err := c.Start(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("start River: %w", err)
	}
	<-c.Stopped()
	return nil
}

// anyArgs stands for the jobs of a kind, whose JSON is left to the mux.
type anyArgs struct{ kind string }

func (a anyArgs) Kind() string                { return a.kind }
func (a *anyArgs) UnmarshalJSON([]byte) error { return nil }

// worker has jobs of all kinds handled by a mux.
type worker struct {
	river.WorkerDefaults[anyArgs]
	mux     *queue.Mux
	running sync.Map // tags of the periodic jobs that run in this process
}

// Timeout is when River takes a job for lost. The mux stops it before.
func (w *worker) Timeout(job *river.Job[anyArgs]) time.Duration {
	return w.mux.Timeout(job.Kind) + timeoutGrace
}

func (w *worker) Work(ctx context.Context, job *river.Job[anyArgs]) error {
	if tag, ok := periodicTag(job.Tags); ok {
		if _, overtaken := w.running.LoadOrStore(tag, true); overtaken {
			return nil
		}
		defer w.running.Delete(tag)
	}
	return w.mux.Dispatch(ctx, job.Kind, job.EncodedArgs)
}

// retries is a [river.ClientRetryPolicy] that waits a second longer each time.
type retries struct{}

func (retries) NextRetry(job *rivertype.JobRow) time.Time {
	return time.Now().Add(time.Duration(job.Attempt) * time.Second)
}

// failures is a [river.ErrorHandler] that logs.
type failures struct{ log *slog.Logger }

func (f failures) HandleError(ctx context.Context, job *rivertype.JobRow, err error) *river.ErrorHandlerResult {
	if unknown := (*rivertype.UnknownJobKindError)(nil); !errors.As(err, &unknown) { // which River logs itself
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
