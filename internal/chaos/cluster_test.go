package chaos_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/internal/redistest"
)

const (
	patience = 3 * time.Minute // how long anything may take on a busy machine
	glance   = 100 * time.Millisecond

	metal = 5 // machines that are used again
)

// levels are how many nodes are to be ready, by pool.
var levels = map[string]int{"thrown-away": 3, "retried": 3, "reused": 3}

// A cluster is all that runs: the cloud, and either PostgreSQL, maybe Redis, two
// "duffy serve" and two "duffy worker", or one "duffy run" on SQLite.
type cluster struct {
	dir      string
	suffers  []about
	postgres *dbtest.Server
	redis    *redistest.Server
	db       *db.DB // past the proxies
	cloud    *process
	cloudURL string

	serving []*process
	workers []*process
	duffys  []*process
	proxies map[*process]*proxy

	wrong cloudFaults
}

// cloudFaults are what the cloud is told to do wrong.
type cloudFaults struct {
	Delay                       time.Duration
	Hang, FailBefore, FailAfter bool
	Unreachable                 int
}

func startCluster(t *testing.T) *cluster {
	c := &cluster{postgres: dbtest.NewServer(t), suffers: []about{ofServe, ofWorker, ofDatabase, ofNetwork, ofCloud}}
	c.startMany(t, "")
	return c
}

func startClusterWithRedis(t *testing.T) *cluster {
	c := &cluster{
		postgres: dbtest.NewServer(t), redis: redistest.New(t),
		suffers: []about{ofServe, ofWorker, ofDatabase, ofNetwork, ofRedis, ofCloud},
	}
	c.redis.Start(t)
	c.startMany(t, fmt.Sprintf("tasks: {queue: asynq, redis: %q}\n", c.redis.URL()))
	return c
}

func (c *cluster) startMany(t *testing.T, tasks string) {
	c.prepare(t, c.postgres.URL(), tasks)
	for i := range 2 {
		c.serving = append(c.serving, c.startServing(t, fmt.Sprintf("serve%d", i), "serve"))
		c.workers = append(c.workers, c.startProxied(t, fmt.Sprintf("worker%d", i), "worker"))
	}
	c.untilReady(t)
}

func startOne(t *testing.T) *cluster {
	c := &cluster{suffers: []about{ofServe, ofCloud}}
	c.prepare(t, "sqlite:///"+filepath.Join(t.TempDir(), "duffy.sqlite"), "")
	c.serving = []*process{c.startServing(t, "run", "run")}
	c.workers = c.serving
	c.untilReady(t)
	return c
}

// prepare prepares everything but Duffy's processes.
func (c *cluster) prepare(t *testing.T, database, tasks string) {
	if _, err := exec.LookPath("ansible-playbook"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	c.dir, c.proxies = t.TempDir(), map[*process]*proxy{}
	c.build(t)
	key := newKey(t, filepath.Join(c.dir, "duffy_key"))
	c.cloudURL = "http://" + freeAddress(t)
	c.configure(t, database, tasks)
	c.cloud = c.startProcess(t, "cloud", filepath.Join(c.dir, "cloud"),
		"-dir", c.dir, "-listen", strings.TrimPrefix(c.cloudURL, "http://"), "-key", key.authorized)

	c.run(t, "setup-db")
	var err error
	c.db, err = db.Open(t.Context(), database, db.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { c.db.Close() })
	for i := range metal {
		_, err := c.db.ExecContext(t.Context(), `INSERT INTO nodes (state, hostname, ipaddr, reusable, data)
			VALUES ('unused', ?, ?, true, '{"kind": "metal"}')`, fmt.Sprintf("metal%d", i), fmt.Sprintf("192.0.2.%d", i))
		require.NoError(t, err)
	}
}

func (c *cluster) untilReady(t *testing.T) {
	for _, p := range c.serving {
		require.Eventually(t, func() bool { return answers(p.url + "/readyz") }, patience, glance)
	}
}

func answers(url string) bool {
	res, err := http.Get(url)
	if err != nil {
		return false
	}
	res.Body.Close()
	return res.StatusCode == http.StatusOK
}

func (c *cluster) build(t *testing.T) {
	for _, name := range []string{"cmd/duffy", "internal/chaos/cloud"} {
		out, err := exec.Command("go", "build", "-o", c.dir+"/", "github.com/duffy-ci/duffy/"+name).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
}

const configuration = `
database: {url: %q}
ssh: {key-files: [%q], host-keys: pinned}
ansible: {concurrency: 3}
nodepools:
  abstract:
    cloud:
      mechanism:
        type: ansible
        ansible:
          topdir: %q
          provision: {playbook: provision.yml}
          deprovision: {playbook: deprovision.yml}
          extra-vars: {cloud: %q}
  concrete:
    thrown-away: {extends: cloud, fill-level: %d}
    retried: {extends: cloud, fill-level: %d, on-interrupted: retry, run-parallel: false}
    reused: {extends: cloud, fill-level: %d, reuse-nodes: {kind: metal}}
`

// configure writes what all processes have in common.
func (c *cluster) configure(t *testing.T, database, tasks string) {
	text := fmt.Sprintf(configuration, database, filepath.Join(c.dir, "duffy_key"), c.dir, c.cloudURL,
		levels["thrown-away"], levels["retried"], levels["reused"])
	require.NoError(t, os.WriteFile(filepath.Join(c.dir, "duffy.yaml"), []byte(text+tasks), 0o600))
	for _, name := range []string{"provision.yml", "deprovision.yml"} {
		playbook, err := os.ReadFile(filepath.Join("testdata", name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(c.dir, name), playbook, 0o600))
	}
}

// startServing starts a process that serves.
func (c *cluster) startServing(t *testing.T, name, command string) *process {
	address := freeAddress(t)
	_, port, _ := net.SplitHostPort(address)
	start := c.startDuffy
	if c.postgres != nil {
		start = c.startProxied
	}
	p := start(t, name, command, "-p", port)
	p.url = "http://" + address
	return p
}

func (c *cluster) startDuffy(t *testing.T, name string, args ...string) *process {
	p := c.startProcess(t, name, append([]string{filepath.Join(c.dir, "duffy"), "-c", "duffy.yaml"}, args...)...)
	c.duffys = append(c.duffys, p)
	return p
}

// startProxied starts a process that has a proxy of its own to PostgreSQL.
func (c *cluster) startProxied(t *testing.T, name string, args ...string) *process {
	u, err := url.Parse(c.postgres.URL())
	require.NoError(t, err)
	p := newProxy(t, u.Query().Get("host")+"/.s.PGSQL.5432")
	own := filepath.Join(c.dir, name+".yaml")
	text := fmt.Sprintf("database: {url: %q}\n", fmt.Sprintf("postgresql://postgres@127.0.0.1:%d/postgres?sslmode=disable", p.port()))
	require.NoError(t, os.WriteFile(own, []byte(text), 0o600))
	d := c.startDuffy(t, name, append([]string{"-c", own}, args...)...)
	c.proxies[d] = p
	return d
}

func (c *cluster) startProcess(t *testing.T, name string, args ...string) *process {
	p := &process{name: name, args: args, dir: c.dir}
	p.start(t)
	t.Cleanup(func() {
		p.signalAll(9)
		p.end(9)
		if log, err := os.ReadFile(filepath.Join(c.dir, name+".log")); err == nil && t.Failed() {
			t.Logf("%s\n%s", name, log[max(0, len(log)-20_000):])
		}
	})
	return p
}

// run runs duffy as an operator does, and returns what it prints.
func (c *cluster) run(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command(filepath.Join(c.dir, "duffy"), append([]string{"-c", "duffy.yaml"}, args...)...)
	cmd.Dir = c.dir
	out, err := cmd.Output()
	require.NoError(t, err, "%s: %s", args, out)
	return string(out)
}

// tellCloud has the cloud do things wrong as c.wrong says.
func (c *cluster) tellCloud(t *testing.T) {
	body, err := json.Marshal(c.wrong)
	require.NoError(t, err)
	req, err := http.NewRequest(http.MethodPut, c.cloudURL+"/faults", bytes.NewReader(body))
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		res, err := http.DefaultClient.Do(req.Clone(t.Context()))
		if err != nil {
			return false
		}
		res.Body.Close()
		return true
	}, patience, glance)
}

// machines returns what authorized_keys says on each machine, by node.
func (c *cluster) machines(t *testing.T) map[int64]string {
	res, err := http.Get(c.cloudURL + "/machines")
	require.NoError(t, err)
	defer res.Body.Close()
	var keys map[int64]string
	require.NoError(t, json.NewDecoder(res.Body).Decode(&keys))
	return keys
}

func (c *cluster) restarts() (n int) {
	for _, p := range c.duffys {
		p.mu.Lock()
		n += p.restarts
		p.mu.Unlock()
	}
	return n
}

// logged returns the lines of all logs of Duffy that have one of texts in them.
func (c *cluster) logged(texts ...string) (lines []string) {
	for _, p := range c.duffys {
		log, _ := os.ReadFile(filepath.Join(c.dir, p.name+".log"))
		for line := range strings.Lines(string(log)) {
			if slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(line, text) }) {
				lines = append(lines, p.name+": "+strings.TrimSpace(line))
			}
		}
	}
	return lines
}

// freeAddress returns an address that nobody listens on.
func freeAddress(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}
