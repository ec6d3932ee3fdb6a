package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/duffy-ci/duffy/internal/config"
)

const (
	readHeaderTimeout = 10 * time.Second
	readTimeout       = 60 * time.Second
	writeTimeout      = 180 * time.Second // longer than a session request can take, by the legacy API too
	idleTimeout       = 120 * time.Second
	drainTimeout      = 90 * time.Second

	// A connection takes this much memory at most before its request is answered.
	maxHeaderBytes = 32 << 10
)

type listenFlags struct {
	Host   string `short:"H" help:"Address to listen on." placeholder:"HOST"`
	Port   int    `short:"p" help:"Port to listen on." placeholder:"PORT"`
	Reload bool   `negatable:"" hidden:"" help:"Accepted for the sake of Duffy 3's unit files."`
}

// A listener knows how its address was written.
type listener struct {
	net.Listener
	host  string
	port  int
	certs *certificates // nil serves without TLS
	delay time.Duration // between not being ready any more and not listening any more

	limits  config.Limits  // of connections
	proxies []netip.Prefix // behind which clients are; nil is this machine
}

// listen listens where the flags say, or else the configuration.
func (f listenFlags) listen(host string, port int, certs *certificates) (*listener, error) {
	host, port = cmp.Or(f.Host, host), cmp.Or(f.Port, port)
	l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	return &listener{Listener: l, host: host, port: port, certs: certs}, err
}

func (l *listener) scheme() string {
	if l.certs != nil {
		return "https"
	}
	return "http"
}

// serve answers requests until ctx ends, and then those that have begun.
func (l *listener) serve(ctx context.Context, handler http.Handler, log *slog.Logger) error {
	leaving := &leaving{Handler: handler}
	server := &http.Server{
		ConnContext:       track,
		Handler:           busy(leaving),
		MaxHeaderBytes:    maxHeaderBytes,
		ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout,
		WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	drained := make(chan error, 1)
	context.AfterFunc(ctx, func() {
		log.Info("finishing requests", "address", l.Addr(), "delay", l.delay)
		leaving.begun.Store(true)
		time.Sleep(l.delay)
		ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
		defer cancel()
		err := server.Shutdown(ctx)
		if err != nil {
			log.Warn("ending requests that take too long", "address", l.Addr())
			err = server.Close()
		}
		drained <- err
	})
	serve := server.Serve
	if l.certs != nil {
		server.TLSConfig = l.certs.config(log)
		serve = func(l net.Listener) error { return server.ServeTLS(l, "", "") }
	}
	if err := serve(newConnections(l.limits, l.proxies, log).limit(l)); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve on %s: %w", l.Addr(), err)
	}
	return <-drained
}
