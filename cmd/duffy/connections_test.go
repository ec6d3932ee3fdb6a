package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/internal/config"
)

// served starts a server with limits, for which proxies are 127.0.0.9 alone, and
// returns its address.
func served(t *testing.T, limits config.Limits, handler http.Handler) string {
	t.Helper()
	l, err := listenFlags{Port: freePort(t)}.listen("127.0.0.1", 0, nil)
	require.NoError(t, err)
	l.limits, l.proxies = limits, []netip.Prefix{netip.MustParsePrefix("127.0.0.9/32")}
	ended := make(chan error, 1)
	ctx, stop := context.WithCancel(context.Background())
	go func() { ended <- l.serve(ctx, handler, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() { stop(); require.NoError(t, <-ended) })
	return l.Addr().String()
}

// A visitor is a connection from an address of this machine.
type visitor struct {
	net.Conn
	in *bufio.Reader
}

func visit(t *testing.T, from, to string) *visitor {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: patience}
	conn, err := dialer.DialContext(t.Context(), "tcp", to)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	return &visitor{conn, bufio.NewReader(conn)}
}

// ask sends a request and returns the status of the answer, 0 if the server closes
// the connection.
func (v *visitor) ask() int {
	fmt.Fprint(v, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	res, err := http.ReadResponse(v.in, nil)
	if err != nil {
		return 0
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode
}

var fine = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})

func TestConnectionsOfAnAddressAreLimited(t *testing.T) {
	t.Parallel()
	entered, open := make(chan struct{}), make(chan struct{})
	to := served(t, config.Limits{Connections: 100, ConnectionsPerAddress: 2}, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			entered <- struct{}{}
			<-open
		}
	}))
	var slow []*visitor
	for range 2 {
		v := visit(t, "127.0.0.2", to)
		fmt.Fprint(v, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
		<-entered
		slow = append(slow, v)
	}
	require.Zero(t, visit(t, "127.0.0.2", to).ask(), "all that there may be are busy")
	require.Equal(t, 200, visit(t, "127.0.0.3", to).ask())
	for range 5 {
		require.Equal(t, 200, visit(t, "127.0.0.9", to).ask(), "a proxy has many clients")
		require.Equal(t, 200, visit(t, "127.0.0.1", to).ask(), "programs on this machine have, too")
	}
	close(open)
	for _, v := range slow {
		res, err := http.ReadResponse(v.in, nil)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
	}
	require.Eventually(t, func() bool { return visit(t, "127.0.0.2", to).ask() == 200 }, patience, 10*time.Millisecond,
		"an idle one of the same address makes way")
}

// TestIdleConnectionsMakeWay has strangers hold all connections open.
func TestIdleConnectionsMakeWay(t *testing.T) {
	t.Parallel()
	entered, open := make(chan struct{}), make(chan struct{})
	to := served(t, config.Limits{Connections: 8}, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			entered <- struct{}{}
			<-open
		}
	}))
	slow := visit(t, "127.0.0.2", to)
	fmt.Fprint(slow, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
	<-entered
	used := visit(t, "127.0.0.2", to)
	require.Equal(t, 200, used.ask())
	var held []*visitor
	for i := range 30 {
		v := visit(t, fmt.Sprintf("127.0.1.%d", i+1), to)
		fmt.Fprint(v, "GET / HTTP/1.1\r\nX: ") // and nothing more
		held = append(held, v)
		require.Equal(t, 200, visit(t, "127.0.0.3", to).ask(), i)
	}
	require.Zero(t, held[0].ask(), "those that send nothing go")
	close(open)
	res, err := http.ReadResponse(slow.in, nil)
	require.NoError(t, err, "what is in progress stays")
	require.Equal(t, 200, res.StatusCode)
	require.NoError(t, res.Body.Close())
	require.Equal(t, 200, slow.ask())
}

// TestBusyServerRefuses has all connections serve requests.
func TestBusyServerRefuses(t *testing.T) {
	t.Parallel()
	entered, open := make(chan struct{}), make(chan struct{})
	to := served(t, config.Limits{Connections: 3}, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		entered <- struct{}{}
		<-open
	}))
	var served []*visitor
	for i := range 3 {
		v := visit(t, fmt.Sprintf("127.0.0.%d", i+2), to)
		fmt.Fprint(v, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		<-entered
		served = append(served, v)
	}
	require.Zero(t, visit(t, "127.0.0.7", to).ask())
	close(open)
	for _, v := range served {
		res, err := http.ReadResponse(v.in, nil)
		require.NoError(t, err)
		require.Equal(t, 200, res.StatusCode)
		require.NoError(t, res.Body.Close())
	}
	go func() { <-entered }()
	require.Equal(t, 200, visit(t, "127.0.0.7", to).ask(), "the longest idle one goes")
}

// TestLongHeaders has a connection take little memory before its request is known.
func TestLongHeaders(t *testing.T) {
	t.Parallel()
	to := served(t, config.Limits{}, fine)
	for size, want := range map[int]int{8 << 10: 200, 64 << 10: http.StatusRequestHeaderFieldsTooLarge} {
		v := visit(t, "127.0.0.2", to)
		fmt.Fprintf(v, "GET / HTTP/1.1\r\nHost: x\r\nX: %s\r\n\r\n", strings.Repeat("x", size))
		res, err := http.ReadResponse(v.in, nil)
		require.NoError(t, err)
		require.Equal(t, want, res.StatusCode, size)
		require.NoError(t, res.Body.Close())
	}
}
