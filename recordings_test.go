package duffy_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy"
	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/httpapi"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
)

// deliberate lists the requests of the recordings that we answer differently
// than Duffy 3, and why.
var deliberate = map[string]struct {
	status int    // 0 if it is the same
	detail string // part of ours, if it is another
	answer string // all of ours, if it is another
	expiry string // of the session in our answer, if it is another
	why    string
}{
	"node create duplicate":              {detail: "exists", why: "the database's words are not for callers"},
	"node create duplicate ipaddr only":  {detail: "exists", why: "the database's words are not for callers"},
	"tenant create duplicate":            {detail: "exists", why: "the database's words are not for callers"},
	"session update unknown, expires_at": {status: 404, detail: "Not Found", why: "Duffy 3 answered 500"},
	"session update datetime with offset (admin)": {
		expiry: "2098-12-31T19:00:00+00:00",
		why:    "an offset is not dropped: it is the time that was meant",
	},
	"pool levels afterwards (no worker runs)": {
		answer: `{"action": "get", "pool": {"name": "virtual-fedora35-x86_64-small", "fill-level": 20, "levels": {
			"provisioning": 0, "ready": 15, "contextualizing": 0, "deployed": 4, "deprovisioning": 1}}}`,
		why: "retiring a session takes its nodes back at once, not when a worker gets to it",
	},
}

// outlines are the answers that show nothing of data, comments and limits unless the
// configuration says that everybody may read as much as with Duffy 3.
var outlines = []string{"sessions as anonymous", "node get", "node get created"}

// An exchange is a request recorded with Duffy 3's answer.
type exchange struct {
	Name, Method, Path string
	Auth               *struct{ User, Key string }
	Request            json.RawMessage
	RequestHeaders     map[string]string `json:"request_headers"`
	Status             int
	Headers            map[string]string
	Response           any
}

// TestRecordings replays requests to Duffy 3, on the database that it had, and
// compares the answers by their meaning.
func TestRecordings(t *testing.T) {
	t.Parallel()
	for name, anonymousRead := range map[string]httpapi.AnonymousRead{"full": httpapi.ReadFull, "limited": httpapi.ReadLimited} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(overDuffy3(t, anonymousRead).Handler())
			defer server.Close()
			text, err := os.ReadFile("testdata/duffy3/api.json")
			require.NoError(t, err)
			var exchanges []exchange
			require.NoError(t, json.Unmarshal(text, &exchanges))
			r := &replay{url: server.URL, keys: map[string]string{}, ids: map[string]string{}}
			for _, e := range exchanges {
				if anonymousRead == httpapi.ReadLimited && slices.Contains(outlines, e.Name) {
					e.Response = outline(e.Response)
				}
				t.Run(e.Name, func(t *testing.T) { r.exchange(t, e) })
			}
		})
	}
}

// hidden has what outlines show in place of what Duffy 3 showed: of limits, those that
// tenants have by default.
var hidden = map[string]any{
	"data": map[string]any{}, "comment": nil, "is_admin": false,
	"node_quota": nil, "session_lifetime": nil, "session_lifetime_max": nil,
	"effective_node_quota": 10.0, "effective_session_lifetime": 21600.0, "effective_session_lifetime_max": 43200.0,
}

// outline returns a recorded answer without what is hidden.
func outline(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := map[string]any{}
		for k, val := range v {
			m[k] = outline(val)
			if neutral, ok := hidden[k]; ok {
				m[k] = neutral
			}
		}
		return m
	case []any:
		l := make([]any, len(v))
		for i := range v {
			l[i] = outline(v[i])
		}
		return l
	}
	return v
}

// overDuffy3 returns Duffy on Duffy 3's database.
func overDuffy3(t *testing.T, anonymousRead httpapi.AnonymousRead) *duffy.Duffy {
	t.Helper()
	url := dbtest.PostgresURL(t)
	restore(t, url, "testdata/duffy3/duffy3.sql")
	cfg, err := duffy.LoadConfig("testdata/duffy3/config.yaml")
	require.NoError(t, err)
	cfg.Database, cfg.AnonymousRead = url, anonymousRead
	d, err := duffy.New(t.Context(), cfg, duffy.Options{Contextualizer: recordedNodes{}})
	require.NoError(t, err)
	t.Cleanup(func() { d.Close() })
	require.NoError(t, d.Migrate(t.Context()))
	require.NoError(t, d.Check(t.Context()))
	return d
}

// restore runs what pg_dump wrote.
func restore(t *testing.T, url, file string) {
	t.Helper()
	psql, err := exec.LookPath("psql")
	require.NoError(t, err, "psql comes with Debian's package postgresql-client")
	out, err := exec.Command(psql, "-q", "-v", "ON_ERROR_STOP=1", "-d", url, "-f", file).CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// recordedNodes lets in whoever wants, on all nodes but one.
type recordedNodes struct{}

func (recordedNodes) Contextualize(_ context.Context, node backend.Node, _ string) error {
	if node.IPAddr == "127.0.9.250" {
		return errors.New("connection refused")
	}
	return nil
}

func (recordedNodes) Decontextualize(context.Context, backend.Node) error { return nil }

// A replay knows what stands for the random and the counted in the recordings.
type replay struct {
	url  string
	keys map[string]string // recorded API key to ours
	ids  map[string]string // recorded path of a tenant or session to ours
}

func (r *replay) exchange(t *testing.T, e exchange) {
	path := e.Path
	if ours, ok := r.ids[path]; ok {
		path = ours
	}
	body := string(e.Request)
	var raw string
	if json.Unmarshal(e.Request, &raw) == nil {
		body = raw
	}
	body = regexp.MustCompile(`"tenant_id": (\d+)`).ReplaceAllStringFunc(body, func(s string) string {
		id := strings.TrimPrefix(s, `"tenant_id": `)
		if ours, ok := r.ids["/api/v1/tenants/"+id]; ok {
			id = filepath.Base(ours)
		}
		return `"tenant_id": ` + id
	})
	req, err := http.NewRequestWithContext(t.Context(), e.Method, r.url+path, strings.NewReader(body))
	require.NoError(t, err)
	for k, v := range e.RequestHeaders {
		req.Header.Set(k, v)
	}
	if e.Auth != nil {
		key := e.Auth.Key
		if ours, ok := r.keys[key]; ok {
			key = ours
		}
		req.SetBasicAuth(e.Auth.User, key)
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	require.NoError(t, err)

	except := deliberate[e.Name]
	if except.status == 0 {
		except.status = e.Status
	}
	require.Equal(t, except.status, res.StatusCode, "%s", text)
	require.NotEmpty(t, res.Header.Get("X-Request-Id"))
	for _, h := range []string{"www-authenticate", "retry-after", "content-type"} {
		if want := e.Headers[h]; want != "" && except.detail == "" {
			require.Equal(t, want, res.Header.Get(h), h)
		}
	}
	if e.Status == http.StatusTemporaryRedirect {
		location, err := res.Location() // ours is relative, since a proxy may have put something before the path
		require.NoError(t, err)
		require.Equal(t, r.url+"/api/v1/pools", location.String())
		return
	}
	var got any
	require.NoError(t, json.Unmarshal(text, &got))
	if res.StatusCode >= 400 {
		r.problem(t, e, except.detail, got)
		return
	}
	if except.answer != "" {
		require.JSONEq(t, except.answer, string(text))
		return
	}
	if except.expiry != "" {
		e.Response.(map[string]any)["session"].(map[string]any)["expires_at"] = except.expiry
	}
	r.learn(e, e.Response, got)
	require.Equal(t, normal(e.Response), normal(got))
}

// problem compares the text of an error. That of wrong input was a list.
func (r *replay) problem(t *testing.T, e exchange, part string, got any) {
	detail, ok := got.(map[string]any)["detail"].(string)
	require.True(t, ok, "detail is text")
	recorded, _ := e.Response.(map[string]any)
	want, _ := recorded["detail"].(string)
	switch {
	case part != "":
		require.Contains(t, detail, part)
	case want != "":
		require.Equal(t, idsIn(want), idsIn(detail))
	default:
		require.NotEmpty(t, detail)
	}
}

// learn notes what stands for the keys and numbers in a recorded answer.
func (r *replay) learn(e exchange, want, got any) {
	for _, what := range []string{"tenant", "session", "node"} {
		w, _ := want.(map[string]any)[what].(map[string]any)
		g, _ := got.(map[string]any)[what].(map[string]any)
		if w == nil || g == nil {
			continue
		}
		r.ids[fmt.Sprintf("/api/v1/%ss/%v", what, w["id"])] = fmt.Sprintf("/api/v1/%ss/%v", what, g["id"])
		wantKey, _ := w["api_key"].(string)
		gotKey, _ := g["api_key"].(string)
		if wantKey != "" && wantKey != "**********" {
			r.keys[wantKey] = gotKey
			w["api_key"], g["api_key"] = "key", "key"
		}
	}
}

var (
	times    = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?\+00:00$`)
	standing = regexp.MustCompile(`^(2026-01-01|2098|2099)`) // times that requests and the database tell
)

// normal blanks what differs from run to run: times of the run, and numbers that
// the database counts.
func normal(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := map[string]any{}
		for k, val := range v {
			if k == "id" {
				val = "id"
			}
			m[k] = normal(val)
		}
		return m
	case []any:
		l := make([]any, len(v))
		for i := range v {
			l[i] = normal(v[i])
		}
		return l
	case string:
		if times.MatchString(v) && !standing.MatchString(v) {
			return "time"
		}
	}
	return v
}

func idsIn(text string) string {
	return regexp.MustCompile(`(session |id=)\d+`).ReplaceAllString(text, "$1")
}
