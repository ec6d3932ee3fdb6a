package httpapi_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/httpapi"
)

// limited fails to log in until that is refused.
func (s *stage) limited(t *testing.T, address string, as login) answer {
	t.Helper()
	for range 1000 {
		a := s.from(t, address, as, "GET", "/api/v1/tenants", "")
		if a.status != http.StatusUnauthorized {
			return a
		}
	}
	require.Fail(t, "logins are not limited")
	return answer{}
}

func TestFailedLoginsAreLimited(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	require.Equal(t, 200, s.from(t, "192.0.2.1", s.bob, "GET", "/api/v1/tenants", "").status)
	for _, name := range []string{"alice", "nobody"} {
		a := s.limited(t, "192.0.2.1", login{name, "wrong"})
		require.Equal(t, http.StatusTooManyRequests, a.status)
		require.Equal(t, "application/json", a.header.Get("Content-Type"))
		seconds, err := strconv.Atoi(a.header.Get("Retry-After"))
		require.NoError(t, err)
		require.Positive(t, seconds)
		require.Equal(t, map[string]any{
			"title": "Too Many Requests", "status": 429.0,
			"detail": fmt.Sprintf("too many failed logins, try again in %d s", seconds),
		}, a.body)
	}
	require.Equal(t, 200, s.from(t, "192.0.2.1", s.alice, "GET", "/api/v1/tenants", "").status, "random keys cannot be guessed")
	require.Equal(t, 200, s.from(t, "192.0.2.1", s.bob, "GET", "/api/v1/tenants", "").status)
	require.Equal(t, 200, s.from(t, "192.0.2.2", s.alice, "GET", "/api/v1/tenants", "").status)
	require.Equal(t, 200, s.from(t, "192.0.2.1", nobody, "GET", "/api/v1/sessions", "").status)
	for range 100 { // without credentials, or with those that are none, nobody guesses
		require.Equal(t, 401, s.from(t, "192.0.2.1", nobody, "GET", "/api/v1/tenants", "").status)
	}
}

// TestWhereRequestsComeFrom has attackers make up where they are.
func TestWhereRequestsComeFrom(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		trusted   []netip.Prefix
		peer      string
		forwarded []string
		want      string
	}{
		"directly":                  {nil, "192.0.2.1:4711", nil, "192.0.2.1"},
		"directly, by IPv6":         {nil, "[2001:db8::1%eth0]:4711", nil, "2001:db8::1"},
		"made up":                   {nil, "192.0.2.1:4711", []string{"10.0.0.1"}, "192.0.2.1"},
		"by a proxy here":           {nil, "127.0.0.1:4711", []string{"192.0.2.1"}, "192.0.2.1"},
		"by a proxy here, IPv6":     {nil, "[::1]:4711", []string{"2001:db8::1"}, "2001:db8::1"},
		"mapped":                    {nil, "[::ffff:127.0.0.1]:4711", []string{"::ffff:192.0.2.1"}, "192.0.2.1"},
		"made up, by a proxy":       {nil, "127.0.0.1:4711", []string{"10.0.0.1, 192.0.2.1"}, "192.0.2.1"},
		"made up as a proxy":        {nil, "127.0.0.1:4711", []string{"127.0.0.1, 192.0.2.1"}, "192.0.2.1"},
		"in several headers":        {nil, "127.0.0.1:4711", []string{"10.0.0.1", "192.0.2.1 , 127.0.0.2"}, "192.0.2.1"},
		"with ports":                {nil, "127.0.0.1:4711", []string{"192.0.2.1:80,[::1]:80"}, "192.0.2.1"},
		"in brackets":               {nil, "127.0.0.1:4711", []string{"[2001:db8::1]"}, "2001:db8::1"},
		"unknown":                   {nil, "127.0.0.1:4711", []string{"192.0.2.1, unknown"}, "127.0.0.1"},
		"empty":                     {nil, "127.0.0.1:4711", []string{""}, "127.0.0.1"},
		"here":                      {nil, "127.0.0.1:4711", []string{"127.0.0.3"}, "127.0.0.3"},
		"by proxies":                {prefixes("10.0.0.0/8", "2001:db8::/64"), "10.1.2.3:1", []string{"1.1.1.1, 192.0.2.1, 2001:db8::5"}, "192.0.2.1"},
		"by others than named":      {prefixes("10.0.0.0/8"), "127.0.0.1:4711", []string{"192.0.2.1"}, "127.0.0.1"},
		"nobody is trusted":         {prefixes(), "127.0.0.1:4711", []string{"192.0.2.1"}, "127.0.0.1"},
		"by a Unix socket":          {prefixes(), "@", nil, "local"},
		"by a proxy, a Unix socket": {prefixes(), "@", []string{"10.0.0.1, 192.0.2.1"}, "192.0.2.1"},
		"within the process":        {nil, "", []string{"192.0.2.1, 127.0.0.1"}, "192.0.2.1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, tt.want, remoteOf(tt.trusted)(t, tt.peer, tt.forwarded...))
		})
	}
}

func prefixes(texts ...string) []netip.Prefix {
	list := []netip.Prefix{}
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

// remoteOf returns what tells from where the log says that a request came.
func remoteOf(trusted []netip.Prefix) func(t *testing.T, peer string, forwarded ...string) string {
	var log bytes.Buffer
	handler := httpapi.New(httpapi.Config{TrustedProxies: trusted, Logger: slog.New(slog.NewJSONHandler(&log, nil))})
	return func(t *testing.T, peer string, forwarded ...string) string {
		t.Helper()
		log.Reset()
		req := httptest.NewRequest(http.MethodGet, "/healthz", nil)
		req.RemoteAddr = peer
		req.Header["X-Forwarded-For"] = forwarded
		handler.ServeHTTP(httptest.NewRecorder(), req)
		var line struct{ Remote string }
		require.NoError(t, json.Unmarshal(log.Bytes(), &line))
		return line.Remote
	}
}

// FuzzForwarded has X-Forwarded-For never hide who is no proxy, and what stands
// before somebody who is none never count.
func FuzzForwarded(f *testing.F) {
	f.Add("192.0.2.1, 10.0.0.1")
	f.Add("10.0.0.1:80, [::1]:80")
	f.Add("unknown,,fe80::1%eth0")
	f.Add(strings.Repeat("10.0.0.1,", 100))
	remoteOf := remoteOf(prefixes("10.0.0.0/8"))
	f.Fuzz(func(t *testing.T, forwarded string) {
		require.Equal(t, "192.0.2.1", remoteOf(t, "192.0.2.1:4711", forwarded))
		require.Equal(t, "192.0.2.1", remoteOf(t, "10.0.0.1:4711", forwarded, "192.0.2.1, 10.0.0.2"))
		remote := remoteOf(t, "10.0.0.1:4711", forwarded)
		addr, err := netip.ParseAddr(remote)
		require.NoError(t, err)
		require.Empty(t, addr.Zone())
	})
}
