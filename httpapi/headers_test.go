package httpapi_test

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/httpapi"
)

// TestEveryAnswerIsHardened asks for pages, answers and errors of all kinds.
func TestEveryAnswerIsHardened(t *testing.T) {
	t.Parallel()
	s := newStage(t, func(cfg *httpapi.Config) {
		cfg.Scrape = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("up 1\n")) })
	})
	broken := newStage(t, func(cfg *httpapi.Config) { cfg.Sessions = nil })
	for _, tt := range []struct {
		s            *stage
		as           login
		method, path string
		status       int
	}{
		{s, nobody, "GET", "/api/v1/pools", 200},
		{s, s.alice, "GET", "/api/v1/sessions", 200},
		{s, s.alice, "GET", "/api/v1/nodes", 200},
		{s, s.admin, "GET", "/api/v1/tenants", 200},
		{s, s.admin, "POST", "/api/v1/tenants", 422},
		{s, s.alice, "POST", "/api/v1/tenants", 422},
		{s, nobody, "GET", "/api/v1/tenants", 401},
		{s, s.alice, "DELETE", "/api/v1/tenants", 405},
		{s, nobody, "OPTIONS", "/api/v1/tenants", 405},
		{s, nobody, "GET", "/api/v1/nosuch", 404},
		{s, nobody, "GET", "/api/v1/pools/", 307},
		{s, nobody, "GET", "//api/v1/pools", 404},
		{s, nobody, "GET", "/openapi.json", 200},
		{s, nobody, "GET", "/healthz", 200},
		{s, nobody, "GET", "/readyz", 200},
		{s, nobody, "GET", "/metrics", 200},
		{s, nobody, "GET", "/docs", 307},
		{s, nobody, "GET", "/docs/", 200},
		{s, nobody, "HEAD", "/docs/", 200},
		{s, nobody, "POST", "/docs/", 405},
		{s, nobody, "GET", "/docs/duffy.js", 200},
		{s, nobody, "GET", "/docs/swagger-ui-bundle.js", 200},
		{s, nobody, "GET", "/docs/oauth2-redirect.html", 200},
		{s, nobody, "GET", "/docs/nosuch", 404},
		{broken, nobody, "GET", "/api/v1/sessions", 500},
	} {
		a := tt.s.do(t, tt.as, tt.method, tt.path, "")
		require.Equal(t, tt.status, a.status, tt.path)
		requireHardened(t, a.header, tt.path)
		if !strings.HasPrefix(tt.path, "/docs/") || tt.method == "POST" {
			require.Equal(t, "no-store", a.header.Get("Cache-Control"), tt.path)
			require.Equal(t, "default-src 'none'; frame-ancestors 'none'", a.header.Get("Content-Security-Policy"), tt.path)
		}
	}
	a := s.do(t, s.admin, "PUT", "/api/v1/tenants/1", `{"api_key": "reset"}`)
	require.Equal(t, 200, a.status)
	require.Equal(t, "no-store", a.header.Get("Cache-Control"))

	monitor := httptest.NewRecorder()
	httpapi.NewMonitor(httpapi.Config{}).ServeHTTP(monitor, httptest.NewRequest("GET", "/healthz", nil))
	requireHardened(t, monitor.Header(), "monitor")
	other := httptest.NewRecorder()
	httpapi.Headers(http.NotFoundHandler(), nil).ServeHTTP(other, httptest.NewRequest("GET", "/", nil))
	requireHardened(t, other.Header(), "another handler")
}

func requireHardened(t *testing.T, h http.Header, where string) {
	t.Helper()
	policy := h.Get("Content-Security-Policy")
	require.Contains(t, policy, "default-src 'none'", where)
	require.Contains(t, policy, "frame-ancestors 'none'", where)
	require.NotContains(t, policy, "unsafe", where)
	require.NotContains(t, policy, "http", where, "nothing comes from elsewhere")
	require.Equal(t, []string{"nosniff"}, h["X-Content-Type-Options"], where)
	require.Equal(t, []string{"no-referrer"}, h["Referrer-Policy"], where)
	require.Contains(t, []string{"no-store", "no-cache"}, h.Get("Cache-Control"), where)
	require.NotContains(t, h, "Strict-Transport-Security", where)
	require.NotContains(t, h, "Access-Control-Allow-Origin", where)
}

// TestTransportSecurity tells browsers to stay with HTTPS, if it is HTTPS that they use.
func TestTransportSecurity(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		trusted []netip.Prefix
		peer    string
		tls     *tls.ConnectionState
		proto   string
		want    bool
	}{
		"TLS":                        {nil, "192.0.2.1:1", &tls.ConnectionState{}, "", true},
		"TLS, and a proxy without":   {nil, "127.0.0.1:1", &tls.ConnectionState{}, "http", true},
		"nothing":                    {nil, "127.0.0.1:1", nil, "", false},
		"a proxy here":               {nil, "127.0.0.1:1", nil, "https", true},
		"a proxy here, in capitals":  {nil, "[::1]:1", nil, "HTTPS", true},
		"a proxy here without TLS":   {nil, "127.0.0.1:1", nil, "http", false},
		"made up":                    {nil, "192.0.2.1:1", nil, "https", false},
		"a trusted proxy":            {prefixes("192.0.2.0/24"), "192.0.2.1:1", nil, "https", true},
		"nobody is trusted":          {prefixes(), "127.0.0.1:1", nil, "https", false},
		"a proxy, by a Unix socket":  {prefixes(), "@", nil, "https", true},
		"a proxy that passes on any": {nil, "127.0.0.1:1", nil, "https, http", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			req := httptest.NewRequest("GET", "/healthz", nil)
			req.RemoteAddr, req.TLS = tt.peer, tt.tls
			req.Header.Set("X-Forwarded-Proto", tt.proto)
			w := httptest.NewRecorder()
			httpapi.New(httpapi.Config{TrustedProxies: tt.trusted}).ServeHTTP(w, req)
			require.Equal(t, tt.want, strings.HasPrefix(w.Header().Get("Strict-Transport-Security"), "max-age="))
		})
	}
}

// TestOrigins tells requests that a page elsewhere makes a browser send from others.
func TestOrigins(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	for name, tt := range map[string]struct {
		host    string
		headers map[string]string
		refused bool
	}{
		"a script":                              {"duffy.example.net", nil, false},
		"a page here":                           {"duffy.example.net", map[string]string{"Sec-Fetch-Site": "same-origin", "Origin": "https://duffy.example.net"}, false},
		"a page here, no secure context":        {"duffy.example.net:8080", map[string]string{"Origin": "http://duffy.example.net:8080"}, false},
		"a page here, a proxy ends TLS":         {"duffy.example.net", map[string]string{"Origin": "https://duffy.example.net", "X-Forwarded-Proto": "https"}, false},
		"a page here, a proxy changes the host": {"127.0.0.1:8080", map[string]string{"Sec-Fetch-Site": "same-origin", "Origin": "https://duffy.example.net"}, false},
		"a page elsewhere":                      {"duffy.example.net", map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, true},
		"a page in the same domain":             {"duffy.example.net", map[string]string{"Sec-Fetch-Site": "same-site", "Origin": "https://ci.example.net"}, true},
		"a page on another port":                {"duffy.example.net:8080", map[string]string{"Origin": "http://duffy.example.net:8081"}, true},
		"a page elsewhere, no secure context":   {"duffy.example.net", map[string]string{"Origin": "http://evil.example"}, true},
		"a page without an origin":              {"duffy.example.net", map[string]string{"Origin": "null"}, true},
		"a page without an origin, no host":     {"", map[string]string{"Origin": "null"}, true},
	} {
		for _, op := range []string{"POST /api/v1/tenants", "PUT /api/v1/tenants/1", "POST /api/v1/sessions", "PUT /api/v1/sessions/1", "POST /api/v1/nodes", "PATCH /x"} {
			method, path, _ := strings.Cut(op, " ")
			req := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader("{}"))
			req.Host = tt.host
			for key, value := range tt.headers {
				req.Header.Set(key, value)
			}
			w := httptest.NewRecorder()
			s.handler.ServeHTTP(w, req)
			require.Equal(t, tt.refused, w.Code == http.StatusForbidden, "%s, %s: %s", name, op, w.Body)
			if tt.refused {
				require.Contains(t, w.Body.String(), "another origin")
				requireHardened(t, w.Header(), name)
			}
		}
		req := httptest.NewRequestWithContext(t.Context(), "GET", "/api/v1/pools", nil)
		for key, value := range tt.headers {
			req.Header.Set(key, value)
		}
		w := httptest.NewRecorder()
		s.handler.ServeHTTP(w, req)
		require.Equal(t, http.StatusOK, w.Code, name)
	}
	for op := range s.operations(t) {
		method, _, _ := strings.Cut(op, " ")
		require.Contains(t, []string{"GET", "POST", "PUT"}, method, "GET must change nothing, all others are protected")
	}
}
