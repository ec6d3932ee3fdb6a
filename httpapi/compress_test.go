package httpapi_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/internal/db/dbtest"
)

// TestCompression has clients ask for compressed answers, or not.
func TestCompression(t *testing.T) {
	t.Parallel()
	d := dbtest.SQLite(t)
	s := newStageOn(t, d)
	crowd(t, d, 220, "x")
	for _, tt := range []struct {
		as                          login
		method, path, body, accepts string
		encoding                    string
	}{
		{s.admin, "GET", "/api/v1/nodes", "", "gzip", "gzip"},
		{s.admin, "GET", "/api/v1/tenants", "", "br, gzip;q=0.5", "gzip"},
		{nobody, "GET", "/openapi.json", "", "gzip, deflate, br, zstd", "gzip"},
		{s.admin, "GET", "/api/v1/nodes", "", "", ""},
		{s.admin, "GET", "/api/v1/nodes", "", "identity", ""},
		{s.admin, "GET", "/api/v1/nodes", "", "gzip;q=0", ""},
		{s.admin, "GET", "/api/v1/nodes", "", "zstd", ""},
		{s.admin, "GET", "/api/v1/pools", "", "gzip", ""}, // a short one would grow
		{s.admin, "POST", "/api/v1/tenants", `{"name": "new", "ssh_key": "` + strings.Repeat("k", 5000) + `"}`, "gzip", ""},
		{s.admin, "PUT", "/api/v1/tenants/1", `{"api_key": "reset"}`, "gzip", ""},
	} {
		req, err := http.NewRequestWithContext(t.Context(), tt.method, s.url+tt.path, strings.NewReader(tt.body))
		require.NoError(t, err)
		req.Header.Set("Accept-Encoding", tt.accepts)
		if tt.as.name != "" {
			req.SetBasicAuth(tt.as.name, tt.as.key)
		}
		res, err := http.DefaultTransport.RoundTrip(req)
		require.NoError(t, err)
		text, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		res.Body.Close()
		require.Less(t, res.StatusCode, 300, tt.path)
		require.Equal(t, tt.encoding, res.Header.Get("Content-Encoding"), tt)
		require.Equal(t, "no-store", res.Header.Get("Cache-Control"), tt.path)
		if tt.method == "GET" {
			require.Contains(t, res.Header.Values("Vary"), "Accept-Encoding", tt.path)
		}
		if tt.encoding != "" {
			r, err := gzip.NewReader(bytes.NewReader(text))
			require.NoError(t, err)
			plain, err := io.ReadAll(r)
			require.NoError(t, err)
			require.Equal(t, s.do(t, tt.as, tt.method, tt.path, "").text, string(plain))
			require.Less(t, len(text), len(plain)/2)
		}
	}
}
