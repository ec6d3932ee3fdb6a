package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// duffy is an API that grants one session and remembers that it was retired.
type duffy struct {
	requested func() // called when the session is requested
	retired   bool
}

func (d *duffy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	switch r.Method + " " + r.URL.Path + " " + string(body) {
	case `POST /api/v1/sessions {"nodes_specs":[{"quantity":2,"pool":"p"}]}`:
		d.requested()
		_, _ = io.WriteString(w, `{"session":{"id":5,"nodes":[
			{"hostname":"n1.example.net","ipaddr":"192.0.2.1","data":{}},
			{"hostname":"n2.example.net","ipaddr":"192.0.2.2","data":{"provision":{"ssh_user":"test","ssh_port":2222}}}]}}`)
	case `PUT /api/v1/sessions/5 {"active":false}`:
		d.retired = true
		_, _ = io.WriteString(w, `{"session":{"id":5,"active":false}}`)
	default:
		w.WriteHeader(http.StatusTeapot)
	}
}

// output keeps what is written to it, and tells that something is.
type output struct {
	text    strings.Builder
	written func()
}

func (o *output) Write(data []byte) (int, error) {
	o.written()
	return o.text.Write(data)
}

func TestSessionIsAlwaysRetired(t *testing.T) {
	for name, tt := range map[string]struct {
		ssh         string // what is run instead of ssh
		interrupted string // by Ctrl-C, when
		stdout, err string
	}{
		"success": {
			ssh:    `echo "$@"`,
			stdout: "-l root -p 22 192.0.2.1 uname -a\n-l test -p 2222 192.0.2.2 uname -a\n",
		},
		"failure":               {ssh: `echo failed; exit 3`, stdout: "failed\n", err: "node 192.0.2.1: exit status 3"},
		"interrupted request":   {ssh: `echo never`, interrupted: "requested", err: "context canceled"},
		"interrupted execution": {ssh: `echo started; sleep 600; echo never`, interrupted: "executed", stdout: "started\n", err: "signal: killed"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, interrupt := context.WithCancel(t.Context())
			defer interrupt()
			when := func(event string) func() {
				return func() {
					if tt.interrupted == event {
						interrupt()
					}
				}
			}
			api := &duffy{requested: when("requested")}
			server := httptest.NewServer(api)
			defer server.Close()
			t.Setenv("DUFFY_URL", server.URL+"/api/v1")
			t.Setenv("DUFFY_AUTH_NAME", "tenant")
			t.Setenv("DUFFY_AUTH_KEY", "key")
			ssh := filepath.Join(t.TempDir(), "ssh")
			require.NoError(t, os.WriteFile(ssh, []byte(tt.ssh), 0o600))

			stdout := &output{written: when("executed")}
			err := run(ctx, []string{"-pool", "p", "-quantity", "2", "-ssh", "/bin/sh " + ssh, "uname", "-a"}, stdout, io.Discard)
			if tt.err == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, tt.err)
			}
			require.Equal(t, tt.stdout, stdout.text.String())
			require.True(t, api.retired)
		})
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	require.ErrorContains(t, run(t.Context(), []string{"-pool", "p"}, io.Discard, io.Discard), "usage")
	require.ErrorContains(t, run(t.Context(), []string{"uname"}, io.Discard, io.Discard), "usage")
}
