package clientcli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/httpapi/apiv1"
	"github.com/duffy-ci/duffy/internal/clientcli"
)

// TestMain keeps the settings of whoever runs the tests out of them.
func TestMain(m *testing.M) {
	for _, name := range []string{"DUFFY_URL", "DUFFY_AUTH_NAME", "DUFFY_AUTH_KEY"} {
		if err := os.Unsetenv(name); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// result is what a user sees of a command.
type result struct {
	exit           int
	stdout, stderr string
}

// run runs a command the way main does.
func run(ctx context.Context, defaults func() (clientcli.Settings, error), args ...string) result {
	var stdout, stderr bytes.Buffer
	exit := runOn(ctx, &stdout, &stderr, defaults, args...)
	return result{exit, stdout.String(), stderr.String()}
}

func runOn(ctx context.Context, stdout, stderr io.Writer, defaults func() (clientcli.Settings, error), args ...string) int {
	var grammar struct {
		Config []string                    `short:"c"`
		Client struct{ clientcli.Command } `cmd:""`
	}
	grammar.Client.Defaults = defaults
	parser := kong.Must(&grammar, kong.Name("duffy"), kong.Writers(stdout, stderr),
		kong.BindTo(ctx, (*context.Context)(nil)))
	command, err := parser.Parse(args)
	if err == nil {
		err = command.Run()
	}
	var usage *kong.ParseError
	var status kong.ExitCoder
	switch {
	case err == nil:
		return 0
	case errors.As(err, &usage):
		parser.Errorf("%s", err)
		return 2
	case errors.As(err, &status):
		parser.Errorf("%s", err)
		return status.ExitCode()
	}
	parser.Errorf("%s", err)
	return 1
}

// configured is a configuration file with everything in it.
func configured(url string) func() (clientcli.Settings, error) {
	return func() (clientcli.Settings, error) {
		return clientcli.Settings{URL: url + "/api/v1", Name: "tenant", Key: "a8b9899d-b128-59a1-aa86-754920b7f5ed"}, nil
	}
}

// serve starts a server that answers every request with status and body.
func serve(t *testing.T, status int, body string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// exchange is a request to the API with its answer.
type exchange struct {
	Name, Key         string
	Method, Path      string
	Status            int
	Request, Response json.RawMessage
}

// handler answers the one request that is expected, and tells about others.
func (e *exchange) handler(w http.ResponseWriter, r *http.Request) {
	name, key, _ := r.BasicAuth()
	body, _ := io.ReadAll(r.Body)
	var want bytes.Buffer
	_ = json.Compact(&want, e.Request)
	got := []string{name, key, r.Method, r.URL.Path, string(body)}
	if !slices.Equal(got, []string{e.Name, e.Key, e.Method, e.Path, want.String()}) {
		w.WriteHeader(http.StatusTeapot)
		_ = json.NewEncoder(w).Encode(apiv1.Problem{Detail: "unexpected request: " + strings.Join(got, " ")})
		return
	}
	w.WriteHeader(e.Status)
	_, _ = w.Write(append(e.Response, '\n')) // as servers in Go do
}

// TestRecorded runs the commands that Duffy 3's client was recorded with against
// the answers that it got.
func TestRecorded(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("testdata/recorded.json")
	require.NoError(t, err)
	var recorded []struct {
		Name   string
		Argv   []string
		Exit   int
		Stdout string
		API    *exchange
	}
	require.NoError(t, json.Unmarshal(data, &recorded))
	require.NotEmpty(t, recorded)
	for _, tt := range recorded {
		t.Run(tt.Name, func(t *testing.T) {
			t.Parallel()
			var url string
			if tt.API != nil {
				server := httptest.NewServer(http.HandlerFunc(tt.API.handler))
				t.Cleanup(server.Close)
				url = server.URL
			}
			for i, arg := range tt.Argv {
				tt.Argv[i] = strings.ReplaceAll(arg, "{URL}", url+"/api/v1")
			}
			got := run(t.Context(), configured(url), tt.Argv...)
			require.Equal(t, tt.Stdout, got.stdout)
			require.Equal(t, tt.Exit, got.exit)
			require.Equal(t, tt.Exit == 0, got.stderr == "", got.stderr)
		})
	}
}

func TestExtendSession(t *testing.T) {
	t.Parallel()
	for _, expiry := range []string{"+1h", "-30m", "2099-01-01T00:00:00Z"} {
		expected := exchange{
			Name: "tenant", Key: "a8b9899d-b128-59a1-aa86-754920b7f5ed",
			Method: http.MethodPut, Path: "/api/v1/sessions/5", Request: json.RawMessage(`{"expires_at":"` + expiry + `"}`),
			Status: 200, Response: json.RawMessage(`{"session":{"id":5}}`),
		}
		server := httptest.NewServer(http.HandlerFunc(expected.handler))
		t.Cleanup(server.Close)
		got := run(t.Context(), configured(server.URL), "client", "extend-session", "5", "--", expiry)
		require.Equal(t, result{stdout: "{\n  \"session\": {\n    \"id\": 5\n  }\n}\n"}, got)
	}
}

func TestUsageErrors(t *testing.T) {
	t.Parallel()
	for args, message := range map[string]string{
		"request-session":                          "expected",
		"request-session pool=x":                   "must have both pool and quantity",
		"request-session quantity=1":               "must have both pool and quantity",
		"request-session pool=,quantity=1":         "must have both pool and quantity",
		"request-session pool=x,pool=y,quantity=1": `duplicate key "pool"`,
		"request-session pool=x,quantity=one":      `quantity "one"`,
		"request-session pool=x,quantity=0":        `quantity "0"`,
		"request-session pool=x,quantity=1,arch=y": `"arch=y"`,
		"request-session x":                        `"x" in "x" is neither`,
		"show-session":                             "expected",
		"show-session five":                        "five",
		"retire-session 5 6":                       "6",
		"--format xml list-pools":                  `"xml" is none of json, yaml, flat`,
		"nosuch":                                   "nosuch",
	} {
		got := run(t.Context(), configured("http://127.0.0.1:1"), append([]string{"client"}, strings.Fields(args)...)...)
		require.Equal(t, 2, got.exit, args)
		require.Empty(t, got.stdout, args)
		require.Contains(t, got.stderr, message, args)
	}
}

func TestExitStatus(t *testing.T) {
	t.Parallel()
	refusing, granting := serve(t, 422, `{"detail":"session 5 is retired"}`), serve(t, 200, `{"session":{}}`)
	got := run(t.Context(), configured(refusing), "client", "--exit-status", "retire-session", "5")
	require.Equal(t, 3, got.exit)
	require.JSONEq(t, `{"error":{"detail":"session 5 is retired"}}`, got.stdout)
	require.Contains(t, got.stderr, "session 5 is retired")
	require.Zero(t, run(t.Context(), configured(refusing), "client", "retire-session", "5").exit)
	require.Zero(t, run(t.Context(), configured(granting), "client", "--exit-status", "retire-session", "5").exit)
}

func TestErrorDocument(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{"title":"T","detail":"d","errors":[{"message":"m"}]}`: `{"error":{"title":"T","detail":"d","errors":[{"message":"m"}]}}`,
		`{"detail":[{"msg":"m"}]}`:                              `{"error":{"detail":"[{\"msg\":\"m\"}]"}}`,
	} {
		url := serve(t, 422, body)
		got := run(t.Context(), configured(url), "client", "list-pools")
		require.Equal(t, 0, got.exit)
		require.JSONEq(t, want, got.stdout)
		got = run(t.Context(), configured(url), "client", "--format", "flat", "list-pools")
		require.Regexp(t, `^error='.*'\n$`, got.stdout)
	}
}

func TestNoAnswerOfDuffy(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	nobody := "http://" + listener.Addr().String()
	require.NoError(t, listener.Close())
	cut := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
	}))
	t.Cleanup(cut.Close)
	for _, tt := range []struct {
		name, url, message string
		lost               bool
	}{
		{"nobody listens", nobody, "connection refused", false},
		{"proxy", serve(t, 504, "<html>\nlate"), "504 Gateway Timeout", true},
		{"cut off", cut.URL, "unexpected EOF", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, args := range []string{"request-session pool=x,quantity=1", "list-pools"} {
				got := run(t.Context(), configured(tt.url), append([]string{"client"}, strings.Fields(args)...)...)
				require.Equal(t, 1, got.exit)
				require.Empty(t, got.stdout)
				require.Contains(t, got.stderr, tt.message)
				require.Equal(t, 1, strings.Count(got.stderr, "\n"), got.stderr)
				lost := tt.lost && strings.HasPrefix(args, "request-session")
				require.Equal(t, lost, strings.Contains(got.stderr, "may have been granted"), got.stderr)
			}
		})
	}
}

func TestInterrupt(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // so that the server notices that the client has gone
		interrupt()
		<-r.Context().Done()
	}))
	t.Cleanup(server.Close)
	got := run(ctx, configured(server.URL), "client", "request-session", "pool=x,quantity=1")
	require.Equal(t, 130, got.exit)
	require.Empty(t, got.stdout)
	require.Contains(t, got.stderr, "interrupted")
	require.Contains(t, got.stderr, "may have been granted")
}

// TestProgramOfItsOwn has the client's commands without a command above them.
func TestProgramOfItsOwn(t *testing.T) {
	t.Parallel()
	var stdout bytes.Buffer
	grammar := clientcli.Command{Defaults: configured(serve(t, 200, `{"pools":[]}`))}
	parser := kong.Must(&grammar, kong.Name("duffy-client"), kong.Writers(&stdout, io.Discard),
		kong.BindTo(t.Context(), (*context.Context)(nil)))
	command, err := parser.Parse([]string{"--format", "json", "list-pools"})
	require.NoError(t, err)
	require.NoError(t, command.Run())
	require.JSONEq(t, `{"pools":[]}`, stdout.String())
}
