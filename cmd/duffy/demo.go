package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/duffy-ci/duffy"
	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/backend/loopback"
	"github.com/duffy-ci/duffy/pool"
	"github.com/duffy-ci/duffy/tenant"
)

type demoCmd struct {
	Port  int    `short:"p" help:"Port to listen on; by default 8080, or any free one if that is taken." placeholder:"PORT"`
	State string `type:"path" help:"Directory to keep the database and the keys in. That of an earlier demo is started over. By default it is a temporary one." placeholder:"DIR"`
	Once  bool   `help:"End when the story is told, instead of serving until Ctrl-C."`
}

// Help implements kong's interface of that name.
func (demoCmd) Help() string {
	return `Needs nothing: database, workers, REST API and the nodes, which are SSH servers on 127.77.0.0/16, are all in this process.

Tells the story of a session, from full pools to full pools, with commands to try it by, and serves on until Ctrl-C. The exit status is 0 then, but 130 if the story was interrupted and 1 if something went wrong.`
}

const (
	demoHost        = "127.0.0.1"
	demoDefaultPort = 8080
	demoTenant      = "demo"

	// Slow enough to watch, two nodes at a time.
	demoProvisionDelay = 700 * time.Millisecond
	demoLongWorkers    = 2

	// How long Ctrl-C waits at most, for provisioning and for requests.
	demoShutdownTimeout = 3 * time.Second
	demoDrainTimeout    = time.Second

	exitInterrupted = 130
)

func (c *demoCmd) Run(ctx context.Context, p *program) error {
	// Closed terminals and pipes must not keep it from clearing up.
	signal.Ignore(syscall.SIGPIPE)
	if !signal.Ignored(syscall.SIGHUP) {
		var stop context.CancelFunc
		ctx, stop = signal.NotifyContext(ctx, syscall.SIGHUP)
		defer stop()
	}
	listener, err := c.listen()
	if err != nil {
		return err
	}
	defer listener.Close()
	dir, err := openDemoDir(c.State)
	if err != nil {
		return err
	}
	err = c.play(ctx, p, listener, dir)
	if ctx.Err() != nil && err != nil {
		err = exitError(exitInterrupted)
	}
	if closeErr := dir.close(); closeErr != nil {
		return closeErr
	}
	p.printf("\nThe end: %s %s.\n", dir.path, dir.fate())
	return err
}

func (c *demoCmd) listen() (net.Listener, error) {
	port := c.Port
	if port == 0 {
		port = demoDefaultPort
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(demoHost, strconv.Itoa(port)))
	if !errors.Is(err, syscall.EADDRINUSE) {
		return listener, err
	}
	if c.Port == 0 {
		return net.Listen("tcp", net.JoinHostPort(demoHost, "0"))
	}
	return nil, fmt.Errorf("port %d is taken: choose another with --port, or leave it out to get one that is free", port)
}

// play runs Duffy for as long as the story goes on.
func (c *demoCmd) play(ctx context.Context, p *program, listener net.Listener, dir *demoDir) (err error) {
	nodes := loopback.New(loopback.Config{
		Dir: dir.file("nodes"), AuthorizedKey: dir.serviceKey.authorized(), ProvisionDelay: demoProvisionDelay,
	})
	defer func() { err = errors.Join(err, nodes.Close()) }()
	cfg, err := demoConfig(dir)
	if err != nil {
		return err
	}
	d, err := duffy.New(ctx, cfg, duffy.Options{
		Logger: p.logger("warning"), Backends: map[string]backend.Backend{"loopback": nodes},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	apiKey, err := populateDemo(ctx, d, dir)
	if err != nil {
		return err
	}
	s, err := newDemoStory(p.rawStdout, d, dir, listener.Addr().String(), apiKey)
	if err != nil {
		return err
	}

	all, ctx := errgroup.WithContext(ctx)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	all.Go(func() error { return d.Work(ctx) })
	all.Go(func() error { return serveDemo(ctx, listener, d.Handler()) })
	all.Go(func() error {
		defer stop()
		return s.tell(ctx, c.Once)
	})
	return all.Wait()
}

// demoConfig has a pool of nodes that are thrown away after use and one of nodes
// that are used again.
func demoConfig(dir *demoDir) (duffy.Config, error) {
	pools, err := pool.NewSet(
		pool.Config{
			Name: "virtual", FillLevel: new(3), Backend: "loopback",
			OnInterrupted: pool.OnInterruptedRetry, // for nothing to complain about after Ctrl-C
		},
		pool.Config{
			Name: "physical", FillLevel: new(5), Backend: "loopback",
			ReuseNodes: map[string]any{"kind": "physical"},
		},
	)
	cfg := duffy.Config{
		Database: "sqlite:///" + dir.file("duffy.db"), Pools: pools,
		LongWorkers: demoLongWorkers, ShutdownTimeout: demoShutdownTimeout,
	}
	cfg.SSH.KeyFiles = []string{dir.serviceKey.file}
	return cfg, err
}

// populateDemo makes the tenant and the machines that are used again, and
// returns the tenant's API key.
func populateDemo(ctx context.Context, d *duffy.Duffy, dir *demoDir) (string, error) {
	if err := d.Migrate(ctx); err != nil {
		return "", err
	}
	physical := d.Pools.Pools().Get("physical")
	for i := range *physical.FillLevel {
		_, err := d.Pools.CreateNode(ctx, pool.Node{
			Hostname: fmt.Sprintf("physical-%d.example.net", i+1), Reusable: true, Data: physical.ReuseNodes,
		})
		if err != nil {
			return "", err
		}
	}
	_, key, err := d.Tenants.Create(ctx, tenant.Tenant{Name: demoTenant, SSHKey: dir.tenantKey.authorized()})
	return key.String(), err
}

func serveDemo(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout,
		WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
	}
	drained := make(chan error, 1)
	context.AfterFunc(ctx, func() {
		ctx, cancel := context.WithTimeout(context.Background(), demoDrainTimeout)
		defer cancel()
		if server.Shutdown(ctx) == nil {
			drained <- nil
			return
		}
		drained <- server.Close()
	})
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the REST API: %w", err)
	}
	return <-drained
}
