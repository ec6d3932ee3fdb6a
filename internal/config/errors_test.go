package config_test

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/internal/config"
)

// mistakes returns what Load finds wrong, without the name of the directory.
func mistakes(t *testing.T, dir string) []string {
	t.Helper()
	files, err := config.Load(dir)
	require.Error(t, err)
	require.Nil(t, files)
	return strings.Split(strings.ReplaceAll(err.Error(), dir+string(filepath.Separator), ""), "\n")
}

func TestErrorsNameTheirPlace(t *testing.T) {
	t.Parallel()
	const retries = "no-attempts, delay-min, delay-max, delay-backoff-factor, delay-add-fuzz"
	for content, want := range map[string]string{
		// what is no YAML, or none that makes sense
		"app:\n  host: [a\n":                          "3: did not find expected ',' or ']'",
		"app:\n  host: a: b\n":                        "2: mapping values are not allowed in this context",
		"app:\n\thost: a\n":                           "2: found character that cannot start any token",
		"app:\n  host: 'a\n":                          "3: found unexpected end of stream",
		"app:\n  host: a\n---\n--- {\n":               "5: did not find expected node content",
		"app:\n  host: *secret\n":                     "2: unknown anchor after *, if this is no alias put it in quotes",
		"app:\n  host: !secret x\n":                   "2: app.host: unknown tag after !, if this is no tag put it in quotes",
		"app: !!set {host}\n":                         "1: app: unknown tag after !, if this is no tag put it in quotes",
		"- app\n":                                     "1: expected a mapping with sections like app and nodepools, found a list",
		"--- app\n":                                   "1: expected a mapping with sections like app and nodepools, found a string",
		"app:\n  host: a\n  port: 1\n  host: b\n":     "4: app.host: is set twice, first in line 2",
		"app:\n  ~: a\n":                              "2: app: expected a name as key",
		"app:\n  [a]: b\n":                            "2: app: expected a name as key",
		"app:\n  <<: [{host: a}, b]\n":                "2: app: expected a mapping, or a list of them, after <<, found a string",
		"nodepools:\n  abstract: &a\n    p: *a\n":     "3: nodepools.abstract.p.p: the alias is part of what it stands for",
		strings.Repeat("[", 200):                      "1: exceeded max depth of 100",
		bomb:                                          "6: nodepools.abstract.p.l5.3: aliases of aliases stand for too much",
		"metaclient:\n  usermap:\n    k: a\n    k: b": "4: metaclient.usermap.**********: is set twice, first in line 3",

		// keys that are not known
		"ap: {}\n":                                               "1: ap: unknown key, expected one of client, app, metaclient, tasks, database, defaults, ssh, ansible, nodepools",
		"client:\n  auth:\n    pass: x\n":                        "3: client.auth.pass: unknown key, expected one of name, key, key-file",
		"client: {key: x}\n":                                     "1: client.key: unknown key, expected one of auth, url",
		"app: {Host: x}\n":                                       "1: app.Host: unknown key, expected one of logging, retries, loglevel, host, port, anonymous-read, trusted-proxies, tls, shutdown-delay, metrics, limits",
		"app: {retries: {no_attempts: 5}}\n":                     "1: app.retries.no_attempts: unknown key, expected one of " + retries,
		"defaults: {retries: {x: 5}}\n":                          "1: defaults.retries.x: unknown key, expected one of " + retries,
		"metaclient:\n  poolmap:\n  - pool: p\n    version: 8\n": "4: metaclient.poolmap.0.version: unknown key, expected one of pool, ver, arch, flavor",
		"tasks: {locking: {host: x}}\n":                          "1: tasks.locking.host: unknown key, expected one of url",
		"tasks:\n  periodic:\n    fill: {}\n":                    "3: tasks.periodic.fill: unknown key, expected one of fill-pools, expire-sessions",
		"tasks: {periodic: {fill-pools: {x: 1}}}":                "1: tasks.periodic.fill-pools.x: unknown key, expected one of interval",
		"database: {sync_url: x}\n":                              "1: database.sync_url: unknown key, expected one of sqlalchemy, url",
		"nodepools:\n  concret: {}\n":                            "2: nodepools.concret: unknown key, expected one of abstract, concrete",

		// values
		"app: here\n":                                        "1: app: expected a mapping, found a string",
		"app: [a]\n":                                         "1: app: expected a mapping, found a list",
		"app:\n  logging: 1\n":                               "2: app.logging: expected a mapping, found a number",
		"app:\n  host: 8.10\n":                               "2: app.host: expected a string, found a number: put it in quotes",
		"app:\n  host: no\n":                                 "2: app.host: expected a string, found false: put it in quotes",
		"app:\n  host: {a: b}\n":                             "2: app.host: expected a string, found a mapping",
		"app:\n  port: abc\n":                                `2: app.port: expected a whole number from 1 to 65535, found "abc"`,
		"app:\n  port: 0\n":                                  "2: app.port: expected a whole number from 1 to 65535, found 0",
		"app:\n  port: 65536\n":                              "2: app.port: expected a whole number from 1 to 65535, found 65536",
		"app:\n  port: 80.5\n":                               "2: app.port: expected a whole number from 1 to 65535, found 80.5",
		"app:\n  port: [80]\n":                               "2: app.port: expected a whole number from 1 to 65535, found a list",
		"app:\n  loglevel: loud\n":                           `2: app.loglevel: expected one of trace, debug, info, warning, error, critical, found "loud"`,
		"app:\n  anonymous-read: maybe\n":                    `2: app.anonymous-read: expected one of limited, full, true, false, found "maybe"`,
		"app:\n  anonymous-read: [full]\n":                   "2: app.anonymous-read: expected one of limited, full, true, false, found a list",
		"app:\n  anonymous-read: 1\n":                        "2: app.anonymous-read: expected one of limited, full, true, false, found 1",
		"app:\n  trusted-proxies: 10.0.0.1\n":                "2: app.trusted-proxies: expected a list, found a string",
		"app:\n  trusted-proxies:\n  - 10.0.0.0/33\n":        `3: app.trusted-proxies.0: expected an address or a network like 192.0.2.0/24, found "10.0.0.0/33"`,
		"app:\n  trusted-proxies: [::1, proxy]\n":            `2: app.trusted-proxies.1: expected an address or a network like 192.0.2.0/24, found "proxy"`,
		"client:\n  auth:\n    key: k\n    key-file: f\n":    "4: client.auth.key-file: there is key, too: set one of them",
		"app:\n  tls:\n    certificate: a\n":                 "2: app.tls: certificate and key belong together: set both",
		"metaclient:\n  tls:\n    key: a\n":                  "2: metaclient.tls: certificate and key belong together: set both",
		"app: {limits: {requests: 0}}\n":                     "1: app.limits.requests: expected a whole number from 1 to 2147483647, found 0",
		"app: {limits: {connection: 5}}\n":                   "1: app.limits.connection: unknown key, expected one of connections, connections-per-address, requests",
		"app: {tls: {cert: a}}\n":                            "1: app.tls.cert: unknown key, expected one of certificate, key",
		"client:\n  url: localhost:8080\n":                   "2: client.url: expected a URL that begins with http:// or https://",
		"client:\n  url: 'http://'\n":                        "2: client.url: expected a URL that begins with http:// or https://",
		"metaclient:\n  dest: ''\n":                          "2: metaclient.dest: expected a URL that begins with http:// or https://",
		"metaclient:\n  usermap: [a]\n":                      "2: metaclient.usermap: expected a mapping, found a list",
		"metaclient:\n  usermap:\n    k: 1\n":                "3: metaclient.usermap.**********: expected a string, found a number: put it in quotes",
		"metaclient:\n  poolmap: {}\n":                       "2: metaclient.poolmap: expected a list, found a mapping",
		"metaclient:\n  poolmap:\n  - a\n":                   "3: metaclient.poolmap.0: expected a mapping, found a string",
		"metaclient:\n  poolmap:\n  - ver: '8'\n":            "3: metaclient.poolmap.0: maps to no pool: set pool",
		"metaclient:\n  poolmap:\n  - ~\n  - pool: ''\n":     "4: metaclient.poolmap.1: maps to no pool: set pool",
		"metaclient:\n  poolmap:\n  - pool: p\n    ver: 8\n": "4: metaclient.poolmap.0.ver: expected a string, found a number: put it in quotes",
		"metaclient:\n  errors: v3\n":                        `2: metaclient.errors: expected one of v1, v2, found "v3"`,
		"tasks:\n  queue: celery\n":                          `2: tasks.queue: expected one of river, asynq, found "celery"`,
		"tasks:\n  queue: asynq\n":                           "2: tasks.queue: asynq works with Redis: set tasks.redis to its URL",
		"tasks:\n  redis: localhost\n":                       "2: tasks.redis: expected a URL that begins with redis:// or rediss:// or redis-socket:// or redis-sentinel:// or redis-cluster://",
		"tasks:\n  workers: 0\n":                             "2: tasks.workers: expected a whole number of at least 1, found 0",
		"defaults:\n  node-quota: -1\n":                      "2: defaults.node-quota: expected a whole number of at least 1, found -1",
		"defaults:\n  session-quota: 0\n":                    "2: defaults.session-quota: expected a whole number of at least 1, found 0",
		"defaults:\n  session-lifetime: 6 hours\n":           `2: defaults.session-lifetime: expected a duration such as 90s, 1h30m or 1w2d3h4m5s6ms, or a number of seconds, found "6 hours"`,
		"defaults:\n  session-lifetime: -6\n":                "2: defaults.session-lifetime: expected a duration such as 90s, 1h30m or 1w2d3h4m5s6ms, or a number of seconds, found -6",
		"defaults:\n  session-lifetime: 999999w\n":           `2: defaults.session-lifetime: the duration is too long, at most 292 years can be told apart, found "999999w"`,
		"ssh:\n  key-files: /id\n":                           "2: ssh.key-files: expected a list, found a string",
		"ssh:\n  key-files:\n  - /id\n  - 5\n":               "4: ssh.key-files.1: expected a string, found a number: put it in quotes",
		"nodepools:\n  concrete:\n    a: {}\n    b:\n":       "4: nodepools.concrete.b: expected a mapping, found nothing",
	} {
		require.Equal(t, []string{"x.yaml:" + want}, mistakes(t, write(t, "x.yaml", content)), content)
	}
}

// bomb has a few lines of aliases that stand for a billion values.
var bomb = func() string {
	var b strings.Builder
	b.WriteString("nodepools: {abstract: {p: {l0: &l0 x,\n")
	for i := 1; i <= 9; i++ {
		aliases := strings.Repeat(fmt.Sprintf("*l%d, ", i-1), 10)
		fmt.Fprintf(&b, "l%d: &l%d [%s],\n", i, i, aliases)
	}
	return b.String() + "}}}"
}()

func TestAllErrorsAtOnce(t *testing.T) {
	t.Parallel()
	dir := write(t,
		"a.yaml", "app:\n  port: x\n  hots: y\n---\nclient: 1\n",
		"b.yaml", "app: {host: a}\n---\n}\n",
		"c.yaml", "tasks: {x: 1}\n")
	require.Equal(t, []string{
		`a.yaml:2: app.port: expected a whole number from 1 to 65535, found "x"`,
		"a.yaml:3: app.hots: unknown key, expected one of logging, retries, loglevel, host, port, anonymous-read, trusted-proxies, tls, shutdown-delay, metrics, limits",
		"a.yaml:5: client: expected a mapping, found a number",
		"b.yaml:3: did not find expected node content",
		"c.yaml:1: tasks.x: unknown key, expected one of celery, locking, periodic, queue, redis, workers, long-workers, shutdown-timeout, metrics",
	}, mistakes(t, dir))

	_, err := config.Load(dir)
	var mistake *config.Error
	require.ErrorAs(t, err, &mistake)
	require.Equal(t, filepath.Join(dir, "a.yaml")+":2", mistake.Place)
	require.Equal(t, []string{"app", "port"}, mistake.Path)
}

func TestConflictsNameBothPlaces(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{
		"b.yaml:4: nodepools.abstract.p.x: is a mapping here but a number at a.yaml:4",
		"b.yaml:5: nodepools.abstract.p.y: is nothing here but a mapping at a.yaml:5",
		"b.yaml:6: nodepools.abstract.p.z: is a list here but a mapping at a.yaml:6",
		"b.yaml:7: nodepools.abstract.p.l: is a mapping here but a list at a.yaml:7",
	}, mistakes(t, write(t,
		"a.yaml", "nodepools:\n  abstract:\n    p:\n      x: 1\n      y: {a: 1}\n      z: {a: 1}\n      l: [1]\n",
		"b.yaml", "nodepools:\n  abstract:\n    p:\n      x: {a: 1}\n      y:\n      z: [1]\n      l: {}\n")))
}

func TestFilesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	dir := write(t, "x.yaml", "app: {port: x}")
	missing := filepath.Join(dir, "missing")
	_, err := config.Load(missing, dir)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, missing)
	require.ErrorContains(t, err, "app.port")
}
