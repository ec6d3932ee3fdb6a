package config

import (
	"errors"
	"math"
	"time"
)

// The mappings of pools in nodepools.
const (
	kindAbstract = "abstract"
	kindConcrete = "concrete"
)

var poolKinds = []string{kindAbstract, kindConcrete}

// ignoredPaths are of the settings that are accepted and not read.
var ignoredPaths = [][]string{
	{"app", "logging"},
	{"app", "retries"},
	{"metaclient", "logging"},
	{"tasks", "celery"},
	{"tasks", "locking"},
	{"defaults", "retries"},
}

// readConfig reads a document, or all of them merged.
func readConfig(root *value) (Config, error) {
	var errs []error
	s := &section{value: root, errs: &errs}
	d := defaults()
	c := Config{
		Client:     readClient(s.section("client")),
		App:        readApp(s.section("app"), d.App),
		Metaclient: readMetaclient(s.section("metaclient"), d.Metaclient),
		Tasks:      readTasks(s.section("tasks"), d.Tasks),
		Database:   readDatabase(s.section("database")),
		Defaults:   readDefaults(s.section("defaults"), d.Defaults),
		SSH:        readSSH(s.section("ssh")),
		Ansible:    readAnsible(s.section("ansible")),
	}
	checkPools(s.section("nodepools"))
	s.end()
	return c, errors.Join(errs...)
}

func readClient(s *section) Client {
	defer s.end()
	auth := s.section("auth")
	defer auth.end()
	return Client{
		URL:      s.url("url", "", "http", "https"),
		AuthName: auth.text("name", ""),
		AuthKey:  auth.text("key", ""),

		AuthKeyFile: auth.text("key-file", ""),
	}
}

func readApp(s *section, d App) App {
	defer s.end()
	s.section("logging")
	checkRetries(s.section("retries"))
	return App{
		LogLevel:      readLogLevel(s, d.LogLevel),
		Host:          s.text("host", d.Host),
		Port:          readPort(s, d.Port),
		AnonymousRead: readAnonymousRead(s, d.AnonymousRead),

		TrustedProxies: s.networks("trusted-proxies"),
		TLS:            readTLS(s),
		ShutdownDelay:  s.duration("shutdown-delay", 0),
		Metrics:        readListen(s.section("metrics")),
		Limits:         readLimits(s.section("limits")),
	}
}

func readLimits(s *section) Limits {
	defer s.end()
	return Limits{
		Connections:           s.number("connections", 1, math.MaxInt, 0),
		ConnectionsPerAddress: s.number("connections-per-address", 1, math.MaxInt, 0),
		Requests:              s.number("requests", 1, math.MaxInt32, 0),
	}
}

func readAnonymousRead(s *section, otherwise AnonymousRead) AnonymousRead {
	switch s.choice("anonymous-read", "limited", "full", "true", "false") {
	case "limited", "true":
		return AnonymousLimited
	case "full":
		return AnonymousFull
	case "false":
		return AnonymousNone
	}
	return otherwise
}

func readListen(s *section) Listen {
	defer s.end()
	return Listen{Host: s.text("host", ""), Port: readPort(s, 0)}
}

// readTLS does not ask for both: the key may be in another file.
func readTLS(s *section) TLS {
	tls := s.section("tls")
	defer tls.end()
	return TLS{Certificate: tls.text("certificate", ""), Key: tls.text("key", "")}
}

func readLogLevel(s *section, otherwise string) string {
	return s.oneOf("loglevel", otherwise, "trace", "debug", "info", "warning", "error", "critical")
}

func readPort(s *section, otherwise int) int { return s.number("port", 1, 65535, otherwise) }

func checkRetries(s *section) {
	defer s.end()
	for _, key := range []string{"no-attempts", "delay-min", "delay-max", "delay-backoff-factor", "delay-add-fuzz"} {
		s.get(key)
	}
}

func readMetaclient(s *section, d Metaclient) Metaclient {
	defer s.end()
	s.section("logging")
	return Metaclient{
		LogLevel:       readLogLevel(s, d.LogLevel),
		Host:           s.text("host", d.Host),
		Port:           readPort(s, d.Port),
		TLS:            readTLS(s),
		Dest:           s.url("dest", d.Dest, "http", "https"),
		Usermap:        s.section("usermap").texts(),
		Poolmap:        readPoolmap(s.list("poolmap")),
		MangleHostname: s.text("mangle_hostname", ""),
		ErrorsV2:       s.oneOf("errors", "v1", "v1", "v2") == "v2",
		SSIDAsString:   s.flag("ssid-as-string", false),
	}
}

func readPoolmap(list *section) []PoolMapping {
	var poolmap []PoolMapping
	for _, index := range list.keys() {
		s := list.section(index)
		mapping := PoolMapping{
			Pool:   s.text("pool", ""),
			Ver:    s.text("ver", ""),
			Arch:   s.text("arch", ""),
			Flavor: s.text("flavor", ""),
		}
		if s.value != nil && mapping.Pool == "" {
			list.fail(s.value, index, "maps to no pool: set pool")
		}
		s.end()
		poolmap = append(poolmap, mapping)
	}
	return poolmap
}

func readTasks(s *section, d Tasks) Tasks {
	defer s.end()
	s.section("celery")
	locking := s.section("locking")
	locking.get("url")
	locking.end()

	periodic := s.section("periodic")
	defer periodic.end()
	return Tasks{
		Queue:           s.oneOf("queue", d.Queue, QueueRiver, QueueAsynq),
		Redis:           s.beginning("redis", "redis", "rediss", "redis-socket", "redis-sentinel", "redis-cluster"),
		Workers:         s.number("workers", 1, math.MaxInt, 0),
		LongWorkers:     s.number("long-workers", 1, math.MaxInt, 0),
		ShutdownTimeout: s.duration("shutdown-timeout", 0),
		FillPools:       readInterval(periodic.section("fill-pools")),
		ExpireSessions:  readInterval(periodic.section("expire-sessions")),
		Metrics:         readListen(s.section("metrics")),
	}
}

func readInterval(s *section) time.Duration {
	defer s.end()
	return s.duration("interval", 0)
}

func readDatabase(s *section) Database {
	defer s.end()
	sqlalchemy := s.section("sqlalchemy")
	asyncURL := sqlalchemy.text("async_url", "")
	return Database{URL: s.text("url", sqlalchemy.text("sync_url", asyncURL))}
}

func readDefaults(s *section, d Defaults) Defaults {
	defer s.end()
	checkRetries(s.section("retries"))
	return Defaults{
		SessionLifetime:    s.duration("session-lifetime", d.SessionLifetime),
		SessionLifetimeMax: s.duration("session-lifetime-max", d.SessionLifetimeMax),
		NodeQuota:          s.number("node-quota", 1, math.MaxInt, d.NodeQuota),
		SessionQuota:       s.number("session-quota", 1, math.MaxInt, d.SessionQuota),
	}
}

func readSSH(s *section) SSH {
	defer s.end()
	ssh := SSH{
		User:           s.text("user", ""),
		Port:           readPort(s, 0),
		Agent:          s.text("agent", ""),
		HostKeys:       s.oneOf("host-keys", "", "any", "first-use", "pinned", "ignore"),
		AuthorizedKeys: s.text("authorized-keys", ""),
		ProxyJump:      s.text("proxy-jump", ""),
		KexAlgorithms:  s.text("kex-algorithms", ""),
		Ciphers:        s.text("ciphers", ""),
		MACs:           s.text("macs", ""),
		ConnectTimeout: s.duration("connect-timeout", 0),
		CommandTimeout: s.duration("command-timeout", 0),
	}
	if ssh.HostKeys == "ignore" { // an older name
		ssh.HostKeys = "any"
	}
	files := s.list("key-files")
	for _, index := range files.keys() {
		ssh.KeyFiles = append(ssh.KeyFiles, files.text(index, ""))
	}
	return ssh
}

func readAnsible(s *section) Ansible {
	defer s.end()
	return Ansible{Concurrency: s.number("concurrency", 1, math.MaxInt, 0)}
}

// checkPools sees to it that pools are mappings. What is in them is up to
// package pool and to backends.
func checkPools(s *section) {
	defer s.end()
	for _, kind := range poolKinds {
		pools := s.section(kind)
		for _, name := range pools.keys() {
			if pool := pools.value.fields[name]; !pool.isMapping() {
				pools.fail(pool, name, "expected a mapping, found %s", pool.kind())
			}
		}
	}
}
