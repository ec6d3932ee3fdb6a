package db

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
)

// postgresOptions are the URL options that mean the same to pgx as to the
// drivers of Duffy 3. Those that begin with pool_ come on top.
var postgresOptions = []string{
	"application_name", "channel_binding", "connect_timeout", "dbname", "host", "krbspn", "krbsrvname", "options",
	"passfile", "port", "require_auth", "search_path", "service", "servicefile", "sslcert", "sslcertmode", "sslkey",
	"sslmode", "sslnegotiation", "sslpassword", "sslrootcert", "sslsni", "target_session_attrs", "user",
}

func openPostgres(ctx context.Context, loc location, cfg Config) (*DB, error) {
	settings, ignored := loc.settings()
	for _, name := range ignored {
		cfg.Logger.Info("option of the database URL has no meaning here", slog.String("option", name))
	}
	pc, err := pgxpool.ParseConfig(connString(settings))
	if err != nil {
		return nil, fmt.Errorf("database URL: %w", err)
	}
	// The password stays out of the string above, which errors may quote.
	if password := loc.secret(); password != "" {
		pc.ConnConfig.Password = password
	}
	if settings["pool_max_conns"] == "" {
		pc.MaxConns = int32(cmp.Or(cfg.MaxConns, DefaultMaxConns))
	}
	dialer := &net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: silence / 2, Interval: silence / 4, Count: 2},
		Control:         breakWhenSilent,
	}
	pc.ConnConfig.DialFunc = dialer.DialContext
	terms, err := readTerms(ctx, pc.ConnConfig)
	if err != nil {
		return nil, err
	}
	listen := terms.apply(pc, cfg.Logger)
	pool, err := openPool(ctx, pc)
	if err != nil {
		return nil, err
	}
	sqlDB := sql.OpenDB(connector{stdlib.GetPoolConnector(pool)})
	sqlDB.SetMaxIdleConns(0) // idle ones belong to the pool
	clock := NewClock(func(ctx context.Context) (time.Time, error) { return askTime(ctx, pool) }, cfg.Now, cfg.Logger)
	if err := clock.Ask(ctx); err != nil {
		pool.Close()
		return nil, fmt.Errorf("PostgreSQL does not tell the time: %w", err)
	}
	return &DB{DB: bun.NewDB(sqlDB, pgdialect.New(), bunOptions...), Clock: clock, Pool: pool, listen: listen}, nil
}

func askTime(ctx context.Context, pool *pgxpool.Pool) (now time.Time, err error) {
	err = pool.QueryRow(ctx, "SELECT clock_timestamp()", pgx.QueryExecModeExec).Scan(&now)
	return now, err
}

// secret returns the password, which may be an option.
func (l location) secret() string { return cmp.Or(l.password, l.options.Get("password")) }

// settings returns what pgx is told, and the names of the options it is not.
func (l location) settings() (settings map[string]string, ignored []string) {
	settings = map[string]string{
		"user":             l.user,
		"dbname":           l.database,
		"application_name": "duffy",
		"client_encoding":  "UTF8",
		"connect_timeout":  "10",
		"timezone":         "UTC",
	}
	if hosts := l.hosts(); len(hosts) > 1 {
		// One of them is the primary, and some may be gone without a trace.
		settings["target_session_attrs"] = cmp.Or(os.Getenv("PGTARGETSESSIONATTRS"), "read-write")
		settings["connect_timeout"] = "3"
	}
	for _, name := range slices.Sorted(maps.Keys(l.options)) {
		value := strings.Join(l.options[name], ",") // several hosts are several options
		switch {
		case name == "ssl" && !l.options.Has("sslmode"): // asyncpg's name for it
			settings["sslmode"] = value
		case slices.Contains(postgresOptions, name), strings.HasPrefix(name, "pool_"):
			settings[name] = value
		case name != "password":
			ignored = append(ignored, name)
		}
	}
	settings["host"], settings["port"] = joined(l.hosts())
	maps.DeleteFunc(settings, func(_, value string) bool { return value == "" })
	return settings, ignored
}

// joined returns hosts as libpq writes them: in lists as long as each other, unless all
// ports are the default.
func joined(hosts []host) (names, ports string) {
	var ns, ps []string
	for _, h := range hosts {
		ns, ps = append(ns, h.name), append(ps, h.port)
	}
	if names, ports = strings.Join(ns, ","), strings.Join(ps, ","); strings.Trim(ports, ",") == "" {
		return names, ""
	}
	for i := range ps {
		ps[i] = cmp.Or(ps[i], "5432")
	}
	return names, strings.Join(ps, ",")
}

var connStringEscapes = strings.NewReplacer(`\`, `\\`, `'`, `\'`)

// connString writes settings the way libpq and pgx read them.
func connString(settings map[string]string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&b, "%s='%s' ", name, connStringEscapes.Replace(settings[name]))
	}
	return b.String()
}
