package legacy_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/legacy"
)

// ways are those in which a REST API can be asked.
var ways = map[string]func(t *testing.T, api http.Handler, cfg *legacy.Config){
	"in one process": func(_ *testing.T, api http.Handler, cfg *legacy.Config) { cfg.API = api },
	"over HTTP": func(t *testing.T, api http.Handler, cfg *legacy.Config) {
		server := httptest.NewServer(api)
		t.Cleanup(server.Close)
		cfg.URL = server.URL
	},
	"over HTTPS": func(t *testing.T, api http.Handler, cfg *legacy.Config) {
		server := httptest.NewTLSServer(api)
		t.Cleanup(server.Close)
		cfg.URL, cfg.HTTPClient = server.URL+"/", server.Client()
	},
}

func eachWay(t *testing.T, api http.Handler, test func(t *testing.T, cfg legacy.Config)) {
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := configured(nil)
			way(t, api, &cfg)
			test(t, cfg)
		})
	}
}

// requireFailures asks for everything of an upstream that does not work.
func requireFailures(t *testing.T, cfg legacy.Config) {
	t.Helper()
	for path, want := range map[string]string{
		"/Node/get":  `"Failed to allocate nodes"`,
		"/Node/done": `"Failed to return nodes on completion"`,
		"/Node/fail": `"Failed to change expiration time"`,
		"/Inventory": `"Failed to retrieve inventory of nodes"`,
	} {
		requireJSON(t, want, get(t, cfg, path, "key", key, "ssid", "5"))
	}
	requireJSON(t, `"Failed to retrieve inventory of nodes"`, get(t, cfg, "/Inventory"))
}

func TestMissingUpstream(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	cfg := configured(nil)
	cfg.URL = "http://" + listener.Addr().String()
	requireFailures(t, cfg)
}

func TestUpstreamThatIsNotDuffy(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusOK, http.StatusNotFound, http.StatusBadGateway} {
		eachWay(t, &upstream{status: status, answer: "<html>"}, requireFailures)
	}
}

// slow is a REST API that takes until the caller is gone.
func slow(reached chan<- struct{}) http.Handler {
	return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then the server looks whether the caller is there
		if reached != nil {
			close(reached)
		}
		<-r.Context().Done()
	})
}

// TestSlowUpstream ends only if requests end upstream too, which is how sessions
// are undone that took too long.
func TestSlowUpstream(t *testing.T) {
	t.Parallel()
	eachWay(t, slow(nil), func(t *testing.T, cfg legacy.Config) {
		cfg.Timeout = 50 * time.Millisecond
		requireFailures(t, cfg)
	})
}

// TestCallerGone ends only if the request ends upstream too.
func TestCallerGone(t *testing.T) {
	t.Parallel()
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			reached := make(chan struct{})
			go func() {
				<-reached
				cancel()
			}()
			cfg := configured(nil)
			way(t, slow(reached), &cfg)
			handler, err := legacy.New(cfg)
			require.NoError(t, err)
			server := httptest.NewServer(handler)
			defer server.Close()
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/Node/get?key="+key, nil)
			require.NoError(t, err)
			_, err = http.DefaultClient.Do(req)
			require.ErrorIs(t, err, context.Canceled)
		})
	}
}

// TestErrorsV2 decides as python-cicoclient does: it tries again if an answer is
// no JSON, and takes anything else for nodes.
func TestErrorsV2(t *testing.T) {
	t.Parallel()
	const insufficient = "Insufficient Nodes in READY State"
	for _, tt := range []struct {
		status int
		detail string
		again  bool
	}{
		{422, "can't reserve nodes: quantity=1 pool='small'", true},
		{503, "contextualization of nodes failed", true},
		{403, "quota exceeded: requested nodes (1) + current allocation (10) = 11 > 10", true},
		{500, "Internal Server Error", true},
		{401, "Unauthorized", false},
		{403, "Forbidden", false},
	} {
		answer, err := json.Marshal(map[string]string{"detail": tt.detail})
		require.NoError(t, err)
		cfg := configured(&upstream{status: tt.status, answer: string(answer)})
		requireJSON(t, `"Failed to allocate nodes"`, get(t, cfg, "/Node/get", "key", key))

		cfg.ErrorsV2 = true
		w := get(t, cfg, "/Node/get", "key", key)
		require.Equal(t, http.StatusOK, w.Code)
		require.Equal(t, !tt.again, json.Valid(w.Body.Bytes()), tt.detail)
		if tt.again {
			require.Equal(t, insufficient, w.Body.String())
			require.Contains(t, w.Header().Get("Content-Type"), "text/plain")
		}
	}

	cfg := configured(nil)
	cfg.ErrorsV2, cfg.URL = true, "http://127.0.0.1:1"
	require.Equal(t, insufficient, get(t, cfg, "/Node/get", "key", key).Body.String())
	requireJSON(t, `"Failed to return nodes on completion"`, get(t, cfg, "/Node/done", "key", key, "ssid", "5"))
	cfg.API = granting()
	requireJSON(t, `"Failed to allocate nodes"`, get(t, cfg, "/Node/get", "key", key, "count", "0"))
	cfg.Pools = nil
	requireJSON(t, `"Failed to allocate nodes"`, get(t, cfg, "/Node/get", "key", key))
}

// TestMounted has the legacy API beside the REST API in one mux.
func TestMounted(t *testing.T) {
	t.Parallel()
	api := granting()
	eachWay(t, api, func(t *testing.T, cfg legacy.Config) {
		old, err := legacy.New(cfg)
		require.NoError(t, err)
		var mux http.ServeMux
		mux.Handle("/api/v1/", api)
		mux.Handle("/Node/", old)
		mux.Handle("/Inventory", old)
		server := httptest.NewServer(&mux)
		defer server.Close()
		for path, status := range map[string]int{
			"/Node/get?key=" + key: http.StatusOK,
			"/Inventory":           http.StatusOK,
			"/Node/nosuch":         http.StatusNotFound,
			"/inventory":           http.StatusNotFound,
			"/api/v1/sessions":     http.StatusCreated,
		} {
			res, err := http.Get(server.URL + path)
			require.NoError(t, err)
			res.Body.Close()
			require.Equal(t, status, res.StatusCode, path)
		}
	})
}
