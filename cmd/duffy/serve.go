package main

import (
	"context"
	"errors"
	"log/slog"

	"github.com/uptrace/bun/dialect"
	"golang.org/x/sync/errgroup"

	"github.com/duffy-ci/duffy"
	"github.com/duffy-ci/duffy/internal/config"
)

type serveCmd struct{ listenFlags }

func (c *serveCmd) Run(ctx context.Context, p *program) error {
	certs, err := p.certificates()
	if err != nil {
		return err
	}
	s, err := p.start(ctx, checkSchema)
	if err != nil {
		return err
	}
	defer s.duffy.Close()
	// Playbooks are the workers' concern and may be on other machines.
	if err := s.cfg.CheckPools(duffy.Options{}); err != nil {
		s.log.WarnContext(ctx, "workers with this configuration will not start", "err", err)
	}
	return s.serve(ctx, c.listenFlags, certs)
}

type runCmd struct{ listenFlags }

func (c *runCmd) Run(ctx context.Context, p *program) error {
	certs, err := p.certificates()
	if err != nil {
		return err
	}
	s, err := p.startWorker(ctx, migrateOwn)
	if err != nil {
		return err
	}
	defer s.duffy.Close()
	legacyAPI, err := s.legacyAPI(ctx)
	if err != nil {
		return err
	}
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error { return s.serve(ctx, c.listenFlags, certs) })
	all.Go(func() error { return s.duffy.Work(ctx) })
	if legacyAPI != nil {
		all.Go(func() error { return legacyAPI.serve(ctx, listenFlags{}) })
	}
	return all.Wait()
}

func checkSchema(ctx context.Context, d *duffy.Duffy) error { return d.Check(ctx) }

// migrateOwn migrates a database that nobody else can be using, and checks others.
func migrateOwn(ctx context.Context, d *duffy.Duffy) error {
	if d.DB().Dialect().Name() == dialect.SQLite {
		return d.Migrate(ctx)
	}
	return checkSchema(ctx, d)
}

// A service is what runs until it is told to stop.
type service struct {
	*program
	duffy *duffy.Duffy
	cfg   duffy.Config
	files *config.Files
	log   *slog.Logger
}

// start starts nothing yet, but has the database there, prepared.
func (p *program) start(ctx context.Context, prepare func(context.Context, *duffy.Duffy) error) (*service, error) {
	files, err := p.load()
	if err != nil {
		return nil, err
	}
	log := p.serviceLogger(ctx, files, files.Config().App.LogLevel)
	warnOfExposed(ctx, log, exposedConfig(files)...)
	warnOfExposed(ctx, log, exposedSecrets(serverFiles(files.Config())...)...)
	cfg, err := p.loadConfig()
	if err != nil {
		return nil, err
	}
	if p.concurrency > 0 {
		cfg.LongWorkers, cfg.Ansible.Concurrency = p.concurrency, p.concurrency
	}
	d, err := awaitDatabase(ctx, log, func() (*duffy.Duffy, error) {
		d, err := p.assemble(ctx, cfg, log)
		if err != nil {
			return nil, err
		}
		if err := prepare(ctx, d); err != nil {
			return nil, errors.Join(err, d.Close())
		}
		return d, nil
	})
	if err != nil {
		return nil, err
	}
	return &service{p, d, cfg, files, log}, nil
}

// startWorker is start for those who provision nodes. It refuses pools that are
// misconfigured before the database is opened, which SQLite's comes to exist by.
func (p *program) startWorker(ctx context.Context, prepare func(context.Context, *duffy.Duffy) error) (*service, error) {
	cfg, err := p.loadConfig()
	if err != nil {
		return nil, err
	}
	if err := cfg.CheckPools(duffy.Options{}); err != nil {
		return nil, err
	}
	s, err := p.start(ctx, prepare)
	if err != nil {
		return nil, err
	}
	for _, warning := range cfg.Warnings(duffy.Options{}) {
		s.log.WarnContext(ctx, "configuration is likely a mistake", "warning", warning)
	}
	return s, nil
}

// serviceLogger returns a logger that has been told what is ignored.
func (p *program) serviceLogger(ctx context.Context, files *config.Files, level string) *slog.Logger {
	log := p.logger(level)
	if ignored := files.Ignored(); len(ignored) > 0 {
		log.WarnContext(ctx, "configuration that has no meaning here is ignored", "keys", ignored)
	}
	return log
}

// serve serves the REST API, and metrics if they have a port of their own, until
// ctx ends.
func (s *service) serve(ctx context.Context, flags listenFlags, certs *certificates) error {
	app := s.files.Config().App
	l, err := flags.listen(app.Host, app.Port, certs)
	if err != nil {
		return err
	}
	s.printf(" * Starting Duffy...\n * Host address : %s\n * Port number  : %d\n * Serving API docs on %s://%s/docs/\n",
		l.host, l.port, l.scheme(), l.Addr())
	l.delay, l.limits, l.proxies = app.ShutdownDelay, app.Limits, app.TrustedProxies
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error { return l.serve(ctx, s.duffy.Handler(), s.log) })
	all.Go(func() error { return s.monitor(ctx, "app", app.Metrics) })
	return all.Wait()
}
