// Package duffy keeps pools of machines provisioned ahead of time and hands them
// out at once, in sessions, to tenants who test on them.
//
// A program that embeds Duffy opens it with [New], brings the database's schema
// up to date with [Duffy.Migrate], serves [Duffy.Handler] and runs [Duffy.Work]:
//
//	d, err := duffy.New(ctx, cfg, duffy.Options{})
//	...
//	defer d.Close()
//	err = d.Migrate(ctx)
//	...
//	go d.Work(ctx)
//	err = http.ListenAndServe("localhost:8080", d.Handler())
//
// Serving and working may be left to different processes, any number of each, on
// one PostgreSQL database. On SQLite, one process does both.
package duffy

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/backend/ansible"
	"github.com/duffy-ci/duffy/backend/ssh"
	"github.com/duffy-ci/duffy/httpapi"
	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/foreign"
	"github.com/duffy-ci/duffy/pool"
	"github.com/duffy-ci/duffy/queue"
	"github.com/duffy-ci/duffy/queue/riverqueue"
	"github.com/duffy-ci/duffy/session"
	"github.com/duffy-ci/duffy/tenant"
)

// Config is what an operator decides. [LoadConfig] reads it from files. Only
// Database has to be set.
type Config struct {
	// Database is the URL of the database as SQLAlchemy writes it, for example
	// postgresql://user@host/duffy or sqlite:////var/lib/duffy/duffy.db.
	Database string

	Pools  *pool.Set
	Limits tenant.Limits // of tenants that have none of their own

	SSH     ssh.Config     // of the default contextualizer
	Ansible ansible.Config // of the backend "ansible"

	// LongWorkers is how many backends this process runs at once, Workers how
	// many short jobs; zero means the queue's defaults. ShutdownTimeout is how
	// long they may go on when Work is to end.
	LongWorkers     int
	Workers         int
	ShutdownTimeout time.Duration

	// ReconcileEvery is how often Work looks for what stands still, and whether
	// pools are full; DefaultReconcileEvery if zero.
	ReconcileEvery time.Duration

	// AnonymousRead is how much the API shows to callers without credentials. The
	// zero value shows no data of nodes and no limits of tenants.
	AnonymousRead httpapi.AnonymousRead

	// Concurrency is how many requests a tenant, or an address without a login, has
	// in progress at once in this process; [httpapi.DefaultConcurrency] if zero.
	Concurrency int

	// TrustedProxies are believed what they say of where requests come from. Nil
	// trusts this machine, see [httpapi.Config].
	TrustedProxies []netip.Prefix

	// HideMetrics removes /metrics from Handler, as [httpapi.ReadNone] does. See
	// Monitor.
	HideMetrics bool

	files *files // to name places in, nil if Config does not come from files
}

// Options are what a program that embeds Duffy decides. The zero value is what
// the duffy command uses.
type Options struct {
	Logger *slog.Logger // nil discards

	// Backends are added to the default ones by the names that pools know them
	// by. "ansible" may be replaced.
	Backends map[string]backend.Backend

	// Contextualizer replaces the default one, which uses SSH.
	Contextualizer backend.Contextualizer

	// NewQueue replaces River. It gets the database that jobs are inserted into.
	NewQueue func(*bun.DB) (queue.Queue, error)

	// Metrics gets Duffy's metrics while it is open. If it is nil, those of the Go
	// runtime and the process join them. Handler and Monitor show them either way.
	// What happened is counted for this process only.
	Metrics prometheus.Registerer

	// Now replaces the clock of this machine, which tells the time if the database is
	// SQLite. On PostgreSQL the database does, which all processes share, and Now is only
	// compared with it. Neither decides whether the lease of a worker has ended.
	Now func() time.Time
}

// Duffy is a running instance. It is safe for concurrent use.
type Duffy struct {
	Tenants  *tenant.Service
	Pools    *pool.Service
	Sessions *session.Service

	cfg      Config
	log      *slog.Logger
	db       *db.DB
	queue    queue.Queue
	passes   passes
	backends map[string]backend.Backend

	public     *prometheus.Registry // metrics that name no tenant
	metrics    *prometheus.Registry // all metrics
	unregister func()               // ends what Options.Metrics shows of them
	handler    http.Handler
}

// New opens the database and assembles Duffy. It neither changes the database
// nor starts anything: see Migrate, Check, Work and Handler.
func New(ctx context.Context, cfg Config, opts Options) (*Duffy, error) {
	log := opts.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	log = slog.New(httpapi.LogHandler(foreign.LogHandler(log.Handler())))
	if cfg.Database == "" {
		return nil, errors.New("there is no database: set database.url in the configuration")
	}
	database, err := db.Open(ctx, cfg.Database, db.Config{Logger: log, Now: opts.Now})
	if err != nil {
		return nil, err
	}
	d := &Duffy{cfg: cfg, log: log, db: database, unregister: func() {}}
	d.public, d.metrics = prometheus.NewRegistry(), prometheus.NewRegistry()
	if err := d.assemble(opts); err != nil {
		return nil, errors.Join(err, database.Close())
	}
	return d, nil
}

func (d *Duffy) assemble(opts Options) (err error) {
	if d.queue, err = d.newQueue(opts); err != nil {
		return err
	}
	contextualizer := opts.Contextualizer
	if contextualizer == nil {
		sshConfig := d.cfg.SSH
		sshConfig.Logger = d.log
		if contextualizer, err = ssh.New(sshConfig); err != nil {
			return err
		}
	}
	d.backends = d.cfg.backends(opts, d.log)
	d.Tenants = tenant.New(d.db.DB, tenant.Config{Defaults: d.cfg.Limits, Logger: d.log, Now: d.db.Clock.Now})
	d.Pools = pool.New(d.db.DB, d.queue, pool.ServiceConfig{
		Pools: d.cfg.Pools, Backends: d.backends, Contextualizer: contextualizer,
		Metrics: d.public, Logger: d.log, Now: d.db.Clock.Now,
	})
	d.Sessions = session.New(d.db.DB, d.queue, d.Tenants, d.Pools, session.Config{
		Contextualizer: contextualizer, Metrics: d.public, Logger: d.log, Now: d.db.Clock.Now,
	})
	d.handler = httpapi.New(d.httpConfig(d.publicScrape()))
	return d.exportMetrics(opts.Metrics)
}

func (d *Duffy) httpConfig(scrape http.Handler) httpapi.Config {
	return httpapi.Config{
		Tenants: d.Tenants, Pools: d.Pools, Sessions: d.Sessions,
		Ready: d.Ready, AnonymousRead: d.cfg.AnonymousRead, TrustedProxies: d.cfg.TrustedProxies,
		Concurrency: d.cfg.Concurrency, Connections: d.db.MaxConns(),
		Version: Version(), Scrape: scrape, Metrics: d.public, Logger: d.log,
	}
}

func (d *Duffy) newQueue(opts Options) (queue.Queue, error) {
	if opts.NewQueue != nil {
		return opts.NewQueue(d.db.DB)
	}
	cfg := riverqueue.Config{
		Logger: d.log, Now: d.db.Clock.Now, LongWorkers: d.cfg.LongWorkers, ShortWorkers: d.cfg.Workers,
		ShutdownTimeout: d.cfg.ShutdownTimeout, PollOnly: !d.db.MayListen(), Unavailable: db.Unavailable,
	}
	if d.db.Postgres() {
		return riverqueue.NewPostgres(d.db.DB, d.db.Pool, cfg)
	}
	return riverqueue.NewSQLite(d.db.DB, cfg)
}

func (c Config) backends(opts Options, log *slog.Logger) map[string]backend.Backend {
	cfg := c.Ansible
	cfg.Logger = log
	backends := map[string]backend.Backend{"ansible": ansible.New(cfg)}
	maps.Copy(backends, opts.Backends)
	return backends
}

// Handler returns the REST API, see [httpapi]. It may be mounted in any mux
// under / or at /api/v1/, /openapi.json, /docs/, /healthz, /readyz and /metrics.
func (d *Duffy) Handler() http.Handler { return d.handler }

// Monitor returns /healthz, /readyz and /metrics alone, for processes that serve no
// API, and for a port that only operators reach: these metrics name tenants, which
// those of Handler do not.
func (d *Duffy) Monitor() http.Handler { return httpapi.NewMonitor(d.httpConfig(scrape(d.metrics))) }

// Work fills pools, expires sessions, takes back nodes, and goes on where
// another worker died, until ctx ends. Then it waits for what is running, for at
// most Config.ShutdownTimeout, and returns nil. It does not begin if a backend finds
// that the programs it runs cannot be relied on, see [Config.ProbePools].
func (d *Duffy) Work(ctx context.Context) error {
	if err := d.cfg.probe(ctx, d.backends); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	for _, b := range d.backends {
		if cleaner, ok := b.(backend.Cleaner); ok {
			cleaner.CleanUp(ctx)
		}
	}
	var mux queue.Mux
	d.Pools.Handle(&mux)
	d.Sessions.Handle(&mux)
	ctx, stop := context.WithCancel(ctx)
	reconciled := make(chan struct{})
	go func() {
		defer close(reconciled)
		d.reconcile(ctx)
	}()
	err := d.queue.Work(ctx, &mux)
	stop()
	<-reconciled
	return err
}

// DB returns the database, for those who want to begin the transactions that the
// services' methods ending in Tx take part in.
func (d *Duffy) DB() *bun.DB { return d.db.DB }

// Close closes the database. Nothing must be running any more.
func (d *Duffy) Close() error {
	d.unregister()
	return d.db.Close()
}

// version is set by the linker, see Makefile: Go itself does not take a tag like
// v4.0.0 for a version of this module, whose path does not end in /v4.
var version string

// Version returns the version of the module this was built from.
func Version() string {
	if version != "" {
		return version
	}
	const path = "github.com/duffy-ci/duffy"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if info.Main.Path == path && info.Main.Version != "" {
		return info.Main.Version
	}
	for _, dep := range info.Deps {
		if dep.Path == path {
			return dep.Version
		}
	}
	return "(devel)"
}
