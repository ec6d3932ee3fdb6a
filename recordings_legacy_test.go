package duffy_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy"
	"github.com/duffy-ci/duffy/httpapi"
	"github.com/duffy-ci/duffy/internal/config"
	"github.com/duffy-ci/duffy/legacy"
)

// TestLegacyRecordings replays requests to the legacy API of Duffy 3, on the
// database that it had, with the REST API in the same process and behind HTTP. We
// answer none of them differently.
func TestLegacyRecordings(t *testing.T) {
	t.Parallel()
	for name, upstream := range map[string]func(*testing.T, *duffy.Duffy, *legacy.Config){
		"in one process": func(_ *testing.T, d *duffy.Duffy, cfg *legacy.Config) { cfg.API = d.Handler() },
		"over HTTP": func(t *testing.T, d *duffy.Duffy, cfg *legacy.Config) {
			server := httptest.NewServer(d.Handler())
			t.Cleanup(server.Close)
			cfg.URL = server.URL + "/"
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := recordedMetaclient(t)
			upstream(t, overDuffy3(t, httpapi.ReadLimited), &cfg)
			handler, err := legacy.New(cfg)
			require.NoError(t, err)
			server := httptest.NewServer(handler)
			defer server.Close()
			text, err := os.ReadFile("testdata/duffy3/legacy.json")
			require.NoError(t, err)
			var exchanges []exchange
			require.NoError(t, json.Unmarshal(text, &exchanges))
			r := &legacyReplay{server.URL, map[string]string{}}
			for _, e := range exchanges {
				t.Run(e.Name, func(t *testing.T) { r.exchange(t, e) })
			}
		})
	}
}

// recordedMetaclient is the configuration that the recordings were made with.
func recordedMetaclient(t *testing.T) legacy.Config {
	files, err := config.Load("testdata/duffy3/config.yaml")
	require.NoError(t, err)
	m := files.Config().Metaclient
	cfg := legacy.Config{Users: m.Usermap, MangleHostname: m.MangleHostname}
	for _, mapping := range m.Poolmap {
		cfg.Pools = append(cfg.Pools, legacy.Mapping(mapping))
	}
	return cfg
}

// A legacyReplay knows which of our sessions stand for recorded ones.
type legacyReplay struct {
	url   string
	ssids map[string]string
}

var ssidParam = regexp.MustCompile(`\bssid=(\w+)`)

func (r *legacyReplay) exchange(t *testing.T, e exchange) {
	path := ssidParam.ReplaceAllStringFunc(e.Path, func(param string) string {
		if ours, known := r.ssids[strings.TrimPrefix(param, "ssid=")]; known {
			return "ssid=" + ours
		}
		return param
	})
	req, err := http.NewRequestWithContext(t.Context(), e.Method, r.url+path, nil)
	require.NoError(t, err)
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	require.NoError(t, err)

	require.Equal(t, e.Status, res.StatusCode, "%s", text)
	require.NotEmpty(t, res.Header.Get("X-Request-Id"))
	for _, h := range []string{"content-type", "allow"} {
		require.Equal(t, e.Headers[h], res.Header.Get(h), h)
	}
	want, got := decoded(t, e.Response), decoded(t, json.RawMessage(text))
	if theirs, ours := ssidOf(want), ssidOf(got); theirs != "" && ours != "" {
		r.ssids[theirs] = ours
	}
	require.Equal(t, r.translate(want), got)
}

// decoded returns a value as it comes out of JSON, with numbers as they are written.
func decoded(t *testing.T, value any) any {
	text, err := json.Marshal(value)
	require.NoError(t, err)
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.UseNumber()
	var v any
	require.NoError(t, decoder.Decode(&v))
	return v
}

// ssidOf returns the session that was granted, "" if none was.
func ssidOf(answer any) string {
	granted, _ := answer.(map[string]any)
	ssid, _ := granted["ssid"].(json.Number)
	return ssid.String()
}

// translate puts our sessions into a recorded answer.
func (r *legacyReplay) translate(answer any) any {
	switch answer := answer.(type) {
	case map[string]any:
		if ssid := ssidOf(answer); ssid != "" {
			answer["ssid"] = json.Number(r.ssids[ssid])
		}
	case []any:
		const comment = 6
		for _, row := range answer {
			columns := row.([]any)
			columns[comment] = r.ssids[columns[comment].(string)]
		}
	}
	return answer
}
