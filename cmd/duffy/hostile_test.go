package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/httpapi/apiv1"
	"github.com/duffy-ci/duffy/httpapi/client"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
)

// A battle is a server, a tenant that only wants its nodes, and those that do not
// want it to.
type battle struct {
	server  *member
	victim  *client.Client
	hostile string // API key of the tenant "hostile"
}

// newBattle has a server with many nodes, so that lists are long. All of 127.0.0.0/8
// is strangers' to it.
func newBattle(t testing.TB, url string) *battle {
	t.Helper()
	f := newFleet(t, url, "app: {loglevel: error, trusted-proxies: []}\n")
	d := f.open(t)
	for range 4 {
		require.NoError(t, f.addNodes(t.Context(), d, 500))
	}
	during(t, func(ctx context.Context) { restock(ctx, d) })
	b := &battle{server: f.serving(t)}
	b.server.untilReady(t)
	b.victim = f.client(t, "victim", b.from("127.0.0.5"))
	code, stdout, stderr := f.run(t, "admin", "create-tenant", "--node-quota", "50", "hostile", f.key.authorized())
	require.Zero(t, code, stderr)
	_, b.hostile, _ = strings.Cut(strings.TrimSpace(stdout), "hostile: ")
	_, _, err := b.handOut(t.Context()) // the victim has been there before
	require.NoError(t, err)
	return b
}

func (b *battle) address() string { return strings.TrimPrefix(b.server.url, "http://") }

// from returns a transport to the server from an address of this machine.
func (b *battle) from(address string) *http.Transport {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	return &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return dialer.DialContext(ctx, network, b.address())
	}}
}

// An assault is an attacker at work.
type assault struct {
	*attacker
	process *os.Process
	ended   chan *os.ProcessState
	output  demoOutput
}

// tenant starts an attacker that logs in.
func (b *battle) tenant(t testing.TB) *assault {
	t.Helper()
	return b.begin(t, &attacker{Tenant: "hostile", Key: b.hostile})
}

// stranger starts an attacker that does not.
func (b *battle) stranger(t testing.TB, without ...string) *assault {
	t.Helper()
	return b.begin(t, &attacker{Without: without})
}

func (b *battle) begin(t testing.TB, settings *attacker) *assault {
	t.Helper()
	settings.Server = b.address()
	a := &assault{attacker: settings}
	text, err := json.Marshal(settings)
	require.NoError(t, err)
	file, err := os.Executable()
	require.NoError(t, err)
	cmd := leastUrgent(file)
	cmd.Env = append(os.Environ(), asAttacker+"="+string(text))
	cmd.Stdout, cmd.Stderr = &a.output, &a.output
	a.ended, err = startLocked(cmd)
	require.NoError(t, err)
	a.process = cmd.Process
	t.Cleanup(func() { _ = a.process.Kill() })
	return a
}

// rage waits until everything was tried once.
func (a *assault) rage(t testing.TB) {
	t.Helper()
	require.Eventually(t, func() bool { return strings.Contains(a.output.String(), "begun") }, patience, glance, a.output.String())
}

// end stops the attacker, and logs what came of the attacks.
func (a *assault) end(t testing.TB) {
	t.Helper()
	require.NoError(t, a.process.Signal(syscall.SIGTERM))
	<-a.ended
	t.Logf("%s\n%s", cmp.Or(a.Tenant, "stranger"), a.output.String())
}

// handOut has the victim request and retire a session, and returns how long either
// took.
func (b *battle) handOut(ctx context.Context) (request, retire time.Duration, err error) {
	began := time.Now()
	s, err := b.victim.RequestSession(ctx, apiv1.SessionCreate{NodesSpecs: []apiv1.NodesSpec{spec("a", 1)}})
	if err != nil {
		return 0, 0, fmt.Errorf("request: %w", err)
	}
	request = time.Since(began)
	began = time.Now()
	if _, err = b.victim.RetireSession(ctx, s.ID); err != nil {
		err = fmt.Errorf("retire: %w", err)
	}
	return request, time.Since(began), err
}

// TestHostile has a tenant and a stranger do their worst. Another tenant gets its
// nodes nevertheless, each time.
func TestHostile(t *testing.T) {
	b := newBattle(t, dbtest.PostgresURL(t))
	tenant, stranger := b.tenant(t), b.stranger(t)
	tenant.rage(t)
	stranger.rage(t)
	for i := range 30 {
		_, _, err := b.handOut(t.Context())
		require.NoError(t, err, i)
	}
	tenant.end(t)
	stranger.end(t)
	require.Empty(t, b.server.lines("panic"))
}

// BenchmarkHostile measures what a tenant notices of another one and of a stranger
// that do their worst. An op is a session of one node requested and retired. Clients,
// attackers, nodes, server and database, with its default settings, share the machine;
// what matters of it without an attack is therefore measured too, with processors that
// are busy with something else.
func BenchmarkHostile(b *testing.B) {
	f := newBattle(b, dbtest.PostgresDurableURL(b))
	measure := func(name string) {
		b.Run(name, func(b *testing.B) {
			var took [2][]time.Duration
			for b.Loop() {
				request, retire, err := f.handOut(b.Context())
				require.NoError(b, err)
				took[0], took[1] = append(took[0], request), append(took[1], retire)
			}
			for i, what := range []string{"request", "retire"} {
				slices.Sort(took[i])
				for _, percent := range []int{50, 99} {
					at := took[i][len(took[i])*percent/100]
					b.ReportMetric(float64(at.Microseconds())/1000, fmt.Sprintf("%s-p%d-ms", what, percent))
				}
			}
		})
	}
	measure("quiet")
	stop := occupy(b)
	measure("processors busy with something else")
	stop()
	stranger := f.stranger(b, "wrong logins")
	stranger.rage(b)
	measure("stranger that does not guess")
	tenant := f.tenant(b)
	tenant.rage(b)
	measure("tenant and stranger that does not guess")
	stranger.end(b)
	measure("tenant")
	stranger = f.stranger(b)
	stranger.rage(b)
	measure("tenant and stranger")
	stranger.end(b)
	tenant.end(b)
	measure("quiet again")
}

// occupy keeps all processors busy with something else than Duffy, at the priority
// of attackers, until stop is called.
func occupy(t testing.TB) (stop func()) {
	t.Helper()
	var loops []*exec.Cmd
	for range runtime.NumCPU() {
		cmd := leastUrgent("sh", "-c", "while :; do :; done")
		require.NoError(t, cmd.Start())
		loops = append(loops, cmd)
	}
	return func() {
		for _, cmd := range loops {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
}

// leastUrgent returns a command that gets the processor time that nothing else wants:
// other machines would have their own.
func leastUrgent(args ...string) *exec.Cmd {
	return exec.Command("nice", append([]string{"-n", "19"}, args...)...)
}
