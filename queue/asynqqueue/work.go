package asynqqueue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/hibiken/asynq"

	"github.com/duffy-ci/duffy/queue"
)

const (
	// Workers ask for jobs this often when there were none, and for failed ones
	// that are due again.
	pollInterval  = 50 * time.Millisecond
	retryInterval = 500 * time.Millisecond

	// How often Redis is asked whether it is there.
	healthInterval = time.Second

	// asynq takes 100 jobs that are done out of Redis at a time.
	janitorInterval = time.Second
)

// asynq's queues: each has a server of its own, with workers of its own.
const (
	shortQueue = "short"
	longQueue  = "long"
)

func queueOf(long bool) string {
	if long {
		return longQueue
	}
	return shortQueue
}

// Work implements [queue.Queue]. Jobs of a kind that mux does not handle fail. It
// returns an error if there is no outbox, and waits for a Redis or a database that
// is away.
func (q *Queue) Work(ctx context.Context, mux *queue.Mux) error {
	if err := q.await(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	client := asynq.NewClient(q.redis)
	defer client.Close()
	health := newHealth(q.cfg.Logger, client)
	running, interrupt := context.WithCancel(context.WithoutCancel(ctx))
	defer interrupt()
	w := &worker{mux: mux, log: q.cfg.Logger, running: running}
	short := q.server(health, shortQueue, q.cfg.ShortWorkers)
	long := q.server(health, longQueue, q.cfg.LongWorkers)
	for _, server := range []*asynq.Server{short, long} {
		if err := server.Start(w); err != nil {
			return fmt.Errorf("start asynq: %w", err)
		}
	}
	relay := &relay{Queue: q, mux: mux, client: client, health: health}
	relay.run(ctx)

	defer time.AfterFunc(q.cfg.ShutdownTimeout, interrupt).Stop()
	var servers sync.WaitGroup
	servers.Go(short.Shutdown)
	servers.Go(long.Shutdown)
	servers.Wait()
	w.handlers.Wait()
	return nil
}

// await waits until it is known whether there is an outbox, or ctx ends.
func (q *Queue) await(ctx context.Context) error {
	database := outage{log: q.cfg.Logger, what: "cannot read the outbox"}
	for ctx.Err() == nil {
		err := q.Current(ctx)
		if errors.Is(err, errNoOutbox) {
			return err
		}
		if ctx.Err() == nil {
			database.note(err)
		}
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(failureDelay):
		}
	}
	return nil
}

func (q *Queue) server(h *health, name string, workers int) *asynq.Server {
	return asynq.NewServer(q.redis, asynq.Config{
		Concurrency:              workers,
		Queues:                   map[string]int{name: 1},
		TaskCheckInterval:        pollInterval,
		DelayedTaskCheckInterval: retryInterval,
		JanitorInterval:          janitorInterval,
		RetryDelayFunc: func(retried int, _ error, _ *asynq.Task) time.Duration {
			return time.Duration(retried+1) * time.Second
		},
		HealthCheckFunc:     h.redis.note,
		HealthCheckInterval: healthInterval,
		ShutdownTimeout:     q.cfg.ShutdownTimeout,
		Logger:              h,
		LogLevel:            asynq.WarnLevel,
	})
}

// worker is an [asynq.Handler] that has jobs of all kinds handled by a mux.
type worker struct {
	mux      *queue.Mux
	log      *slog.Logger
	running  context.Context // ends when handlers are to be interrupted
	handlers sync.WaitGroup
}

// ProcessTask implements [asynq.Handler]. The handler's context does not end with
// asynq's, which does so too when Redis was away for half a minute.
func (w *worker) ProcessTask(ctx context.Context, task *asynq.Task) error {
	err := w.dispatch(task)
	if err == nil {
		return nil
	}
	if w.running.Err() != nil {
		<-ctx.Done() // asynq puts the job back, as if it had not run
		return err
	}
	id, _ := asynq.GetTaskID(ctx)
	retried, _ := asynq.GetRetryCount(ctx)
	w.log.WarnContext(ctx, "job failed", slog.String("kind", task.Type()), slog.String("job", id),
		slog.Int("attempt", retried+1), slog.Int("of", maxAttempts), slog.String("error", err.Error()))
	return err
}

func (w *worker) dispatch(task *asynq.Task) (err error) {
	w.handlers.Add(1)
	defer w.handlers.Done()
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	return w.mux.Dispatch(w.running, task.Type(), task.Payload())
}
