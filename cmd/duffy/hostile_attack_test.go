package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// asAttacker is a variable in whose presence the test binary attacks a server. It is
// a process of its own, and one that others go before: attackers are elsewhere.
const asAttacker = "DUFFY_TEST_AS_ATTACKER"

// An attacker does its worst to a server until it is told to stop. It logs in, or is
// a stranger with many addresses.
type attacker struct {
	Server      string   // host and port
	Tenant, Key string   // empty for a stranger
	Without     []string // kinds of attacks

	mu    sync.Mutex
	count map[string]map[string]int // of each kind of attack, what came of it
	kinds int
}

// attack is the program of an attacker. It says "begun" when everything was tried.
func attack(settings string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	a := &attacker{count: map[string]map[string]int{}}
	if err := json.Unmarshal([]byte(settings), a); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var all sync.WaitGroup
	repeat := func(kind string, times int, do func(context.Context, int) string) {
		if slices.Contains(a.Without, kind) {
			return
		}
		a.kinds++
		for i := range times {
			all.Go(func() {
				for ctx.Err() == nil {
					if outcome := do(ctx, i); ctx.Err() == nil {
						a.note(kind, outcome)
					}
				}
			})
		}
	}
	if a.Tenant != "" {
		a.asTenant(repeat)
	} else {
		a.asStranger(repeat)
	}
	for ctx.Err() == nil && a.tried() < a.kinds {
		time.Sleep(glance)
	}
	fmt.Println("begun")
	all.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, kind := range slices.Sorted(maps.Keys(a.count)) {
		fmt.Printf("%s: %v\n", kind, a.count[kind])
	}
	return 0
}

func (a *attacker) note(kind, outcome string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.count[kind] == nil {
		a.count[kind] = map[string]int{}
	}
	a.count[kind][outcome]++
}

func (a *attacker) tried() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.count)
}

func (a *attacker) asTenant(repeat func(string, int, func(context.Context, int) string)) {
	client := a.client("127.0.2.1")
	post := func(specs string) func(context.Context, int) string {
		return func(ctx context.Context, _ int) string {
			return a.ask(ctx, client, "POST", "/api/v1/sessions", `{"nodes_specs": [`+specs+`]}`, false)
		}
	}
	const wraps = `{"pool": "a", "quantity": 4611686018427387904}`
	repeat("sums that wrap round", 4, post(strings.Repeat(wraps+", ", 3)+wraps))
	repeat("sessions without nodes", 4, post(""))
	repeat("all nodes of the quota", 2, func(ctx context.Context, _ int) string { return a.takeAndReturn(ctx, client) })
	repeat("more than the quota", 4, post(`{"pool": "a", "quantity": 9999}`))
	repeat("20000 specs", 2, post(strings.Repeat(`{"pool": "a", "quantity": 1}, `, 19999)+`{"pool": "b", "quantity": 1}`))
	repeat("100 specs", 4, post(strings.Repeat(`{"pool": "a", "quantity": 1}, `, 49)+strings.Repeat(`{"pool": "b", "quantity": 1}, `, 50)+`{"pool": "c", "quantity": 1}`))
	repeat("lists", 8, func(ctx context.Context, i int) string {
		return a.ask(ctx, client, "GET", []string{"/api/v1/sessions", "/api/v1/nodes"}[i%2], "", true)
	})
	repeat("slow readers", 50, func(ctx context.Context, _ int) string { return a.dribble(ctx, "127.0.2.3", a.get("/api/v1/nodes")) })
	repeat("connections", 300, func(ctx context.Context, _ int) string { return a.hold(ctx, "127.0.2.2", "") })
}

func (a *attacker) asStranger(repeat func(string, int, func(context.Context, int) string)) {
	repeat("lists", 16, func(ctx context.Context, i int) string {
		client := a.client(fmt.Sprintf("127.0.3.%d", i+1))
		defer client.CloseIdleConnections()
		var outcome string
		for range 20 {
			outcome = a.ask(ctx, client, "GET", []string{"/api/v1/sessions", "/api/v1/nodes", "/api/v1/pools/a", "/api/v1/pools"}[i%4], "", true)
		}
		return outcome
	})
	repeat("wrong logins", 16, func(ctx context.Context, _ int) string {
		guesser := &attacker{Server: a.Server, Tenant: "victim", Key: fmt.Sprint(rand.Int())}
		client := a.client(elsewhere())
		defer client.CloseIdleConnections()
		return guesser.ask(ctx, client, "GET", "/api/v1/sessions", "", false)
	})
	repeat("health and metrics", 4, func(ctx context.Context, i int) string {
		client := a.client(elsewhere())
		defer client.CloseIdleConnections()
		return a.ask(ctx, client, "GET", []string{"/readyz", "/metrics"}[i%2], "", false)
	})
	repeat("slow readers", 200, func(ctx context.Context, _ int) string { return a.dribble(ctx, elsewhere(), a.get("/api/v1/nodes")) })
	repeat("slowloris", 500, func(ctx context.Context, _ int) string {
		return a.hold(ctx, elsewhere(), "GET /api/v1/sessions HTTP/1.1\r\nHost: duffy\r\nX: ")
	})
	repeat("connections", 2000, func(ctx context.Context, _ int) string { return a.hold(ctx, elsewhere(), "") })
}

// holdFor is for how many seconds connections are held.
const holdFor = 8

// elsewhere returns one of a million addresses.
func elsewhere() string {
	return fmt.Sprintf("127.%d.%d.%d", 16+rand.IntN(16), rand.IntN(256), 1+rand.IntN(254))
}

func (a *attacker) dial(ctx context.Context, from string) (net.Conn, error) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 10 * time.Second}
	return dialer.DialContext(ctx, "tcp", a.Server)
}

func (a *attacker) client(from string) *http.Client {
	return &http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{
		MaxIdleConnsPerHost: 32,
		DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return a.dial(ctx, from) },
	}}
}

// ask sends a request and returns the status of the answer, which it reads.
func (a *attacker) ask(ctx context.Context, client *http.Client, method, path, body string, read bool) string {
	status, _ := a.answer(ctx, client, method, path, body, read)
	return status
}

func (a *attacker) answer(ctx context.Context, client *http.Client, method, path, body string, read bool) (status string, text []byte) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+a.Server+path, strings.NewReader(body))
	if err != nil {
		return err.Error(), nil
	}
	if a.Tenant != "" {
		req.SetBasicAuth(a.Tenant, a.Key)
	}
	res, err := client.Do(req)
	if err != nil {
		return "broken", nil
	}
	defer res.Body.Close()
	if read {
		_, err = io.Copy(io.Discard, res.Body)
	} else {
		text, err = io.ReadAll(io.LimitReader(res.Body, 1<<20))
	}
	if err != nil {
		return "broken", nil
	}
	return fmt.Sprint(res.StatusCode), text
}

// takeAndReturn requests as many nodes as it may have, and gives them back.
func (a *attacker) takeAndReturn(ctx context.Context, client *http.Client) string {
	status, text := a.answer(ctx, client, "POST", "/api/v1/sessions", `{"nodes_specs": [{"pool": "a", "quantity": 25}]}`, false)
	var got struct{ Session struct{ ID int64 } }
	if json.Unmarshal(text, &got) == nil && got.Session.ID != 0 {
		a.ask(ctx, client, "PUT", fmt.Sprintf("/api/v1/sessions/%d", got.Session.ID), `{"active": false}`, false)
	}
	return status
}

func (a *attacker) get(path string) string {
	var text bytes.Buffer
	req, err := http.NewRequest("GET", "http://duffy"+path, nil)
	if err == nil {
		if a.Tenant != "" {
			req.SetBasicAuth(a.Tenant, a.Key)
		}
		_ = req.Write(&text)
	}
	return text.String()
}

// dribble sends a request and reads the answer by a few bytes a second.
func (a *attacker) dribble(ctx context.Context, from, request string) string {
	conn, err := a.dial(ctx, from)
	if err != nil {
		return "refused"
	}
	defer conn.Close()
	_ = conn.(*net.TCPConn).SetReadBuffer(4096)
	_, _ = io.WriteString(conn, request)
	for i := range holdFor {
		if _, err := io.ReadFull(conn, make([]byte, 16)); err != nil {
			return fmt.Sprintf("broken after %d s", i)
		}
		if wait(ctx, time.Second) != nil {
			break
		}
	}
	return "ok"
}

// hold opens a connection, sends the beginning of a request, if any, and more of it
// bit by bit.
func (a *attacker) hold(ctx context.Context, from, begin string) string {
	conn, err := a.dial(ctx, from)
	if err != nil {
		_ = wait(ctx, time.Second)
		return "refused"
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, begin)
	for i := range holdFor {
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		_, err := conn.Read(make([]byte, 1))
		if timeout := net.Error(nil); ctx.Err() != nil || !errors.As(err, &timeout) || !timeout.Timeout() {
			_ = wait(ctx, time.Second)
			return fmt.Sprintf("closed after %d s", i)
		}
		if begin != "" {
			_, _ = io.WriteString(conn, "x")
		}
	}
	return "held"
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
