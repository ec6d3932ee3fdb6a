package main

import (
	"context"
	"log/slog"

	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy"
	"github.com/duffy-ci/duffy/internal/config"
	"github.com/duffy-ci/duffy/queue"
	"github.com/duffy-ci/duffy/queue/asynqqueue"
)

// assemble assembles Duffy with the configured queue. The caller closes it.
func (p *program) assemble(ctx context.Context, cfg duffy.Config, log *slog.Logger) (*duffy.Duffy, error) {
	newQueue, err := p.newQueue(cfg, log)
	if err != nil {
		return nil, err
	}
	return duffy.New(ctx, cfg, duffy.Options{Logger: log, NewQueue: newQueue})
}

// newQueue returns what makes the configured queue, nil for Duffy's default.
func (p *program) newQueue(cfg duffy.Config, log *slog.Logger) (func(*bun.DB) (queue.Queue, error), error) {
	files, err := p.load()
	if err != nil {
		return nil, err
	}
	tasks := files.Config().Tasks
	if tasks.Queue != config.QueueAsynq {
		return nil, nil
	}
	redis, err := asynqqueue.ParseRedis(tasks.Redis)
	if err != nil {
		return nil, files.At(err, "tasks", "redis")
	}
	return func(db *bun.DB) (queue.Queue, error) {
		return asynqqueue.New(db, redis, asynqqueue.Config{
			Logger: log, LongWorkers: cfg.LongWorkers, ShortWorkers: cfg.Workers, ShutdownTimeout: cfg.ShutdownTimeout,
		}), nil
	}, nil
}
