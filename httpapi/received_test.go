package httpapi_test

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestContentTypes has clients announce JSON in all ways that Duffy 3 understands, and
// in others.
func TestContentTypes(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	for kind, status := range map[string]int{
		"":                                   201,
		"application/json":                   201,
		"APPLICATION/JSON":                   201,
		"Application/Json; Charset=UTF-8":    201,
		" application/json ;charset=utf-8":   201,
		"application/json;":                  201,
		"application/json;;a+b":              201,
		"application/vnd.api+json":           201,
		"application/VND.api+JSON; a=b":      201,
		"application/problem+json":           201,
		"application/x-www-form-urlencoded":  415,
		"application/jsonp":                  415,
		"application/json/x":                 415,
		"application/json+xml":               415,
		"text/json":                          415,
		"text/plain; a=application/json":     415,
		"json":                               415,
		"multipart/form-data; boundary=x":    415,
		"application/xml, application/json":  415,
		";application/json":                  415,
		"application/octet-stream;type=json": 415,
	} {
		req, err := http.NewRequestWithContext(t.Context(), "POST", s.url+"/api/v1/sessions", strings.NewReader(`{"nodes_specs": []}`))
		require.NoError(t, err)
		req.SetBasicAuth(s.alice.name, s.alice.key)
		if kind != "" {
			req.Header.Set("Content-Type", kind)
		}
		a := s.send(t, req)
		require.Equal(t, status, a.status, "%q: %s", kind, a.text)
		require.Equal(t, "application/json", a.header.Get("Content-Type"))
		if status == 415 {
			require.Contains(t, a.detail(), "Content-Type: application/json")
		}
	}
}

// TestByteOrderMark has one be no part of the JSON, as in Duffy 3.
func TestByteOrderMark(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	require.Equal(t, 201, s.do(t, s.alice, "POST", "/api/v1/sessions", "\ufeff"+`{"nodes_specs": []}`).status)
}

// A conversation is a connection on which a test says what it likes.
type conversation struct {
	*testing.T
	net.Conn
	answers *bufio.Reader
}

func (s *stage) connect(t *testing.T) *conversation {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(s.url, "http://"))
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	return &conversation{t, conn, bufio.NewReader(conn)}
}

// say sends a head of a request, with credentials if as has a name, and what follows.
func (c *conversation) say(as login, head, rest string) {
	c.Helper()
	if as.name != "" {
		head += "\r\nAuthorization: Basic " + base64.StdEncoding.EncodeToString([]byte(as.name+":"+as.key))
	}
	_, err := fmt.Fprintf(c, "%s\r\nHost: duffy\r\n\r\n%s", head, rest)
	require.NoError(c, err)
}

func (c *conversation) answer() *http.Response {
	c.Helper()
	res, err := http.ReadResponse(c.answers, nil)
	require.NoError(c, err)
	_, err = io.ReadAll(res.Body)
	require.NoError(c, err)
	return res
}

// TestBrokenBodies has bodies be not what their headers announce.
func TestBrokenBodies(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	const post = "POST /api/v1/sessions HTTP/1.1\r\nContent-Type: application/json"
	for name, tt := range map[string]struct {
		head, body string
		ends       bool
	}{
		"breaks off":             {post + "\r\nContent-Length: 100", `{"nodes_specs": []}`, true},
		"breaks off in a chunk":  {post + "\r\nTransfer-Encoding: chunked", "13\r\n{\"nodes", true},
		"breaks off in a size":   {post + "\r\nTransfer-Encoding: chunked", "1", true},
		"a size that is none":    {post + "\r\nTransfer-Encoding: chunked", "zz\r\n{}\r\n0\r\n\r\n", false},
		"a size that is huge":    {post + "\r\nTransfer-Encoding: chunked", "fffffffffffffffff\r\n{}\r\n0\r\n\r\n", false},
		"a chunk without an end": {post + "\r\nTransfer-Encoding: chunked", "2\r\n{}{}0\r\n\r\n", false},
	} {
		c := s.connect(t)
		c.say(s.alice, tt.head, tt.body)
		if tt.ends {
			require.NoError(t, c.Conn.(*net.TCPConn).CloseWrite())
		}
		res := c.answer()
		require.Equal(t, 400, res.StatusCode, name)
		require.Equal(t, "application/json", res.Header.Get("Content-Type"), name)
		require.True(t, res.Close, "%s: nothing after it is taken for another request", name)
	}
	require.NotContains(t, s.log.String(), "status=500")
}

// TestNobodyWaitsForBodies has answers that do not depend on the body come before it.
func TestNobodyWaitsForBodies(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	for _, tt := range []struct {
		as     login
		head   string
		status int
	}{
		{nobody, "POST /api/v1/sessions HTTP/1.1\r\nContent-Length: 100", 401},
		{nobody, "PUT /api/v1/tenants/1 HTTP/1.1\r\nTransfer-Encoding: chunked", 401},
		{login{"alice", "wrong"}, "POST /api/v1/sessions HTTP/1.1\r\nContent-Length: 100", 401},
		{s.alice, "POST /api/v1/sessions HTTP/1.1\r\nContent-Type: text/plain\r\nContent-Length: 100", 415},
		{s.alice, "POST /api/v1/nosuch HTTP/1.1\r\nContent-Length: 100", 404},
		{nobody, "DELETE /api/v1/sessions HTTP/1.1\r\nContent-Length: 100", 405},
		{nobody, "POST /api/v1/sessions HTTP/1.1\r\nOrigin: http://evil.example\r\nContent-Length: 100", 403},
		{nobody, "GET /api/v1/pools HTTP/1.1\r\nContent-Length: 100", 200},
		{nobody, "POST /healthz HTTP/1.1\r\nContent-Length: 100", 405},
	} {
		c := s.connect(t)
		c.say(tt.as, tt.head, "")
		res := c.answer()
		require.Equal(t, tt.status, res.StatusCode, tt.head)
		require.True(t, res.Close, "%s: what comes is not taken for another request", tt.head)
	}
	c := s.connect(t)
	for range 2 { // a connection on which bodies were read is kept
		c.say(nobody, "GET /api/v1/pools HTTP/1.1", "")
		require.Equal(t, 200, c.answer().StatusCode)
		c.say(s.alice, "PUT /api/v1/sessions/99 HTTP/1.1\r\nContent-Length: 2", "{}")
		require.Equal(t, 404, c.answer().StatusCode)
		c.say(s.alice, "PUT /api/v1/sessions/99 HTTP/1.1\r\nTransfer-Encoding: chunked", "2\r\n{}\r\n0\r\n\r\n")
		require.Equal(t, 404, c.answer().StatusCode)
	}
}
