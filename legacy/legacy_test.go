package legacy_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/httpapi/apiv1"
	"github.com/duffy-ci/duffy/legacy"
)

const key = "a8b9899d-b128-59a1-aa86-754920b7f5ed"

// An upstream is a REST API that answers all requests alike, and remembers them.
type upstream struct {
	status int
	answer string

	mu       sync.Mutex
	requests []string // method, tenant, path and body
}

func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	name, password, _ := r.BasicAuth()
	if name != "" && password != key {
		name += " with a wrong key"
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.requests = append(u.requests, r.Method+" "+name+" "+r.URL.Path+" "+string(body))
	w.WriteHeader(u.status)
	_, _ = io.WriteString(w, u.answer)
}

// requested returns the pool that a session was requested of, "" if none was.
func (u *upstream) requested(t *testing.T) string {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.requests) == 0 {
		return ""
	}
	_, body, _ := bytes.Cut([]byte(u.requests[0]), []byte("/sessions "))
	var create apiv1.SessionCreate
	require.NoError(t, json.Unmarshal(body, &create))
	return create.NodesSpecs[0].Pool
}

// granting is an upstream that grants session 5 with a node.
func granting() *upstream {
	return &upstream{status: http.StatusCreated, answer: `{"action": "post", "session": {"id": 5, "nodes": [
		{"id": 7, "hostname": "n7.ci.example.net", "ipaddr": "192.0.2.7", "pool": "small", "state": "deployed"}]}}`}
}

// configured is what most tests need.
func configured(api http.Handler) legacy.Config {
	return legacy.Config{
		API:   api,
		Users: map[string]string{key: "tenant", "of nobody": ""},
		Pools: []legacy.Mapping{{Pool: "small"}},
	}
}

// get asks for a path with a query as Python's requests does, but for redirects.
func get(t *testing.T, cfg legacy.Config, path string, query ...string) *httptest.ResponseRecorder {
	t.Helper()
	handler, err := legacy.New(cfg)
	require.NoError(t, err)
	params := url.Values{}
	for i := 0; i < len(query); i += 2 {
		params.Add(query[i], query[i+1])
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path+"?"+params.Encode(), nil))
	require.NotEmpty(t, w.Header().Get("X-Request-Id"))
	return w
}

func requireJSON(t *testing.T, want string, got *httptest.ResponseRecorder) {
	t.Helper()
	require.Equal(t, http.StatusOK, got.Code)
	require.Equal(t, "application/json", got.Header().Get("Content-Type"))
	require.JSONEq(t, want, got.Body.String())
}

// TestNothingUnstorableGoesUpstream sends text that no database can store in every
// parameter.
func TestNothingUnstorableGoesUpstream(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/Node/get", "/Node/done", "/Node/fail", "/Inventory"} {
		for _, param := range []string{"key", "ver", "arch", "flavor", "count", "ssid"} {
			for _, text := range []string{"\x00", "5\x00", "\xff", "a\xc3", "\xed\xa0\x80"} {
				u := granting()
				if param == "key" {
					w := get(t, configured(u), path, "key", text)
					require.Equal(t, 403, w.Code, "%s %q", path, text)
				} else {
					w := get(t, configured(u), path, "key", key, param, text)
					require.Equal(t, 422, w.Code, "%s %s %q: %s", path, param, text, w.Body)
					require.Contains(t, w.Body.String(), `"loc":["query","`+param+`"]`)
				}
				require.Empty(t, u.requests)
			}
		}
	}
}

func TestWhatIsAskedUpstream(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		path    string
		query   []string
		request string
	}{
		{"/Node/get", []string{"key", key, "count", " 2 "}, `POST tenant /api/v1/sessions {"nodes_specs":[{"quantity":2,"pool":"small"}]}`},
		{"/Node/done", []string{"key", key, "ssid", "5"}, `PUT tenant /api/v1/sessions/5 {"active":false}`},
		{"/Node/fail", []string{"key", key, "ssid", "5"}, `PUT tenant /api/v1/sessions/5 {"expires_at":"+6h"}`},
		{"/Inventory", []string{"key", key}, "GET tenant /api/v1/sessions "},
		{"/Inventory", []string{"key", ""}, "GET  /api/v1/sessions "},
		{"/Inventory", nil, "GET  /api/v1/sessions "},

		{"/Node/done", []string{"key", key, "ssid", "5/../../tenants/1"}, ""},
		{"/Node/get", []string{"key", key, "count", "-1"}, ""},
		{"/Node/get", []string{"key", "unknown"}, ""},
		{"/Inventory", []string{"key", "unknown"}, ""},
		{"/Inventory", []string{"key", "of nobody"}, ""},
		{"/node/get", []string{"key", key}, ""},
	} {
		api := granting()
		get(t, configured(api), tt.path, tt.query...)
		if tt.request == "" {
			require.Empty(t, api.requests, tt.query)
		} else {
			require.Equal(t, []string{tt.request}, api.requests)
		}
	}
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	for key, detail := range map[string]string{"": "Not authenticated", "unknown": "Forbidden", "of nobody": "Forbidden"} {
		for _, path := range []string{"/Node/get", "/Node/done", "/Node/fail"} {
			w := get(t, configured(granting()), path, "key", key, "count", "many")
			require.Equal(t, http.StatusForbidden, w.Code)
			require.JSONEq(t, `{"detail":"`+detail+`"}`, w.Body.String())
		}
	}
	for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden} {
		refusing := configured(&upstream{status: status, answer: `{"detail": "Forbidden"}`})
		for _, path := range []string{"/Node/done", "/Node/fail", "/Inventory"} {
			w := get(t, refusing, path, "key", key, "ssid", "5")
			require.Equal(t, http.StatusForbidden, w.Code)
			require.JSONEq(t, `{"msg":"Invalid duffy key"}`, w.Body.String())
		}
		requireJSON(t, `"Failed to allocate nodes"`, get(t, refusing, "/Node/get", "key", key))
		requireJSON(t, `"Failed to retrieve inventory of nodes"`, get(t, refusing, "/Inventory"))
	}
}

func TestParameters(t *testing.T) {
	t.Parallel()
	handler, err := legacy.New(configured(granting()))
	require.NoError(t, err)
	for query, want := range map[string]string{
		"key=unknown&key=" + key:                           `{"ssid":5,"hosts":["n7.ci.example.net"]}`,
		"key=" + key + "&key=":                             `{"detail":"Not authenticated"}`,
		"key=" + key + "&count=%2B1":                       `{"ssid":5,"hosts":["n7.ci.example.net"]}`,
		"key=" + key + "&count=":                           `{"detail":[{"loc":["query","count"],"msg":"value is not a valid integer","type":"type_error.integer"}]}`,
		"key=" + key + "&count=1%zz":                       `{"detail":[{"loc":["query","count"],"msg":"value is not a valid integer","type":"type_error.integer"}]}`,
		"key=" + key + ";count=1":                          `{"detail":"Forbidden"}`,
		"key=" + key + "&count=99999999999999999999&ssid=": `{"ssid":5,"hosts":["n7.ci.example.net"]}`,
	} {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/Node/get?"+query, nil))
		require.JSONEq(t, want, w.Body.String(), query)
	}
}

func TestSlashAtTheEnd(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{"", "/old"} {
		handler, err := legacy.New(configured(granting()))
		require.NoError(t, err)
		server := httptest.NewServer(http.StripPrefix(prefix, handler))
		defer server.Close()
		res, err := http.Get(server.URL + prefix + "/Node/get/?key=" + key)
		require.NoError(t, err)
		defer res.Body.Close()
		require.Equal(t, http.StatusOK, res.StatusCode)
		require.Equal(t, prefix+"/Node/get", res.Request.URL.Path)
	}
}

func TestInventory(t *testing.T) {
	t.Parallel()
	cfg := configured(&upstream{status: http.StatusOK, answer: `{"action": "get", "sessions": [
		{"id": 5, "nodes": [
			{"id": 7, "hostname": "n7.ci.example.net", "ipaddr": "192.0.2.7", "pool": "small", "state": "deployed"},
			{"id": 8, "hostname": null, "ipaddr": null, "pool": null, "state": "deployed"}]},
		{"id": 6, "nodes": []}]}`})
	requireJSON(t, `[["n7.ci.example.net", 5], [null, 5]]`, get(t, cfg, "/Inventory", "key", key))
	requireJSON(t, `[
		[7, "n7.ci.example.net", "192.0.2.7", null, 0, "deployed", "5", null, null, null, null, "small", null, null],
		[8, null, null, null, 0, "deployed", "5", null, null, null, null, null, null, null]]`, get(t, cfg, "/Inventory"))

	cfg.SSIDAsString = true
	requireJSON(t, `[["n7.ci.example.net", "5"], [null, "5"]]`, get(t, cfg, "/Inventory", "key", key))
	cfg.API = granting()
	requireJSON(t, `{"ssid": "5", "hosts": ["n7.ci.example.net"]}`, get(t, cfg, "/Node/get", "key", key))
}

// TestLog has keys in the log neither where callers get everything right nor
// where they mistype it.
func TestLog(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	cfg := configured(&upstream{status: http.StatusUnprocessableEntity, answer: `{"detail": "can't reserve nodes: quantity=1 pool='small'"}`})
	cfg.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	id := get(t, cfg, "/Node/get", "key", key).Header().Get("X-Request-Id")
	require.Regexp(t, `level=INFO .* request_id=`+id+` err=.*pool='small'`, log.String())
	require.Regexp(t, `request_id=`+id+` method=GET path=/Node/get status=200 tenant=tenant`, log.String())

	for _, path := range []string{"/Node/get/" + key, "/Node/get%3Fkey=" + key, "/Node/get&key=" + key} {
		require.Equal(t, http.StatusNotFound, get(t, cfg, path).Code)
	}
	get(t, cfg, "/Node/done", "key", key, "ssid", key)
	get(t, cfg, "/Node/get", "key", key+"x")
	cfg.API, cfg.URL = nil, "http://127.0.0.1:1"
	get(t, cfg, "/Node/get", "key", key)
	require.Contains(t, log.String(), "connection refused")
	require.NotContains(t, log.String(), key)
}

// TestAskingAgain has the REST API refuse logins, or grant no nodes just now.
func TestAskingAgain(t *testing.T) {
	t.Parallel()
	busy := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "15")
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = io.WriteString(w, `{"detail": "too many failed logins, try again in 15 s"}`)
	})
	for path, want := range map[string]string{
		"/Node/get":  `"Failed to allocate nodes"`,
		"/Node/done": `"Failed to return nodes on completion"`,
		"/Node/fail": `"Failed to change expiration time"`,
		"/Inventory": `"Failed to retrieve inventory of nodes"`,
	} {
		w := get(t, configured(busy), path, "key", key, "ssid", "5")
		requireJSON(t, want, w)
		require.Equal(t, "15", w.Header().Get("Retry-After"))
	}
	cfg := configured(busy)
	cfg.ErrorsV2 = true
	w := get(t, cfg, "/Node/get", "key", key)
	require.Equal(t, "Insufficient Nodes in READY State", w.Body.String(), "clients ask again")
	require.Equal(t, "15", w.Header().Get("Retry-After"))
	require.Empty(t, get(t, configured(granting()), "/Node/get", "key", key).Header().Get("Retry-After"))
}

// TestCallersAreToldApart has the REST API know from where somebody asks.
func TestCallersAreToldApart(t *testing.T) {
	t.Parallel()
	var got []string
	handler, err := legacy.New(configured(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.RemoteAddr+" "+r.Header.Get("X-Forwarded-For"))
		_, _ = io.WriteString(w, `{"sessions": []}`)
	})))
	require.NoError(t, err)
	for _, forwarded := range [][]string{nil, {"192.0.2.1"}, {"192.0.2.1, 10.0.0.1", "10.0.0.2"}} {
		for _, query := range []string{"", "?key=" + key} {
			req := httptest.NewRequest(http.MethodGet, "/Inventory"+query, nil)
			req.RemoteAddr = "[2001:db8::1]:4711"
			req.Header["X-Forwarded-For"] = forwarded
			handler.ServeHTTP(httptest.NewRecorder(), req)
			require.Equal(t, " "+strings.Join(append(forwarded, "2001:db8::1"), ", "), got[len(got)-1])
		}
	}
	req := httptest.NewRequest(http.MethodGet, "/Inventory", nil)
	req.RemoteAddr = "@"
	handler.ServeHTTP(httptest.NewRecorder(), req)
	require.Equal(t, " ", got[len(got)-1])
}
