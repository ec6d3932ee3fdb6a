package main

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Secrets of a configuration that nobody but their owners may ever read. What
// would be cut off or quoted in errors still has "SECRET" in it.
const (
	databaseSecret = "dbSECRETdb"
	redisSecret    = "redisSECRETredis"
	legacySecret   = "0f0f0f0f-SECRET-4000-8000-000000000001"
	clientSecret   = "0f0f0f0f-SECRET-4000-8000-000000000002"
	proxySecret    = "proxySECRETproxy"
	varSecret      = "varSECRETvar"
	keySecret      = "keySECRETkey"
)

// A spy reads whatever the program says.
type spy struct {
	mu   sync.Mutex
	said map[string]string // by what was done
}

func (s *spy) hear(what, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.said == nil {
		s.said = map[string]string{}
	}
	s.said[what] += text + "\n"
}

func (s *spy) requireNothing(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for what, text := range s.said {
		assert.NotContains(t, text, "SECRET", what)
		assert.NotContains(t, text, base64.StdEncoding.EncodeToString([]byte("tenant:" + clientSecret))[:20], what)
	}
}

// fails runs a command at the most talkative level, to its end, which is a bad one.
func (s *spy) fails(t *testing.T, config string, args ...string) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "duffy.yaml"), []byte(config), 0o600))
	code, stdout, stderr := runProgram(t, dir, append([]string{"-l", "trace", "-c", "duffy.yaml"}, args...)...)
	require.NotZero(t, code, "%s: %s%s", args, stdout, stderr)
	require.NotEmpty(t, stdout+stderr)
	s.hear(strings.Join(args, " ")+" with "+config, stdout+stderr)
}

// waits runs a command that goes on until it is told to stop, which is when it has
// said something.
func (s *spy) waits(t *testing.T, config string, args ...string) {
	t.Helper()
	c := startServing(t, append([]string{"-l", "trace", "-c", writeConfig(t, "%s", config)}, args...)...)
	require.Eventually(t, func() bool { return c.stderr.String() != "" }, patience, glance)
	c.stop()
	<-c.code
	s.hear(strings.Join(args, " ")+" with "+config, c.stdout.String()+c.stderr.String())
}

// TestNoSecretsInErrors has everything fail that can.
func TestNoSecretsInErrors(t *testing.T) {
	t.Parallel()
	var s spy
	key := filepath.Join(t.TempDir(), "id_rsa")
	require.NoError(t, os.WriteFile(key, []byte("-----BEGIN OPENSSH PRIVATE KEY-----\n"+keySecret+"\n-----END OPENSSH PRIVATE KEY-----\n"), 0o600))
	const unreachable = "postgresql://duffy:" + databaseSecret + "@127.0.0.1:1/duffy"
	database := func(url string) string { return fmt.Sprintf("database: {url: %q}\n", url) }

	// The database.
	for _, command := range []string{"serve", "run", "worker"} {
		s.waits(t, database(unreachable), command)
	}
	for _, command := range []string{
		"setup-db", "migration upgrade", "migration db-version", "migration downgrade",
		"admin list-tenants", "admin create-tenant --is-admin x k", "dev-shell",
	} {
		s.fails(t, database(unreachable), strings.Fields(command)...)
	}
	for _, url := range []string{
		"postgresql://duffy:" + databaseSecret + "@127.0.0.1:port/duffy",
		"postgresql://duffy:" + databaseSecret + "@" + databaseSecret + "@127.0.0.1/duffy",
		"postgresql://duffy:" + databaseSecret + "%zz@[::1/duffy",
		"postgresql://duffy:" + databaseSecret + "/x#@127.0.0.1:1/duffy",
		"postgresql://127.0.0.1:1/duffy?sslmode=bogus&password=" + databaseSecret,
		"postgresql://127.0.0.1:1/duffy?sslmode=bogus&sslpassword=" + databaseSecret,
		"postgresql://127.0.0.1:1/duffy?connect_timeout=x&sslpassword=" + databaseSecret,
		"mysql://duffy:" + databaseSecret + "@127.0.0.1/duffy",
		"sqlite://duffy:" + databaseSecret + "@/duffy",
		"duffy:" + databaseSecret,
	} {
		s.fails(t, database(url), "admin", "list-tenants")
		s.waits(t, database(url), "serve")
		s.fails(t, "database: {sqlalchemy: {sync_url: '"+url+"', async_url: 5}}", "config", "check")
	}

	// Redis.
	for _, url := range []string{
		"redis://:" + redisSecret + "@127.0.0.1:1/0", "redis://u:" + redisSecret + "@127.0.0.1:port/0", "redis://u:" + redisSecret + "@",
		"rediss://u:" + redisSecret + "@127.0.0.1:1/x", "redis-sentinel://u:" + redisSecret + "@127.0.0.1:1?master=m",
		"redis-socket://:" + redisSecret + "@host/sock", "redis://u:" + redisSecret + "%zz@127.0.0.1/0", "u:" + redisSecret + "@127.0.0.1",
		"redis-cluster://u:" + redisSecret + "@127.0.0.1:1,127.0.0.1:1/5", "redis://u:" + redisSecret + "/" + redisSecret + "@127.0.0.1:1",
	} {
		config := database(unreachable) + fmt.Sprintf("tasks: {queue: asynq, redis: %q}\n", url)
		s.waits(t, config, "worker")
		s.fails(t, config, "admin", "list-tenants")
	}

	away := "tasks: {queue: asynq, redis: 'redis://u:" + redisSecret + "@127.0.0.1:1/0'}\n"
	s.waits(t, fmt.Sprintf("app: {port: %d}\n", freePort(t))+away+database("sqlite:///"+filepath.Join(t.TempDir(), "duffy.sqlite")), "run")

	// The configuration.
	for _, config := range []string{
		"database: {url: [" + databaseSecret + "]}", "database: " + databaseSecret, "database: {url: *" + databaseSecret + "}",
		"database: {url: !" + databaseSecret + "}", "database: {url: '" + databaseSecret + "'\napp: [",
		"tasks: {redis: " + redisSecret + "}", "tasks: {redis: 'http://u:" + redisSecret + "@h'}",
		"metaclient: {usermap: {" + legacySecret + ": 5}}", "metaclient: {usermap: {" + legacySecret + ": a, " + legacySecret + ": b}}",
		"metaclient: {usermap: " + legacySecret + "}", "metaclient: {dest: 'ftp://u:" + proxySecret + "@h'}",
		"client: {auth: " + clientSecret + "}", "client: {auth: {key: [" + clientSecret + "]}}", "client: {url: 'u:" + proxySecret + "@h'}",
		"client: {auth: {name: x, key: 5}}\nssh: {key-files: [" + key + "], port: 0}",
		"ssh: {key-files: " + keySecret + "}\nnodepools: " + varSecret,
	} {
		s.fails(t, config, "config", "check")
		s.fails(t, config, "worker")
	}
	s.fails(t, database("sqlite:///duffy.sqlite")+"ssh: {key-files: ["+key+"]}", "run")
	s.fails(t, "app: {tls: {certificate: "+key+", key: "+key+"}}", "serve")

	// The client.
	for _, url := range []string{
		"http://u:" + proxySecret + "@127.0.0.1:1/api/v1", "http://u:" + proxySecret + "@127.0.0.1:port/api/v1",
		"http://u:" + proxySecret + "%zz@127.0.0.1:1", "ftp://u:" + proxySecret + "@h", "http://u:" + proxySecret + "/@127.0.0.1",
		"http://u:" + proxySecret + "@[::1",
	} {
		s.fails(t, "client: {auth: {name: tenant, key: "+clientSecret+"}}", "client", "--url", url, "list-sessions")
	}
	s.fails(t, "", "client", "--auth-key", clientSecret, "list-sessions")
	s.fails(t, "", "client", "--auth-key", clientSecret, "--url", "http://127.0.0.1:1", "--format", "x", "list-sessions")
	s.fails(t, "", "client", "--auth-key", clientSecret, "list-sessions", "x")

	// The legacy API.
	port := freePort(t)
	old := startServing(t, "-l", "trace", "-c", writeConfig(t, "metaclient: {port: %d, dest: 'http://u:%s@127.0.0.1:1'}", port, proxySecret), "serve-legacy")
	s.hear("inventory", askUntil(t, fmt.Sprintf("http://127.0.0.1:%d/Inventory", port)))
	old.stop()
	old.requireStopped(t)
	s.hear("the legacy API", old.stdout.String()+old.stderr.String())

	// Tenants' keys.
	sqlite := database("sqlite:///" + filepath.Join(t.TempDir(), "duffy.sqlite"))
	var out, errs strings.Builder
	require.Zero(t, run(t.Context(), []string{"-c", writeConfig(t, "%s", sqlite), "setup-db", "--test-data"}, &out, &errs), errs.String())
	private := "-----BEGIN RSA PRIVATE KEY-----\n" + keySecret
	broken := "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA" + keySecret
	for _, sshKey := range []string{private, broken, keySecret + "\x1b"} {
		s.fails(t, sqlite, "admin", "create-tenant", "x", sshKey)
		s.fails(t, sqlite, "admin", "update-tenant", "--ssh-key", sshKey, "tenant")
	}
	s.fails(t, sqlite, "admin", "update-tenant", "--api-key", clientSecret, "tenant")
	users := writeFile(t, legacySecret+",p,one,c,l\n"+legacySecret+",p,two,c,l\n")
	keys := writeFile(t, "1,"+legacySecret+"x,ssh-rsa A\n2,"+legacySecret+","+broken+"\n3,"+legacySecret+"\n")
	s.fails(t, sqlite, "import-csv", users, keys)
	s.fails(t, sqlite, "import-csv", "generate-usermap", users, keys)

	s.requireNothing(t)
}

// TestNoSecretsInService has requests go wrong in all ways, and playbooks fail.
func TestNoSecretsInService(t *testing.T) {
	t.Parallel()
	var s spy
	dir := t.TempDir()
	port, oldPort := freePort(t), freePort(t)
	playbook := filepath.Join(dir, "provision.yml")
	require.NoError(t, os.WriteFile(playbook, []byte(`
- hosts: localhost
  gather_facts: false
  tasks:
  - name: Ask for a token
    ansible.builtin.command: "false {{ password }}"
    no_log: true
    ignore_errors: true
  - name: Log in to the cloud
    ansible.builtin.fail:
      msg: no such user
`), 0o600))
	file := writeConfig(t, `
app: {port: %d}
metaclient: {port: %d, usermap: {%s: tenant, known%[3]s: nobody}, poolmap: [{pool: "{{ ver }}"}]}
client: {auth: {name: tenant, key: %[4]s}}
database: {url: "sqlite:///%[5]s/duffy.sqlite"}
nodepools:
  concrete:
    p:
      fill-level: 1
      password: %[6]s
      mechanism:
        type: ansible
        ansible: {topdir: %[5]s, extra-vars: {password: "{{ password }}"}, provision: {playbook: provision.yml}}
`, port, oldPort, legacySecret, clientSecret, dir, varSecret)
	var out, errs strings.Builder
	require.Zero(t, run(t.Context(), []string{"-c", file, "setup-db", "--test-data"}, &out, &errs), errs.String())
	service := startServing(t, "-l", "trace", "-c", file, "run")
	rest, old := fmt.Sprint("http://127.0.0.1:", port), fmt.Sprint("http://127.0.0.1:", oldPort)
	askUntil(t, rest+"/readyz")
	askUntil(t, old+"/Inventory")

	admin := base64.StdEncoding.EncodeToString([]byte("admin:" + testKey("admin")))
	ask := func(method, url, authorization, body string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
		require.NoError(t, err)
		req.Header.Set("Authorization", authorization)
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.GreaterOrEqual(t, res.StatusCode, 400, "%s %s", url, text)
		s.hear("answer to "+method+" "+url+" "+body, fmt.Sprint(res.Header)+string(text))
	}
	encode := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	for _, authorization := range []string{
		"Basic " + clientSecret, "Bearer " + clientSecret, "Basic " + encode(clientSecret), "Basic " + encode("tenant:"+clientSecret),
		"Basic " + encode(clientSecret+":x"), "Basic " + encode("tenant:"+strings.Repeat(clientSecret, 100)), clientSecret,
	} {
		ask("GET", rest+"/api/v1/tenants", authorization, "")
	}
	for _, body := range []string{
		`{"name": "x", "ssh_key": "` + keySecret, `{"name": "x", "ssh_key": ["` + keySecret + `"]}`, `{"ssh_key": "` + keySecret + `"}`,
		`{"name": "x", "ssh_key": "-----BEGIN RSA PRIVATE KEY-----\n` + keySecret + `"}`,
		`{"name": "x", "ssh_key": "ssh-rsa AAAAB3NzaC1yc2EAAAADAQAB` + keySecret + `"}`,
		`{"name": "tenant", "ssh_key": "` + keySecret + `"}`, `"` + keySecret + `"`,
		`{"name": "x", "ssh_key": "` + keySecret + `", "node_quota": "` + keySecret + `"}`,
		`{"name": "x", "ssh_key": "` + keySecret + `", "is_admin": "` + keySecret + `"}`,
		`{"name": "x", "ssh_key": "` + keySecret + `", "session_lifetime": "` + keySecret + `"}`,
	} {
		ask("POST", rest+"/api/v1/tenants", "Basic "+admin, body)
	}
	for _, body := range []string{
		`{"api_key": "` + clientSecret + `"}`, `{"api_key": 5, "ssh_key": "` + keySecret + `"}`,
		`{"ssh_key": "-----BEGIN RSA PRIVATE KEY-----\n` + keySecret + `"}`,
	} {
		ask("PUT", rest+"/api/v1/tenants/2", "Basic "+admin, body)
	}
	ask("POST", rest+"/api/v1/nodes", "Basic "+admin, `{"hostname": "h", "ipaddr": "192.0.2.1", "data": "`+varSecret+`"}`)
	ask("GET", rest+"/api/v1/nosuch?key="+clientSecret, "", "")
	ask("GET", old+"/Node/get/"+legacySecret, "", "")
	ask("GET", old+"/Node/get?key="+legacySecret+"x", "", "")
	ask("GET", old+"/Inventory?key="+legacySecret, "", "") // which is in the user map only
	ask("GET", old+"/Node/done?ssid=1&key="+legacySecret, "", "")
	_, _ = http.Get(old + "/Node/get?key=" + legacySecret + "&ver=%7B%7B")

	require.Eventually(t, func() bool { return strings.Contains(service.stderr.String(), "provisioning failed") }, patience, glance)
	for _, path := range []string{"/api/v1/nodes", "/api/v1/pools", "/api/v1/pools/p", "/openapi.json"} {
		s.hear(path, askUntil(t, rest+path))
	}
	nodes := askUntil(t, strings.Replace(rest, "://", "://admin:"+testKey("admin")+"@", 1)+"/api/v1/nodes")
	require.Contains(t, nodes, `"error":`, "an administrator sees why nodes failed")
	s.hear("nodes as an administrator sees them", nodes)
	service.stop()
	service.requireStopped(t)
	s.hear("the service", service.stdout.String()+service.stderr.String())
	require.Contains(t, service.stderr.String(), "no such user")
	s.requireNothing(t)
}
