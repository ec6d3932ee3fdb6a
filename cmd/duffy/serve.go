package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/duffy-ci/duffy"
	"github.com/duffy-ci/duffy/internal/config"
)

type listenFlags struct {
	Host   string `short:"H" help:"Address to listen on." placeholder:"HOST"`
	Port   int    `short:"p" help:"Port to listen on." placeholder:"PORT"`
	Reload bool   `negatable:"" hidden:"" help:"Accepted for the sake of Duffy 3's unit files."`
}

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

type workerCmd struct {
	Args []string `arg:"" optional:"" passthrough:"" help:"Options of Duffy 3's worker: --concurrency=N sets how many playbooks run at once, others have no meaning here."`
}

func (c *workerCmd) Run(ctx context.Context, p *program) error {
	s, err := p.start(ctx)
	if err != nil {
		return err
	}
	defer s.duffy.Close()
	if err := s.cfg.CheckPools(duffy.Options{}); err != nil {
		return err
	}
	if err := s.duffy.Check(ctx); err != nil {
		return err
	}
	return s.duffy.Work(ctx)
}

type runCmd struct{ listenFlags }

func (c *runCmd) Run(ctx context.Context, p *program) error {
	s, err := p.start(ctx)
	if err != nil {
		return err
	}
	defer s.duffy.Close()
	if err := s.cfg.CheckPools(duffy.Options{}); err != nil {
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
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() error { return s.serve(ctx, c.listenFlags) })
	both.Go(func() error { return s.duffy.Work(ctx) })
	return both.Wait()
}

// A service is what runs until it is told to stop.
type service struct {
	*program
	duffy *duffy.Duffy
	cfg   duffy.Config
	app   config.App
	log   *slog.Logger
}

func (p *program) start(ctx context.Context) (*service, error) {
	files, err := config.Load(p.paths()...)
	if err != nil {
		return nil, err
	}
	app := files.Config().App
	log := p.logger(app.LogLevel)
	if ignored := files.Ignored(); len(ignored) > 0 {
		log.WarnContext(ctx, "configuration that has no meaning here is ignored", "keys", ignored)
	}
	d, cfg, err := p.open(ctx, log)
	if err != nil {
		return nil, err
	}
	return &service{p, d, cfg, app, log}, nil
}

const (
	readHeaderTimeout = 10 * time.Second
	readTimeout       = 60 * time.Second
	writeTimeout      = 150 * time.Second // longer than a session request can take
	idleTimeout       = 120 * time.Second
	drainTimeout      = 90 * time.Second
)

// serve answers requests until ctx ends, and then those that have begun.
func (s *service) serve(ctx context.Context, flags listenFlags) error {
	host, port := s.app.Host, s.app.Port
	if flags.Host != "" {
		host = flags.Host
	}
	if flags.Port != 0 {
		port = flags.Port
	}
	address := net.JoinHostPort(host, strconv.Itoa(port))
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	s.printf(" * Starting Duffy...\n * Host address : %s\n * Port number  : %d\n * Serving API docs on http://%s/docs/\n",
		host, port, listener.Addr())
	server := &http.Server{
		Handler:           s.duffy.Handler(),
		ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout,
		WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	drained := make(chan error, 1)
	context.AfterFunc(ctx, func() {
		s.log.Info("finishing requests")
		ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
		defer cancel()
		drained <- server.Shutdown(ctx)
	})
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve on %s: %w", address, err)
	}
	return <-drained
}
