package asynqqueue

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/hibiken/asynq"
)

// Ping implements [queue.Pinger]. The first one opens a connection that stays open.
func (q *Queue) Ping(ctx context.Context) error {
	answer := make(chan error, 1)
	go func() { answer <- q.pinger().Ping() }()
	var err error
	select {
	case err = <-answer:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("cannot reach Redis: %w", err)
	}
	return nil
}

// aftermath is how long after an outage errors may still come of it.
const aftermath = 5 * time.Second

// health knows what does not work. It is asynq's logger too, in order to keep
// quiet what comes of Redis being away.
type health struct {
	log      *slog.Logger
	client   *asynq.Client
	redis    outage
	relaying outage
}

func newHealth(log *slog.Logger, client *asynq.Client) *health {
	return &health{
		log: log, client: client,
		redis:    outage{log: log, what: "cannot reach Redis"},
		relaying: outage{log: log, what: "cannot hand jobs to Redis"},
	}
}

// noteRelaying notes that relaying failed or, with a nil error, works.
func (h *health) noteRelaying(err error) {
	if err == nil || !h.redisAway() {
		h.relaying.note(err)
	}
}

// redisAway tells whether an error may come of Redis being away.
func (h *health) redisAway() bool {
	if h.redis.recent() {
		return true
	}
	if err := h.client.Ping(); err != nil {
		h.redis.note(err)
	}
	return h.redis.recent()
}

// An outage is logged when it begins and when it is over.
type outage struct {
	log  *slog.Logger
	what string

	mu    sync.Mutex
	since time.Time // zero if there is none
	over  time.Time // the last one
}

// note notes an error, or that there is none. An error right after an outage may
// still be of it, as several ask at once; if it is of another one, it comes again.
func (o *outage) note(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case err != nil && o.since.IsZero() && time.Since(o.over) > healthInterval:
		o.since = time.Now()
		o.log.Warn(o.what, "err", err)
	case err == nil && !o.since.IsZero():
		o.log.Info(o.what+": over", "after", time.Since(o.since))
		o.since, o.over = time.Time{}, time.Now()
	}
}

func (o *outage) lasts() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.since.IsZero()
}

// recent tells whether there is an outage, or was one of which there may still be
// errors.
func (o *outage) recent() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.since.IsZero() || time.Since(o.over) < aftermath
}

// Debug implements [asynq.Logger]. Nobody needs what it is told.
func (h *health) Debug(...any) {}

// Info implements [asynq.Logger], see Debug.
func (h *health) Info(...any) {}

// Warn implements [asynq.Logger].
func (h *health) Warn(args ...any) { h.complain(slog.LevelWarn, args) }

// Error implements [asynq.Logger].
func (h *health) Error(args ...any) { h.complain(slog.LevelError, args) }

// Fatal implements [asynq.Logger], which wants it to end the process. It does not.
func (h *health) Fatal(args ...any) { h.complain(slog.LevelError, args) }

func (h *health) complain(level slog.Level, args []any) {
	message := fmt.Sprint(args...)
	if strings.HasPrefix(message, "Retry exhausted") || h.redisAway() { // which is said elsewhere
		return
	}
	h.log.Log(context.Background(), level, "asynq: "+message)
}
