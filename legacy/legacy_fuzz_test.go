package legacy_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/legacy"
)

// FuzzQuery has callers get an answer in JSON, and the log no key, whatever they
// ask for.
func FuzzQuery(f *testing.F) {
	for _, seed := range []string{
		"key=K&ver=8-stream&arch=x86_64&count=1&flavor=small", "key=K&count=%2B1", "key=K&count=1%zz", "key=K;count=1", "&&=&key=K&key", "ssid=5&key=K",
		"key=K&ssid=5%2F..%2F1", "key=%00", "key=K&count=99999999999999999999", "key=Kx", "k%65y=%4B",
	} {
		f.Add(seed)
	}
	var log bytes.Buffer
	cfg := configured(granting())
	cfg.Users = map[string]string{"0f0f0f0f-4b": "tenant"}
	cfg.Pools = []legacy.Mapping{{Arch: "^(aarch64|x86_64)$", Pool: "{{ ver }}-{{ arch }}-{{ flavor | default('medium') }}"}}
	cfg.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	handler, err := legacy.New(cfg)
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, query string) {
		query = string(bytes.ReplaceAll([]byte(query), []byte("K"), []byte("0f0f0f0f-4b")))
		for _, path := range []string{"/Node/get", "/Node/done", "/Node/fail", "/Inventory"} {
			log.Reset()
			req := httptest.NewRequest(http.MethodGet, path, nil)
			req.URL.RawQuery = query
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, req)
			require.True(t, json.Valid(w.Body.Bytes()), "%s", w.Body)
			require.Contains(t, []int{200, 403, 422}, w.Code)
			require.NotEmpty(t, w.Header().Get("X-Request-Id"))
			others, _ := url.ParseQuery(query)
			others.Del("key")
			if !strings.Contains(fmt.Sprint(others), "0f0f0f0f-4b") { // a client may name an architecture so
				require.NotContains(t, log.String(), "0f0f0f0f-4b")
			}
		}
		req := httptest.NewRequest(http.MethodGet, "/Node/get/", nil)
		req.URL.RawQuery = query
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, req)
		location, _, _ := strings.Cut(w.Header().Get("Location"), "?")
		require.Equal(t, "../get", location, "redirects stay on the host")
	})
}

// FuzzMapping has whatever is configured be refused, with its place, or work.
func FuzzMapping(f *testing.F) {
	f.Add("virtual-centos{{ ver | replace('-', '') }}-{{ arch }}", "^8(-stream)?$", "^(aarch64|ppc64le)$", "", "{{ hostname.split('.')[0] }}")
	f.Add("{{", "^[$", "^$", "^a|b$", "{% for a in b %}")
	f.Add("{{ ver }}", "8", "x86_64", "small", "")
	f.Fuzz(func(t *testing.T, pool, ver, arch, flavor, mangle string) {
		cfg := configured(granting())
		cfg.Pools = []legacy.Mapping{{Pool: pool, Ver: ver, Arch: arch, Flavor: flavor}}
		cfg.MangleHostname = mangle
		handler, err := legacy.New(cfg)
		if err != nil {
			var wrong *legacy.ConfigError
			require.ErrorAs(t, err, &wrong)
			require.NotEmpty(t, wrong.Path)
			return
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/Node/get?ver=8&flavor=small&key="+key, nil))
		require.Equal(t, http.StatusOK, w.Code)
		require.True(t, json.Valid(w.Body.Bytes()), "%s", w.Body)
	})
}
