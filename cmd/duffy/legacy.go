package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"

	"github.com/duffy-ci/duffy/httpapi"
	"github.com/duffy-ci/duffy/internal/config"
	"github.com/duffy-ci/duffy/legacy"
)

type serveLegacyCmd struct {
	listenFlags
	Dest string `short:"D" help:"URL of the server whose REST API to use." placeholder:"DEST"`
}

func (c *serveLegacyCmd) Run(ctx context.Context, p *program) error {
	files, err := p.load()
	if err != nil {
		return err
	}
	metaclient := files.Config().Metaclient
	if c.Dest != "" {
		metaclient.Dest = c.Dest
	}
	log := p.serviceLogger(ctx, files, metaclient.LogLevel)
	warnOfExposed(ctx, log, exposedConfig(files)...)
	warnOfExposed(ctx, log, exposedSecrets(tlsFiles(metaclient.TLS)...)...)
	if len(metaclient.Usermap) == 0 {
		log.WarnContext(ctx, "metaclient.usermap is empty: nobody can request nodes")
	}
	handler, err := newLegacy(files, legacy.Config{URL: metaclient.Dest, Logger: log})
	if err != nil {
		return err
	}
	certs, err := loadCertificates(files, "metaclient", metaclient.TLS)
	if err != nil {
		return err
	}
	s := &legacyService{p, metaclient, files.Config().App, certs, handler, log}
	return s.serve(ctx, c.listenFlags)
}

// legacyAPI returns the legacy API over the REST API of this process, nil if it
// is not configured.
func (s *service) legacyAPI(ctx context.Context) (*legacyService, error) {
	if !slices.Contains(s.files.Keys(), "metaclient") {
		return nil, nil
	}
	handler, err := newLegacy(s.files, legacy.Config{API: s.duffy.Handler(), Logger: s.log})
	if err != nil {
		return nil, err
	}
	metaclient := s.files.Config().Metaclient
	warnOfExposed(ctx, s.log, exposedSecrets(tlsFiles(metaclient.TLS)...)...)
	certs, err := loadCertificates(s.files, "metaclient", metaclient.TLS)
	if err != nil {
		return nil, err
	}
	metaclient.Dest = "this process"
	return &legacyService{s.program, metaclient, s.files.Config().App, certs, handler, s.log}, nil
}

// newLegacy completes cfg by the files' section metaclient. It names the places
// of what is wrong there.
func newLegacy(files *config.Files, cfg legacy.Config) (http.Handler, error) {
	m := files.Config().Metaclient
	cfg.Users, cfg.MangleHostname = m.Usermap, m.MangleHostname
	cfg.ErrorsV2, cfg.SSIDAsString = m.ErrorsV2, m.SSIDAsString
	for _, mapping := range m.Poolmap {
		cfg.Pools = append(cfg.Pools, legacy.Mapping(mapping))
	}
	handler, err := legacy.New(cfg)
	return handler, place(files, err)
}

// place puts file and line before each of the errors of legacy.New.
func place(files *config.Files, err error) error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var errs []error
		for _, err := range joined.Unwrap() {
			errs = append(errs, place(files, err))
		}
		return errors.Join(errs...)
	}
	var wrong *legacy.ConfigError
	if errors.As(err, &wrong) {
		return files.At(wrong.Err, append([]string{"metaclient"}, wrong.Path...)...)
	}
	return err
}

// withoutPassword returns a URL as others may see it.
func withoutPassword(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.User == nil {
		return text
	}
	return u.Redacted()
}

type legacyService struct {
	*program
	config.Metaclient
	app     config.App // whose limits and proxies count here too
	certs   *certificates
	handler http.Handler
	log     *slog.Logger
}

// serve serves the legacy API until ctx ends.
func (s *legacyService) serve(ctx context.Context, flags listenFlags) error {
	l, err := flags.listen(s.Host, s.Port, s.certs)
	if err != nil {
		return err
	}
	l.limits, l.proxies = s.app.Limits, s.app.TrustedProxies
	s.printf(" * Starting Duffy Metaclient for Legacy Support...\n"+
		" * Host address        : %s\n * Port number         : %d\n * Destination address : %s\n", l.host, l.port, withoutPassword(s.Dest))
	return l.serve(ctx, httpapi.Headers(s.handler, nil), s.log)
}
