// Package httpapi serves Duffy's REST API, version 1, under /api/v1: the one of
// Duffy 3, whose clients and scripts it works with. The API describes itself at
// /openapi.json and, for people, at /docs.
package httpapi

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/singleflight"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/pool"
	"github.com/duffy-ci/duffy/session"
	"github.com/duffy-ci/duffy/tenant"
)

// Prefix is where the API begins.
const Prefix = "/api/v1"

// Config says what is served and how.
type Config struct {
	Tenants  *tenant.Service
	Pools    *pool.Service
	Sessions *session.Service

	// Ready tells whether requests can be answered, for /readyz; nil is always.
	Ready func(context.Context) error

	// AnonymousRead is how much GET of sessions, pools and nodes shows to callers
	// without credentials.
	AnonymousRead AnonymousRead

	// TrustedProxies are believed what X-Forwarded-For says of where requests come
	// from, which is logged, and from where only so many logins may fail. Nil
	// trusts this machine, as Duffy 3 did; if it is empty, nobody is trusted.
	TrustedProxies []netip.Prefix

	// Concurrency is how many requests a tenant, or an address without a login, has
	// in progress at once; others wait for these, for a limited time. Zero is
	// DefaultConcurrency. Connections is how many connections to the database there
	// are, of which each has a part; zero is that of [db.DefaultMaxConns].
	Concurrency int
	Connections int

	// Scrape answers /metrics to every caller; it is not there if Scrape is nil.
	Scrape http.Handler

	Version string                // of the program, for /openapi.json
	Metrics prometheus.Registerer // gets counts of the requests, nil keeps none
	Logger  *slog.Logger          // one line a request at level info; see also LogHandler
}

// A body of a request is read within this time and up to this size. The largest
// known ones hold a tenant's ssh keys, or name a hundred pools; a change of a session is
// small. What is in it takes a hundred times as much memory while it is read, and a
// tenant may send as many as it has turns.
const (
	bodyTimeout      = 30 * time.Second
	bodyMax          = 32 << 10
	sessionChangeMax = 4 << 10
)

// answerTimeout is how long anything may take, even if the database hangs. A
// request for a session may take a minute and has its own limit.
const answerTimeout = 75 * time.Second

// timeoutKey is the key of an operation's metadata that has another limit.
const timeoutKey = "timeout"

// limited is a huma middleware that ends what takes too long.
func limited(ctx huma.Context, next func(huma.Context)) {
	timeout, ok := ctx.Operation().Metadata[timeoutKey].(time.Duration)
	if !ok {
		timeout = answerTimeout
	}
	limit, cancel := context.WithTimeout(ctx.Context(), timeout)
	defer cancel()
	next(huma.WithContext(ctx, limit))
}

type api struct {
	Config
	log      *slog.Logger
	metrics  *metrics
	shares   *shares
	familiar *familiar

	readiness singleflight.Group
	rested    time.Time // in readiness
}

func newAPI(cfg Config) *api {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &api{
		Config: cfg, log: cfg.Logger, metrics: newMetrics(cfg.Metrics), familiar: newFamiliar(),
		shares: newShares(cmp.Or(cfg.Concurrency, DefaultConcurrency), cmp.Or(cfg.Connections, db.DefaultMaxConns)),
	}
}

// New returns a handler of the API, of /openapi.json and of /docs, and of what
// [NewMonitor] handles. It is safe for concurrent use.
func New(cfg Config) http.Handler {
	a := newAPI(cfg)
	mux := http.NewServeMux()
	root := humago.New(mux, a.humaConfig())
	root.UseMiddleware(plainStatus, a.admit, limited, a.receive)
	v1 := huma.NewGroup(root, Prefix)
	a.sessions(v1)
	a.pools(v1)
	a.nodes(v1)
	a.tenants(v1)
	mux.HandleFunc("GET /openapi.json", a.described(root.OpenAPI()))
	mux.Handle("GET /docs/", docs())
	a.monitor(mux)
	return a.observe(a.sameOrigin(compressed(routed(mux))))
}

func (a *api) humaConfig() huma.Config {
	cfg := huma.DefaultConfig("Duffy", cmp.Or(a.Version, "devel"))
	cfg.Info.Description = "Duffy keeps pools of nodes provisioned ahead of time and hands them out at once, " +
		"in sessions, to tenants who run tests on them."
	cfg.CreateHooks = nil // no $schema in answers
	cfg.DocsPath = ""     // huma's needs the internet
	cfg.SchemasPath = ""
	cfg.OpenAPIPath = "" // huma's translation to OpenAPI 3.0 is not valid
	cfg.Formats = map[string]huma.Format{
		"application/json":         huma.DefaultJSONFormat,
		"application/problem+json": huma.DefaultJSONFormat, // what huma writes errors as, see plainStatus
	}
	cfg.DefaultFormat = "application/json"
	cfg.AllowAdditionalPropertiesByDefault = true // as Duffy 3 ignores them
	cfg.Transformers = append(cfg.Transformers, a.problems)
	cfg.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"basic": {Type: "http", Scheme: "basic", Description: "Tenant name and API key."},
	}
	cfg.Tags = []*huma.Tag{
		{Name: "sessions", Description: "Nodes in the hands of tenants."},
		{Name: "pools", Description: "Nodes that are kept ready."},
		{Name: "nodes", Description: "Physical and virtual machines."},
		{Name: "tenants", Description: "Who may use Duffy."},
	}
	registerSchemas(cfg.Components.Schemas)
	return cfg
}

// Who may call an operation.
type access int

const (
	anybody  access = iota // credentials are not looked at
	optional               // credentials are looked at if there are any
	tenants                // active tenants
)

// handle registers fn as the handler of an operation.
func handle[I, O any](a *api, group huma.API, who access, op huma.Operation, fn func(context.Context, *I) (*O, error)) {
	op.MaxBodyBytes, op.BodyReadTimeout = cmp.Or(op.MaxBodyBytes, bodyMax), bodyTimeout
	if a.AnonymousRead == ReadNone {
		who = tenants
	}
	op.Errors = append(op.Errors, http.StatusUnprocessableEntity, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusServiceUnavailable)
	if !reads(op.Method) {
		op.Errors = append(op.Errors, http.StatusBadRequest, http.StatusForbidden, http.StatusRequestTimeout,
			http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	}
	switch who {
	case optional:
		op.Security = []map[string][]string{{}, {"basic": {}}}
		op.Errors = append(op.Errors, http.StatusUnauthorized, http.StatusForbidden)
	case tenants:
		op.Security = []map[string][]string{{"basic": {}}}
		op.Errors = append(op.Errors, http.StatusUnauthorized, http.StatusForbidden)
	}
	huma.Register(group, op, func(ctx context.Context, in *I) (*O, error) {
		var out *O
		ctx, err := a.confirm(ctx)
		if err == nil {
			out, err = fn(ctx, in)
		}
		if err != nil {
			return nil, a.problem(ctx, err)
		}
		return out, nil
	})
}

// output is what operations return: a body.
type output[T any] struct{ Body T }

func answer[T any](body T) *output[T] { return &output[T]{body} }
