package main

import (
	"context"
	"log/slog"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/duffy-ci/duffy"
	"github.com/duffy-ci/duffy/internal/config"
)

type serveCmd struct{ listenFlags }

func (c *serveCmd) Run(ctx context.Context, p *program) error {
	s, err := p.start(ctx)
	if err != nil {
		return err
	}
	defer s.duffy.Close()
	// Playbooks are the workers' concern and may be on other machines.
	if err := s.cfg.CheckPools(duffy.Options{}); err != nil {
		s.log.WarnContext(ctx, "workers with this configuration will not start", "err", err)
	}
	if err := s.duffy.Check(ctx); err != nil {
		return err
	}
	return s.serve(ctx, c.listenFlags)
}

type runCmd struct{ listenFlags }

func (c *runCmd) Run(ctx context.Context, p *program) error {
	s, err := p.startWorker(ctx)
	if err != nil {
		return err
	}
	defer s.duffy.Close()
	legacyAPI, err := s.legacyAPI()
	if err != nil {
		return err
	}
	if strings.HasPrefix(s.cfg.Database, "sqlite") {
		err = s.duffy.Migrate(ctx) // nobody else can be using it
	} else {
		err = s.duffy.Check(ctx)
	}
	if err != nil {
		return err
	}
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error { return s.serve(ctx, c.listenFlags) })
	all.Go(func() error { return s.duffy.Work(ctx) })
	if legacyAPI != nil {
		all.Go(func() error { return legacyAPI.serve(ctx, listenFlags{}) })
	}
	return all.Wait()
}

// A service is what runs until it is told to stop.
type service struct {
	*program
	duffy *duffy.Duffy
	cfg   duffy.Config
	files *config.Files
	log   *slog.Logger
}

func (p *program) start(ctx context.Context) (*service, error) {
	files, err := config.Load(p.paths()...)
	if err != nil {
		return nil, err
	}
	log := p.serviceLogger(ctx, files, files.Config().App.LogLevel)
	cfg, err := duffy.LoadConfig(p.paths()...)
	if err != nil {
		return nil, err
	}
	if p.concurrency > 0 {
		cfg.LongWorkers, cfg.Ansible.Concurrency = p.concurrency, p.concurrency
	}
	d, err := p.assemble(ctx, cfg, log)
	if err != nil {
		return nil, err
	}
	return &service{p, d, cfg, files, log}, nil
}

// startWorker is start for those who provision nodes. It refuses pools that are
// misconfigured before the database is opened, which SQLite's comes to exist by.
func (p *program) startWorker(ctx context.Context) (*service, error) {
	cfg, err := duffy.LoadConfig(p.paths()...)
	if err != nil {
		return nil, err
	}
	if err := cfg.CheckPools(duffy.Options{}); err != nil {
		return nil, err
	}
	return p.start(ctx)
}

// serviceLogger returns a logger that has been told what is ignored.
func (p *program) serviceLogger(ctx context.Context, files *config.Files, level string) *slog.Logger {
	log := p.logger(level)
	if ignored := files.Ignored(); len(ignored) > 0 {
		log.WarnContext(ctx, "configuration that has no meaning here is ignored", "keys", ignored)
	}
	return log
}

// serve serves the REST API until ctx ends.
func (s *service) serve(ctx context.Context, flags listenFlags) error {
	app := s.files.Config().App
	l, err := flags.listen(app.Host, app.Port)
	if err != nil {
		return err
	}
	s.printf(" * Starting Duffy...\n * Host address : %s\n * Port number  : %d\n * Serving API docs on http://%s/docs/\n",
		l.host, l.port, l.Addr())
	return l.serve(ctx, s.duffy.Handler(), s.log)
}
