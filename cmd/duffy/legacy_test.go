package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A servingCommand is a command in this process that serves until it is told to
// stop.
type servingCommand struct {
	stdout, stderr demoOutput
	stop           context.CancelFunc
	code           chan int
}

func startServing(t *testing.T, args ...string) *servingCommand {
	ctx, cancel := context.WithCancel(t.Context())
	s := &servingCommand{stop: cancel, code: make(chan int, 1)}
	go func() { s.code <- run(ctx, args, &s.stdout, &s.stderr) }()
	return s
}

func (s *servingCommand) requireStopped(t *testing.T) {
	t.Helper()
	select {
	case code := <-s.code:
		require.Zero(t, code, "%s", &s.stderr)
	case <-time.After(time.Minute):
		require.Fail(t, "does not stop", "%s", &s.stderr)
	}
}

// freePort returns a port that was free a moment ago.
func freePort(t testing.TB) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().(*net.TCPAddr).Port
}

func writeConfig(t *testing.T, format string, args ...any) (file string) {
	file = filepath.Join(t.TempDir(), "duffy.yaml")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, format, args...), 0o600))
	return file
}

// askUntil returns status and body of an answer, once there is one.
func askUntil(t *testing.T, url string) (answer string) {
	t.Helper()
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		res, err := http.Get(url)
		require.NoError(c, err)
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		require.NoError(c, err)
		answer = fmt.Sprint(res.StatusCode, " ", string(body))
	}, time.Minute, 50*time.Millisecond)
	return answer
}

func TestServeLegacy(t *testing.T) {
	t.Parallel()
	reached, goOn := make(chan struct{}), make(chan struct{})
	rest := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			fmt.Fprint(w, `{"sessions": [{"id": 4, "nodes": [{"id": 6, "hostname": "n6.ci.example.net"}]}]}`)
			return
		}
		close(reached)
		<-goOn
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, `{"session": {"id": 5, "nodes": [{"id": 7, "hostname": "n7.ci.example.net"}]}}`)
	}))
	defer rest.Close()
	file := writeConfig(t, `
metaclient:
  port: 1
  dest: http://127.0.0.1:1
  usermap: {secret: tenant}
  poolmap: [{arch: ^x86_64$, pool: small}]
  mangle_hostname: "{{ hostname | replace('.ci.example.net', '') }}"
  ssid-as-string: true
`)
	port := freePort(t)
	s := startServing(t, "-c", file, "serve-legacy", "--reload", "-H", "localhost", "-p", fmt.Sprint(port), "-D", rest.URL)
	url := fmt.Sprintf("http://localhost:%d", port)
	require.Equal(t, `200 [["n6","4"]]`, askUntil(t, url+"/Inventory?key=secret"))
	require.Equal(t, fmt.Sprintf(` * Starting Duffy Metaclient for Legacy Support...
 * Host address        : localhost
 * Port number         : %d
 * Destination address : %s
`, port, rest.URL), s.stdout.String())

	answer := make(chan string)
	go func() {
		res, err := http.Get(url + "/Node/get?key=secret")
		if !assert.NoError(t, err) {
			close(answer)
			return
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		answer <- string(body)
	}()
	<-reached
	s.stop()
	close(goOn)
	require.JSONEq(t, `{"ssid": "5", "hosts": ["n7"]}`, <-answer)
	s.requireStopped(t)
	require.Contains(t, s.stderr.String(), "path=/Node/get")
	require.NotContains(t, s.stderr.String(), "secret")
}

func TestServeLegacyWithoutUsers(t *testing.T) {
	t.Parallel()
	s := startServing(t, "-c", writeConfig(t, "metaclient: {port: %d}", freePort(t)), "serve-legacy")
	require.Eventually(t, func() bool { return s.stdout.String() != "" }, time.Minute, 10*time.Millisecond)
	s.stop()
	s.requireStopped(t)
	require.Contains(t, s.stderr.String(), "metaclient.usermap is empty")
}

// TestRunServesLegacy has duffy run serve the legacy API if it is configured.
func TestRunServesLegacy(t *testing.T) {
	t.Parallel()
	const config = `
app: {port: %d}
database: {url: "sqlite:///%s/duffy.sqlite"}
`
	rest, old, dir := freePort(t), freePort(t), t.TempDir()
	without := writeConfig(t, config, rest, dir)
	with := writeConfig(t, config+`
metaclient:
  port: %d
  dest: http://127.0.0.1:1
  usermap: {%s: tenant, other: tenant}
  poolmap: [{pool: nosuch}]
`, rest, dir, old, testKey("tenant"))

	code := run(t.Context(), []string{"-c", with, "setup-db", "--test-data"}, io.Discard, io.Discard)
	require.Zero(t, code)
	s := startServing(t, "-c", with, "run")
	url := fmt.Sprintf("http://127.0.0.1:%d", old)
	require.Equal(t, `200 []`, askUntil(t, url+"/Inventory?key="+testKey("tenant")))
	require.Equal(t, `403 {"msg":"Invalid duffy key"}`, askUntil(t, url+"/Inventory?key=other"))
	require.Equal(t, `200 "Failed to allocate nodes"`, askUntil(t, url+"/Node/get?key="+testKey("tenant")))
	require.Contains(t, askUntil(t, fmt.Sprintf("http://127.0.0.1:%d/api/v1/pools", rest)), "200 ")
	require.Contains(t, s.stdout.String(), " * Destination address : this process\n")
	s.stop()
	s.requireStopped(t)
	require.NotContains(t, s.stderr.String(), testKey("tenant"))

	s = startServing(t, "-c", without, "run")
	askUntil(t, fmt.Sprintf("http://127.0.0.1:%d/api/v1/pools", rest))
	s.stop()
	s.requireStopped(t)
	require.NotContains(t, s.stdout.String(), "Legacy")
}

// TestBadLegacyConfiguration has mistakes told, with their places, wherever it
// would be used.
func TestBadLegacyConfiguration(t *testing.T) {
	t.Parallel()
	file := writeConfig(t, `database: {url: "sqlite:///%s/duffy.sqlite"}
metaclient:
  mangle_hostname: '{{ secret'
  poolmap:
  - pool: fine
  - ver: ^8(stream$
    pool: '{%% if %%}'
`, t.TempDir())
	for _, args := range [][]string{{"config", "check"}, {"serve-legacy"}, {"run"}} {
		var stdout, stderr demoOutput
		require.Equal(t, exitFailure, run(t.Context(), append([]string{"-c", file}, args...), &stdout, &stderr))
		require.Empty(t, stdout.String())
		require.Contains(t, stderr.String(), file+":3: metaclient.mangle_hostname: is no Jinja2 template: ")
		require.Contains(t, stderr.String(), file+":6: metaclient.poolmap.1.ver: is no regular expression: ")
		require.Contains(t, stderr.String(), file+":7: metaclient.poolmap.1.pool: is no Jinja2 template: ")
		require.NotContains(t, stderr.String(), "secret")
	}
	var stderr demoOutput
	args := []string{"-c", writeConfig(t, "metaclient: {}"), "serve-legacy", "-D", "localhost:8080"}
	require.Equal(t, exitFailure, run(t.Context(), args, io.Discard, &stderr))
	require.Contains(t, stderr.String(), `"localhost:8080/api/v1" is not like http://`)
}
