package duffy_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy"
	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/backend/fake"
	"github.com/duffy-ci/duffy/httpapi"
	"github.com/duffy-ci/duffy/httpapi/apiv1"
	"github.com/duffy-ci/duffy/httpapi/client"
	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/pool"
	"github.com/duffy-ci/duffy/tenant"
)

// A watched is a Duffy that works and is served, with a pool "a" and a pool
// "broken", which can't be filled.
type watched struct {
	*testing.T
	duffy    *duffy.Duffy
	machines *fake.Backend
	url      string // of the API
	monitor  string // of the metrics for operators
}

func openWatched(t *testing.T, cfg duffy.Config, metrics prometheus.Registerer) (*duffy.Duffy, *fake.Backend, error) {
	t.Helper()
	pools, err := pool.NewSet(
		pool.Config{Name: "a", FillLevel: new(2), Backend: "fake"},
		pool.Config{Name: "broken", FillLevel: new(1), Backend: "broken"},
	)
	require.NoError(t, err)
	cfg.Pools, cfg.ReconcileEvery = pools, 100*time.Millisecond
	machines, broken := fake.New(), fake.New()
	broken.Inject(fake.Fault{In: fake.Provision, Err: errors.New("no capacity")})
	d, err := duffy.New(t.Context(), cfg, duffy.Options{
		Backends:       map[string]backend.Backend{"fake": machines, "broken": broken},
		Contextualizer: machines, Metrics: metrics,
	})
	return d, machines, err
}

func newWatched(t *testing.T, url string) *watched {
	t.Helper()
	w := &watched{T: t}
	var err error
	w.duffy, w.machines, err = openWatched(t, duffy.Config{Database: url}, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.duffy.Close()) })
	require.NoError(t, w.duffy.Migrate(t.Context()))
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- w.duffy.Work(ctx) }()
	t.Cleanup(func() { stop(); require.NoError(t, <-ended) })
	w.url, w.monitor = serve(t, w.duffy.Handler()), serve(t, w.duffy.Monitor())
	return w
}

func serve(t *testing.T, handler http.Handler) (url string) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

// fetch returns the body of what is at a URL, or its status if that is not 200.
func fetch(t *testing.T, url string) string {
	t.Helper()
	res, err := http.Get(url)
	require.NoError(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	if res.StatusCode != http.StatusOK {
		return res.Status
	}
	return string(body)
}

// scrape returns metrics with their labels, as they are written, and values.
func scrape(t *testing.T, url string) map[string]float64 {
	t.Helper()
	samples := map[string]float64{}
	for line := range strings.Lines(fetch(t, url+"/metrics")) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		i := strings.LastIndex(line, " ")
		require.Positive(t, i, line)
		value, err := strconv.ParseFloat(strings.TrimSpace(line[i:]), 64)
		require.NoError(t, err)
		samples[line[:i]] = value
	}
	return samples
}

// pick returns those of samples that have these names.
func pick(samples map[string]float64, names ...string) map[string]float64 {
	picked := maps.Clone(samples)
	maps.DeleteFunc(picked, func(name string, _ float64) bool { return !slices.Contains(names, name) })
	return picked
}

// eventually waits until metrics have values.
func (w *watched) eventually(want map[string]float64) {
	w.Helper()
	require.EventuallyWithT(w, func(c *assert.CollectT) {
		assert.Equal(c, want, pick(scrape(w.T, w.monitor), slices.Collect(maps.Keys(want))...))
	}, time.Minute, 50*time.Millisecond)
}

func (w *watched) tenant(t tenant.Tenant) *client.Client {
	w.Helper()
	_, key, err := w.duffy.Tenants.Create(w.Context(), t)
	require.NoError(w, err)
	c, err := client.New(w.url+"/api/v1", client.Config{Tenant: t.Name, Key: key.String()})
	require.NoError(w, err)
	return c
}

func (w *watched) request(c *client.Client, quantity int) (apiv1.Session, error) {
	return c.RequestSession(w.Context(), apiv1.SessionCreate{
		NodesSpecs: []apiv1.NodesSpec{{Quantity: apiv1.Integer(quantity), Pool: "a"}},
	})
}

// stocked waits until the pool is full. Nodes that a failed request gave back may have
// been replaced by then.
func (w *watched) stocked() {
	w.Helper()
	require.Eventually(w, func() bool {
		return scrape(w.T, w.monitor)[`duffy_nodes{pool="a",state="ready"}`] >= 2
	}, time.Minute, 50*time.Millisecond)
}

// traffic has everything happen that is counted.
func (w *watched) traffic() {
	w.Helper()
	w.stocked()
	alice := w.tenant(tenant.Tenant{Name: "alice", SSHKey: "k", NodeQuota: new(5)})
	admin := w.tenant(tenant.Tenant{Name: "admin", SSHKey: "k", IsAdmin: true})

	_, err := w.request(alice, 1)
	require.NoError(w, err)
	w.stocked()
	_, err = w.request(alice, 5)
	require.Error(w, err)
	_, err = w.request(admin, 100)
	require.Error(w, err)
	w.machines.Inject(fake.Fault{In: fake.Contextualize, Err: fake.ErrUnreachable})
	_, err = w.request(admin, 2)
	require.Error(w, err)
	w.machines.Heal()
	w.stocked()
	retired, err := w.request(admin, 1)
	require.NoError(w, err)
	_, err = admin.RetireSession(w.Context(), retired.ID)
	require.NoError(w, err)
	require.Contains(w, fetch(w.T, w.url+"/somewhere/else"), "404")
	w.stocked()
}

var databases = map[string]func(testing.TB) string{
	"postgres": dbtest.PostgresURL,
	"sqlite":   func(t testing.TB) string { return "sqlite:///" + filepath.Join(t.TempDir(), "duffy.db") },
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	for name, newDatabase := range databases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			database := newDatabase(t)
			w := newWatched(t, database)
			w.traffic()
			state := map[string]float64{
				`duffy_nodes{pool="a",state="deployed"}`:                        1,
				`duffy_nodes{pool="a",state="contextualizing"}`:                 0,
				`duffy_nodes{pool="broken",state="ready"}`:                      0,
				`duffy_pool_fill_level{pool="a"}`:                               2,
				`duffy_pool_consecutive_failures{pool="a"}`:                     0,
				`duffy_tenant_sessions{tenant="alice"}`:                         1,
				`duffy_tenant_sessions{tenant="admin"}`:                         0,
				`duffy_tenant_nodes{tenant="alice"}`:                            1,
				`duffy_tenant_node_quota{tenant="alice"}`:                       5,
				`duffy_queue_waiting_jobs{workers="short"}`:                     0,
				`duffy_queue_running_jobs{workers="long"}`:                      0,
				`duffy_queue_latency_seconds{workers="long"}`:                   0,
				`duffy_scrape_collector_success{collector="pools"}`:             1,
				`duffy_scrape_collector_success{collector="tenants"}`:           1,
				`duffy_scrape_collector_success{collector="queue"}`:             1,
				`duffy_nodes{pool="a",state="provisioning"}`:                    0,
				`duffy_nodes{pool="a",state="deprovisioning"}`:                  0,
				`duffy_leases_taken_over_total{state="provisioning"}`:           0,
				`duffy_pool_shortages_total{pool="broken"}`:                     0,
				`duffy_nodes_handed_out_total{pool="broken"}`:                   0,
				`duffy_session_request_duration_seconds_count{outcome="error"}`: 0,
			}
			w.eventually(state)
			w.eventually(map[string]float64{
				`duffy_session_request_duration_seconds_count{outcome="ok"}`:                         2,
				`duffy_session_request_duration_seconds_count{outcome="quota"}`:                      1,
				`duffy_session_request_duration_seconds_count{outcome="empty"}`:                      1,
				`duffy_session_request_duration_seconds_count{outcome="unreachable"}`:                1,
				`duffy_nodes_handed_out_total{pool="a"}`:                                             2,
				`duffy_pool_shortages_total{pool="a"}`:                                               1,
				`duffy_http_requests_total{method="POST",route="/api/v1/sessions",status="201"}`:     2,
				`duffy_http_requests_total{method="POST",route="/api/v1/sessions",status="403"}`:     1,
				`duffy_http_requests_total{method="PUT",route="/api/v1/sessions/{id}",status="200"}`: 1,
				`duffy_http_requests_total{method="GET",route="none",status="404"}`:                  1,
				`duffy_http_request_duration_seconds_count{method="POST",route="/api/v1/sessions"}`:  5,
			})
			got := scrape(t, w.monitor)
			require.NotContains(t, got, `duffy_tenant_node_quota{tenant="admin"}`)
			require.Greater(t, got[`duffy_pool_retry_timestamp_seconds{pool="broken"}`], float64(time.Now().Add(-time.Minute).Unix()))
			require.Positive(t, got[`duffy_nodes_failed_total{pool="a",while="contextualizing"}`])
			require.Positive(t, got[`duffy_backend_run_duration_seconds_count{action="deprovision",pool="a",result="ok"}`])
			require.Positive(t, got[`duffy_backend_run_duration_seconds_count{action="provision",pool="broken",result="failed"}`])
			require.Positive(t, got[`duffy_pool_consecutive_failures{pool="broken"}`])
			require.Positive(t, got["go_goroutines"])
			public := scrape(t, w.url)
			for name := range public {
				require.NotContains(t, name, `tenant="`, "callers without credentials see it")
			}
			for name := range got {
				if !strings.Contains(name, `tenant="`) && !strings.Contains(name, `="tenants"`) {
					require.Contains(t, public, name)
				}
			}

			// Another process on the database says the same about its state.
			other, _, err := openWatched(t, duffy.Config{Database: database}, nil)
			require.NoError(t, err)
			defer other.Close()
			url := serve(t, other.Monitor())
			require.EventuallyWithT(t, func(c *assert.CollectT) {
				want := withPrefix(state, "duffy_nodes{", "duffy_pool_", "duffy_tenant_", "duffy_queue_")
				assert.Equal(c, want, pick(scrape(t, url), slices.Collect(maps.Keys(want))...))
			}, time.Minute, 50*time.Millisecond)
		})
	}
}

func withPrefix(samples map[string]float64, prefixes ...string) map[string]float64 {
	chosen := maps.Clone(samples)
	maps.DeleteFunc(chosen, func(name string, _ float64) bool {
		return !slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) })
	})
	return chosen
}

// TestMetricsAreWellFormed has Prometheus's own linter look at names and helps.
func TestMetricsAreWellFormed(t *testing.T) {
	t.Parallel()
	w := newWatched(t, databases["sqlite"](t))
	w.traffic()
	problems, err := promlint.New(strings.NewReader(fetch(t, w.monitor+"/metrics"))).Lint()
	require.NoError(t, err)
	require.Empty(t, slices.DeleteFunc(problems, func(p promlint.Problem) bool { return !strings.HasPrefix(p.Metric, "duffy_") }))
}

// TestScrapeWithoutDatabase locks tables: what the process knows by itself is still
// told, and what could not be read is said.
func TestScrapeWithoutDatabase(t *testing.T) {
	t.Parallel()
	database := dbtest.PostgresURL(t)
	w := newWatched(t, database)
	w.eventually(map[string]float64{`duffy_nodes{pool="a",state="ready"}`: 2})
	d, err := db.Open(t.Context(), database, db.Config{})
	require.NoError(t, err)
	defer d.Close()
	tx, err := d.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, tx.Rollback()) }()
	_, err = tx.ExecContext(t.Context(), "LOCK TABLE nodes, sessions IN ACCESS EXCLUSIVE MODE")
	require.NoError(t, err)

	got := scrape(t, w.monitor)
	require.Positive(t, got["go_goroutines"])
	require.Subset(t, got, map[string]float64{
		`duffy_scrape_collector_success{collector="pools"}`:          0,
		`duffy_scrape_collector_success{collector="tenants"}`:        0,
		`duffy_pool_fill_level{pool="a"}`:                            2,
		`duffy_session_request_duration_seconds_count{outcome="ok"}`: 0,
	})
	require.Empty(t, withPrefix(got, "duffy_nodes{", "duffy_tenant_"), "old values would look like new ones")
}

func TestWhoSeesMetrics(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		cfg   duffy.Config
		shown bool
	}{
		"anybody may read": {duffy.Config{}, true},
		"nobody may":       {duffy.Config{AnonymousRead: httpapi.ReadNone}, false},
		"as in Duffy 3":    {duffy.Config{AnonymousRead: httpapi.ReadFull}, true},
		"elsewhere":        {duffy.Config{HideMetrics: true}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tt.cfg.Database = "sqlite://"
			d, _, err := openWatched(t, tt.cfg, nil)
			require.NoError(t, err)
			defer d.Close()
			require.NoError(t, d.Migrate(t.Context()))
			api, monitor := serve(t, d.Handler()), serve(t, d.Monitor())
			require.Equal(t, tt.shown, strings.Contains(fetch(t, api+"/metrics"), "duffy_build_info{"))
			require.Contains(t, fetch(t, monitor+"/metrics"), "duffy_build_info{")
			_, _, err = d.Tenants.Create(t.Context(), tenant.Tenant{Name: "alice", SSHKey: "k"})
			require.NoError(t, err)
			require.NotContains(t, fetch(t, api+"/metrics"), "alice")
			require.Contains(t, fetch(t, monitor+"/metrics"), `tenant="alice"`)
			require.Contains(t, fetch(t, monitor+"/healthz"), "ok")
			require.Contains(t, fetch(t, monitor+"/readyz"), "ok")
			require.Contains(t, fetch(t, monitor+"/api/v1/pools"), "404")
		})
	}
}

// TestSeveralInOneProcess has Duffys keep their metrics apart, also where a program
// that embeds them shows them together.
func TestSeveralInOneProcess(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	open := func(to prometheus.Registerer) (*duffy.Duffy, error) {
		d, _, err := openWatched(t, duffy.Config{Database: "sqlite://"}, to)
		return d, err
	}
	name := func(name string) prometheus.Registerer {
		return prometheus.WrapRegistererWith(prometheus.Labels{"duffy": name}, registry)
	}
	one, err := open(name("one"))
	require.NoError(t, err)
	defer one.Close()
	two, err := open(name("two"))
	require.NoError(t, err)
	_, err = open(name("two"))
	require.ErrorContains(t, err, "with labels of its own")

	serve(t, two.Handler())
	require.Contains(t, fetch(t, serve(t, one.Handler())+"/healthz"), "ok")
	requests := `duffy_http_requests_total{%smethod="GET",route="/healthz",status="200"}`
	all := serve(t, promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	got := scrape(t, all)
	require.EqualValues(t, 1, got[fmt.Sprintf(requests, `duffy="one",`)])
	require.NotContains(t, got, fmt.Sprintf(requests, `duffy="two",`))
	require.Contains(t, got, `duffy_pool_fill_level{duffy="two",pool="a"}`)
	require.NotContains(t, got, "go_goroutines", "which is up to the program")
	require.EqualValues(t, 1, scrape(t, serve(t, one.Monitor()))[fmt.Sprintf(requests, "")])

	require.NoError(t, two.Close())
	require.NotContains(t, scrape(t, all), `duffy_pool_fill_level{duffy="two",pool="a"}`)
	two, err = open(name("two"))
	require.NoError(t, err, "the place is free again")
	require.NoError(t, two.Close())
}

// BenchmarkScrape reads metrics of pools of different size.
func BenchmarkScrape(b *testing.B) {
	for _, database := range benchDatabases {
		for _, nodes := range []int{1_000, 100_000} {
			b.Run(fmt.Sprintf("%s/nodes=%d", database.name, nodes), func(b *testing.B) {
				s := newBench(b, database.url(b), nodes)
				for b.Loop() {
					require.NoError(b, get(s.http, s.url+"/metrics", "", ""))
				}
			})
		}
	}
}
