package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v4"

	"github.com/duffy-ci/duffy"
	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
)

const recordings = "../../testdata/duffy3"

const takenBackAtOnce = "retiring a session takes its nodes back at once, not when a worker gets to it"

// differently lists the recorded commands whose output differs on purpose: what
// is in it instead, and why. A stream that is left out is as it was.
var differently = map[string]struct{ stdout, stderr, why string }{
	"version":                             {"Duffy, version ", "", "this is another version"},
	"client: yaml show-pool":              {"deployed: 0\n    deprovisioning: 2\n", "", takenBackAtOnce},
	"client: flat show-pool":              {"levels_deployed=0 levels_deprovisioning=4\n", "", takenBackAtOnce},
	"client: format upper case":           {"levels_deployed=0 levels_deprovisioning=6\n", "", takenBackAtOnce},
	"client: without config, all options": {"levels_deployed=0 levels_deprovisioning=6\n", "", takenBackAtOnce},
	"config check": {
		"", "warning: {CONFIG}:80: nodepools.abstract.physical.reuse-nodes: nothing reinstalls machines",
		"nothing was looked at when machines are reused",
	},
}

// A command is one of Duffy 3's with what it printed.
type command struct {
	Name           string
	Argv           []string
	Exit           int
	Stdout, Stderr string
}

// TestRecordedCommands runs commands of Duffy 3 on the database that it had, and
// compares what they print by its meaning.
func TestRecordedCommands(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	r := newReplay(t)
	text, err := os.ReadFile(filepath.Join(recordings, "cli.json"))
	require.NoError(t, err)
	var commands []command
	require.NoError(t, json.Unmarshal(text, &commands))
	for _, c := range commands {
		t.Run(c.Name, func(t *testing.T) { r.command(t, c) })
	}
}

// A replay runs commands against a server on Duffy 3's database.
type replay struct {
	places *strings.Replacer // of configuration files
	ids    map[string]string // of sessions: the recorded one to ours
}

func newReplay(t *testing.T) *replay {
	t.Helper()
	url := dbtest.PostgresURL(t)
	out, err := exec.Command("psql", "-q", "-v", "ON_ERROR_STOP=1", "-d", url, "-f", filepath.Join(recordings, "duffy3.sql")).CombinedOutput()
	require.NoError(t, err, "%s", out)
	dir := t.TempDir()
	for _, playbook := range []string{"provision.yml", "deprovision.yml"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, playbook), []byte("[]"), 0o600))
	}
	text, err := os.ReadFile(filepath.Join(recordings, "config.yaml"))
	require.NoError(t, err)

	file := filepath.Join(dir, "config.yaml")
	write := func(server string) {
		config := strings.NewReplacer(
			"http://127.0.0.1:18090", server, "/path/to/playbooks", dir,
			"postgresql://postgres@127.0.0.1:15432/golden", url,
		).Replace(string(text))
		require.NoError(t, os.WriteFile(file, []byte(config), 0o600))
	}
	write("http://127.0.0.1:1")
	cfg, err := duffy.LoadConfig(file)
	require.NoError(t, err)
	d, err := duffy.New(t.Context(), cfg, duffy.Options{Contextualizer: openDoors{}})
	require.NoError(t, err)
	t.Cleanup(func() { d.Close() })
	require.NoError(t, d.Migrate(t.Context()))
	server := httptest.NewServer(d.Handler())
	t.Cleanup(server.Close)
	write(server.URL)

	client := filepath.Join(dir, "client.yaml")
	require.NoError(t, os.WriteFile(client, []byte("client:\n  url: http://127.0.0.1:1/api/v1\n  auth: {name: tenant, key: 00000000-0000-0000-0000-000000000000}\n"), 0o600))
	merged := filepath.Join(dir, "merged")
	require.NoError(t, os.Mkdir(merged, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(merged, "1.yaml"), []byte("app:\n  host: a\n  loglevel: info\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(merged, "2.yml"), []byte("app:\n  host: b\n---\napp:\n  port: 1234\n"), 0o600))
	return &replay{
		places: strings.NewReplacer("{CONFIG}", file, "/rec/cfg41.yaml", client, "/rec/cfgdir", merged,
			"http://127.0.0.1:18090", server.URL),
		ids: map[string]string{},
	}
}

func (r *replay) command(t *testing.T, c command) {
	args := make([]string, len(c.Argv)-1)
	for i, arg := range c.Argv[1:] {
		args[i] = r.places.Replace(arg)
		if ours, ok := r.ids[arg]; ok {
			args[i] = ours
		}
	}
	var stdout, stderr bytes.Buffer
	exit := run(t.Context(), args, &stdout, &stderr)
	require.Equal(t, c.Exit, exit, "%s", stderr.String())
	if c.Stderr == "(usage error)" {
		require.NotEmpty(t, stderr.String())
		require.Empty(t, stdout.String())
		return
	}
	except := differently[c.Name]
	if except.stderr != "" {
		require.Contains(t, stderr.String(), r.places.Replace(except.stderr))
	} else {
		require.Equal(t, withoutNumbers(c.Stderr), withoutNumbers(stderr.String()), "stderr")
	}
	if except.stdout != "" {
		require.Contains(t, stdout.String(), except.stdout)
		return
	}
	r.learn(c.Stdout, stdout.String())
	require.Equal(t, meaning(c.Stdout), meaning(stdout.String()))
}

var sessionID = regexp.MustCompile(`(?m)^session_id=(\d+)|^    "id": (\d+),|^  id: (\d+)`)

// learn notes which of our sessions stands for a recorded one.
func (r *replay) learn(want, got string) {
	w, g := sessionID.FindStringSubmatch(want), sessionID.FindStringSubmatch(got)
	if w != nil && g != nil {
		r.ids[strings.Join(w[1:], "")] = strings.Join(g[1:], "")
	}
}

var (
	moments = regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\.\d+\+00:00`)
	keys    = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	numbers = regexp.MustCompile(`(session_id=|session |id=)\d+`)
)

func withoutNumbers(text string) string { return numbers.ReplaceAllString(text, "${1}N") }

// meaning is what a document says, less what differs from run to run.
func meaning(text string) any {
	text = moments.ReplaceAllString(keys.ReplaceAllString(withoutNumbers(text), "KEY"), "TIME")
	var document map[string]any
	if yaml.Unmarshal([]byte(text), &document) == nil && document != nil {
		return lessIDs(document)
	}
	return text
}

// lessIDs blanks identifiers, and takes additions to error documents away.
func lessIDs(v any) any {
	switch v := v.(type) {
	case map[string]any:
		if detail, ok := v["detail"]; ok {
			return map[string]any{"detail": detail}
		}
		m := map[string]any{}
		for k, val := range v {
			if k == "id" {
				val = "ID"
			}
			m[k] = lessIDs(val)
		}
		return m
	case []any:
		l := make([]any, len(v))
		for i := range v {
			l[i] = lessIDs(v[i])
		}
		return l
	}
	return v
}

// openDoors lets in whoever wants.
type openDoors struct{}

func (openDoors) Contextualize(context.Context, backend.Node, string) error { return nil }

func (openDoors) Decontextualize(context.Context, backend.Node) error { return nil }
