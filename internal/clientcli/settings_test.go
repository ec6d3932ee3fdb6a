package clientcli_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/internal/clientcli"
)

// whoami starts a server that answers with whom it was asked by.
func whoami(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, key, _ := r.BasicAuth()
		_ = json.NewEncoder(w).Encode(map[string]string{"name": name, "key": key})
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// TestSettings cannot be parallel, because of the environment.
func TestSettings(t *testing.T) {
	url := whoami(t)
	keyFile := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(keyFile, []byte("of-file\n"), 0o600))
	unused := func() (clientcli.Settings, error) {
		return clientcli.Settings{}, errors.New("the configuration was asked")
	}
	for name, tt := range map[string]struct {
		args     []string
		env      map[string]string
		defaults func() (clientcli.Settings, error)
		want     string
	}{
		"configuration": {
			defaults: configured(url),
			want:     `{"name":"tenant","key":"a8b9899d-b128-59a1-aa86-754920b7f5ed"}`,
		},
		"flags over all": {
			args:     []string{"--url", url, "--auth-name", "flag", "--auth-key", "1"},
			env:      map[string]string{"DUFFY_URL": "http://127.0.0.1:1", "DUFFY_AUTH_NAME": "env", "DUFFY_AUTH_KEY": "2"},
			defaults: unused,
			want:     `{"name":"flag","key":"1"}`,
		},
		"environment over configuration": {
			env:      map[string]string{"DUFFY_URL": url, "DUFFY_AUTH_NAME": "env", "DUFFY_AUTH_KEY": "2"},
			defaults: unused,
			want:     `{"name":"env","key":"2"}`,
		},
		"each by itself": {
			args:     []string{"--auth-name", "flag"},
			env:      map[string]string{"DUFFY_AUTH_KEY": "2"},
			defaults: configured(url),
			want:     `{"name":"flag","key":"2"}`,
		},
		"file over environment": {
			args:     []string{"--auth-key-file", keyFile},
			env:      map[string]string{"DUFFY_AUTH_KEY": "2"},
			defaults: configured(url),
			want:     `{"name":"tenant","key":"of-file"}`,
		},
		"flag over file of the configuration": {
			args: []string{"--auth-key", "1"},
			defaults: func() (clientcli.Settings, error) {
				return clientcli.Settings{URL: url, Name: "n", KeyFile: "/nonexistent"}, nil
			},
			want: `{"name":"n","key":"1"}`,
		},
		"file of the configuration": {
			defaults: func() (clientcli.Settings, error) {
				return clientcli.Settings{URL: url, Name: "n", KeyFile: keyFile}, nil
			},
			want: `{"name":"n","key":"of-file"}`,
		},
		"nothing is nothing": {
			args:     []string{"--auth-name", "", "--auth-key="},
			env:      map[string]string{"DUFFY_URL": ""},
			defaults: configured(url),
			want:     `{"name":"tenant","key":"a8b9899d-b128-59a1-aa86-754920b7f5ed"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			for key, value := range tt.env {
				t.Setenv(key, value)
			}
			got := run(t.Context(), tt.defaults, append([]string{"client", "list-pools"}, tt.args...)...)
			require.Empty(t, got.stderr)
			require.JSONEq(t, tt.want, got.stdout)
		})
	}
}

func TestSettingsMissing(t *testing.T) {
	t.Parallel()
	empty := func() (clientcli.Settings, error) { return clientcli.Settings{}, nil }
	broken := func() (clientcli.Settings, error) {
		return clientcli.Settings{}, errors.New("duffy.yaml:3: unknown key")
	}
	for name, tt := range map[string]struct {
		args     []string
		defaults func() (clientcli.Settings, error)
		messages []string
	}{
		"all":                  {nil, empty, []string{"--url", "--auth-name", "--auth-key"}},
		"no configuration":     {[]string{"--url", "http://127.0.0.1:1", "--auth-name", "n"}, nil, []string{"--auth-key"}},
		"broken configuration": {nil, broken, []string{"duffy.yaml:3: unknown key"}},
		"no file":              {[]string{"--url", "http://127.0.0.1:1", "--auth-name", "n", "--auth-key-file", "/nonexistent"}, nil, []string{"the tenant's key", "/nonexistent"}},
		"bad URL":              {[]string{"--url", "nowhere", "--auth-name", "n", "--auth-key", "k"}, nil, []string{"nowhere"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := run(t.Context(), tt.defaults, append([]string{"client", "list-pools"}, tt.args...)...)
			require.Equal(t, 1, got.exit)
			require.Empty(t, got.stdout)
			for _, message := range tt.messages {
				require.Contains(t, got.stderr, message)
			}
		})
	}
}
