package db

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"maps"
	"net"
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
	pc.AfterConnect = limitSilence
	pool, err := pgxpool.NewWithConfig(ctx, pc)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, fmt.Errorf("PostgreSQL does not answer, check that it runs and that the database URL is right: %w", err)
	}
	sqlDB := sql.OpenDB(connector{stdlib.GetPoolConnector(pool)})
	sqlDB.SetMaxIdleConns(0) // idle ones belong to the pool
	clock := NewClock(func(ctx context.Context) (time.Time, error) { return askTime(ctx, pool) }, cfg.Now, cfg.Logger)
	if err := clock.Ask(ctx); err != nil {
		pool.Close()
		return nil, fmt.Errorf("PostgreSQL does not tell the time: %w", err)
	}
	return &DB{DB: bun.NewDB(sqlDB, pgdialect.New(), bunOptions...), Clock: clock, Pool: pool}, nil
}

func askTime(ctx context.Context, pool *pgxpool.Pool) (now time.Time, err error) {
	err = pool.QueryRow(ctx, "SELECT clock_timestamp()", pgx.QueryExecModeSimpleProtocol).Scan(&now)
	return now, err
}

// silence is how long a server and a client wait for each other before they take
// each other for gone. It is less than a lease.
const silence = 20 * time.Second

// silenceSettings keep a client that is stopped, or cut off, from holding locks
// that everybody else waits for, and have nobody wait for ever for who else may hold
// one, such as an operator. Where the server's own are not the default, those
// count. They are not among the parameters of the connection's start, since
// PgBouncer refuses what it does not know there.
const silenceSettings = `SELECT set_config(name, value, false)
FROM (VALUES ('idle_in_transaction_session_timeout', '20s'), ('lock_timeout', '25s'), ('tcp_user_timeout', '20s'),
	('tcp_keepalives_idle', '10'), ('tcp_keepalives_interval', '5'), ('tcp_keepalives_count', '2')) AS ours (name, value)
JOIN pg_settings USING (name) WHERE source = 'default'`

func limitSilence(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, silenceSettings)
	return err
}

// secret returns the password, which may be an option.
func (l location) secret() string { return cmp.Or(l.password, l.options.Get("password")) }

// settings returns what pgx is told, and the names of the options it is not.
func (l location) settings() (settings map[string]string, ignored []string) {
	settings = map[string]string{
		"host":             l.host,
		"port":             l.port,
		"user":             l.user,
		"dbname":           l.database,
		"application_name": "duffy",
		"connect_timeout":  "10",
		"timezone":         "UTC",
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
	maps.DeleteFunc(settings, func(_, value string) bool { return value == "" })
	return settings, ignored
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
