// Package legacy serves the API that Duffy had before version 3, for scripts that
// still use it, as a client of today's REST API: in the same process or on
// another machine, of this version or of Duffy 3. It behaves as the metaclient of
// Duffy 3 does.
//
//	/Node/get?key=KEY[&ver=7][&arch=x86_64][&flavor=FLAVOR][&count=1]
//	/Node/done?key=KEY&ssid=SSID     gives the nodes of a session back
//	/Node/fail?key=KEY&ssid=SSID     keeps them for 6 hours longer
//	/Inventory[?key=KEY]             lists nodes in sessions, of the key or of all
//
// Answers are JSON, and their status is 200 for most of what goes wrong. Every
// answer has an X-Request-Id, which is in the log. Keys are in the URLs, so no
// URL is ever logged.
package legacy

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/duffy-ci/duffy/httpapi/client"
	"github.com/duffy-ci/duffy/internal/jinja"
)

const (
	// DefaultURL is where the REST API is served by default.
	DefaultURL = "http://127.0.0.1:8080"

	// DefaultTimeout is longer than the REST API takes to grant a session or to
	// undo that.
	DefaultTimeout = 150 * time.Second

	apiPath = "/api/v1"
)

// Config says whose requests are passed on where. With the zero value nobody can
// request nodes, and everybody can list those of the server at DefaultURL.
type Config struct {
	// API is a handler of the REST API in the same process. If it is nil, the
	// server at URL (without /api/v1) is asked, by HTTPClient unless that is nil.
	// It is told in X-Forwarded-For where callers are, and should believe that, or
	// logins that fail count for all of them together.
	API        http.Handler
	URL        string
	HTTPClient *http.Client

	// Timeout limits a request to the REST API, DefaultTimeout if zero. A server
	// of the legacy API must allow longer for writing an answer. A session that is
	// granted later is lost to the caller until it expires.
	Timeout time.Duration

	// Users maps keys, which are the tenants' API keys, to names of tenants.
	Users map[string]string

	// Pools maps requests to pools. The first mapping that matches decides.
	Pools []Mapping

	// MangleHostname is a Jinja2 template for the hostnames that callers see. Its
	// variable is hostname. Empty leaves hostnames as they are.
	MangleHostname string

	// ErrorsV2 has /Node/get answer in plain text where asking again later may
	// help: python-cicoclient takes any JSON for success, and repeats what is none
	// as often as its retry options tell it to.
	ErrorsV2 bool

	// SSIDAsString writes the numbers of sessions as strings everywhere, which is
	// what they were before Duffy 3.
	SSIDAsString bool

	// Logger gets one line a request at level info, and why the REST API refused
	// it. Nil discards them.
	Logger *slog.Logger
}

// A Mapping selects a pool by the parameters of a request. Ver, Arch and Flavor
// are what the parameter must be or, with ^ at the beginning and $ at the end, a
// regular expression that it must match. Empty ones match anything, others need
// the parameter to be there.
type Mapping struct {
	Pool              string // a Jinja2 template with the variables ver, arch and, if there is one, flavor
	Ver, Arch, Flavor string
}

// A ConfigError is a setting that makes no sense. Path names it by its keys below
// metaclient in configuration files, such as poolmap, 0, ver.
type ConfigError struct {
	Path []string
	Err  error
}

func (e *ConfigError) Error() string { return strings.Join(e.Path, ".") + ": " + e.Err.Error() }

func (e *ConfigError) Unwrap() error { return e.Err }

// New returns a handler of the legacy API, which is safe for concurrent use. It
// may be mounted in any mux under / or at /Node/ and /Inventory. Keys are in its URLs:
// Headers of package httpapi keeps browsers from passing them on. No connection is
// made yet. Its error joins a [*ConfigError] for each template and regular
// expression that is none.
func New(cfg Config) (http.Handler, error) {
	h := &handler{cfg: cfg, log: cfg.Logger, users: digestUsers(cfg.Users)}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	h.endpoints = map[string]endpoint{
		"/Node/get":  {answer: h.nodeGet},
		"/Node/done": {answer: h.nodeDone},
		"/Node/fail": {answer: h.nodeFail},
		"/Inventory": {answer: h.inventory, anonymous: true},
	}
	var errs [3]error
	h.api, errs[0] = cfg.client()
	h.pools, errs[1] = compilePools(cfg.Pools)
	if cfg.MangleHostname != "" {
		h.mangling, errs[2] = compileTemplate(cfg.MangleHostname, "mangle_hostname")
	}
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	return h, nil
}

func (cfg Config) client() (*client.Client, error) {
	url, sender := cmp.Or(cfg.URL, DefaultURL), cfg.HTTPClient
	if cfg.API != nil {
		url, sender = "http://localhost", &http.Client{Transport: direct{cfg.API}}
	}
	return client.New(strings.TrimRight(url, "/")+apiPath, client.Config{
		HTTPClient: sender, Timeout: cmp.Or(cfg.Timeout, DefaultTimeout), UserAgent: "duffy-legacy",
	})
}

func compileTemplate(source string, path ...string) (*jinja.Template, error) {
	template, err := jinja.Compile(source)
	if err != nil {
		return nil, &ConfigError{path, fmt.Errorf("is no Jinja2 template: %w", err)}
	}
	return template, nil
}
