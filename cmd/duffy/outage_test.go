package main

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/httpapi/apiv1"
	"github.com/duffy-ci/duffy/httpapi/client"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/internal/redistest"
	"github.com/duffy-ci/duffy/pool"
)

// TestDatabaseOutages has programs ride out a database that is restarted, that
// crashes, and that is not there when they start.
func TestDatabaseOutages(t *testing.T) {
	t.Parallel()
	postgres := dbtest.NewServer(t)
	f := newFleet(t, postgres.URL(), "")
	d := f.open(t)
	require.NoError(t, f.addNodes(t.Context(), d, 100))
	postgres.Stop(t)
	server, worker := f.serving(t), f.worker(t)
	for _, m := range []*member{server, worker} {
		m.untilSays(t, "waiting for the database")
	}
	postgres.Start(t)
	server.untilReady(t)
	api := f.client(t, "alice", server)
	a := &asker{client: api, statuses: map[int]int{}}
	during(t, a.ask)

	for name, outage := range map[string]struct {
		end  func(testing.TB)
		away time.Duration
	}{
		"at start":  {func(testing.TB) {}, 0},
		"restarted": {postgres.Stop, 0},
		"crashed":   {postgres.Kill, 20 * time.Second},
	} {
		before, err := api.RequestSession(t.Context(), apiv1.SessionCreate{NodesSpecs: []apiv1.NodesSpec{spec("a", 1)}})
		require.NoError(t, err, name)
		outage.end(t)
		if outage.away > 0 {
			require.Equal(t, http.StatusOK, server.status("/healthz"))
			server.untilAnswers(t, "/readyz", http.StatusServiceUnavailable)
			time.Sleep(outage.away)
		}
		postgres.Start(t)
		back := time.Now()
		server.untilReady(t)
		require.NoError(t, retry(t, func() error { _, err := api.RetireSession(t.Context(), before.ID); return err }), name)
		require.Eventually(t, func() bool {
			n, err := d.NewSelect().Model((*pool.Node)(nil)).Where("id = ?", before.Nodes[0].ID).
				Where("state = ?", pool.Done).Count(t.Context())
			return err == nil && n == 1
		}, patience, glance, "%s: no jobs are run", name)
		t.Logf("%s: jobs run after %v", name, time.Since(back))
	}
	a.requireGraceful(t)

	postgres.Kill(t)
	for _, m := range []*member{server, worker} {
		m.stop(t)
	}
}

// retry tries again where the API says that this may help.
func retry(t *testing.T, do func() error) (err error) {
	t.Helper()
	require.Eventually(t, func() bool {
		err = do()
		var refused *client.Error
		return !errors.As(err, &refused) || refused.RetryAfter == nil
	}, patience, glance)
	return err
}

// An asker asks the API something, time and again.
type asker struct {
	client *client.Client

	mu       sync.Mutex
	statuses map[int]int // how often there were which
	abrupt   []error     // that do not tell when to ask again
}

func (a *asker) ask(ctx context.Context) {
	_, err := a.client.ListSessions(context.WithoutCancel(ctx))
	status := http.StatusOK
	var refused *client.Error
	if errors.As(err, &refused) {
		status = refused.Status
	}
	a.mu.Lock()
	a.statuses[status]++
	if err != nil && (refused == nil || refused.RetryAfter == nil) {
		a.abrupt = append(a.abrupt, err)
	}
	a.mu.Unlock()
	time.Sleep(20 * time.Millisecond)
}

// requireGraceful requires that who was refused was told when to ask again.
func (a *asker) requireGraceful(t *testing.T) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	t.Log(a.statuses)
	require.Empty(t, a.abrupt)
	require.NotZero(t, a.statuses[http.StatusServiceUnavailable])
	require.NotZero(t, a.statuses[http.StatusOK])
}

// TestNothingToWaitFor has programs refuse at once what will not pass.
func TestNothingToWaitFor(t *testing.T) {
	t.Parallel()
	empty := dbtest.PostgresURL(t)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "duffy.yaml"), nil, 0o600))
	for url, want := range map[string]string{
		empty:                     "the database is empty: run duffy setup-db",
		empty + "&dbname=missing": `database "missing" does not exist`,
		empty + "&user=stranger":  `role "stranger" does not exist`,
	} {
		text := "database: {url: '" + url + "'}\n"
		require.NoError(t, os.WriteFile(filepath.Join(dir, "duffy.yaml"), []byte(text), 0o600))
		for _, command := range []string{"serve", "worker", "run"} {
			code, _, stderr := runProgram(t, dir, "-c", "duffy.yaml", command)
			require.Equal(t, exitFailure, code, command)
			require.Contains(t, stderr, want, command)
		}
	}
}

// TestRedisAway has programs start, and work as far as they can, without Redis.
func TestRedisAway(t *testing.T) {
	t.Parallel()
	redis := redistest.New(t)
	f := newFleet(t, dbtest.PostgresURL(t), "tasks: {queue: asynq, redis: '"+redis.URL()+"'}\n")
	d := f.open(t)
	require.NoError(t, f.addNodes(t.Context(), d, 3))
	server, worker := f.serving(t), f.worker(t)
	worker.untilSays(t, "cannot reach Redis")
	server.untilAnswers(t, "/readyz", http.StatusServiceUnavailable)
	require.Equal(t, http.StatusOK, server.status("/healthz"))
	server.untilSays(t, "cannot reach Redis")

	redis.Start(t)
	server.untilReady(t)
	api := f.client(t, "alice", server)
	redis.Stop()
	server.untilAnswers(t, "/readyz", http.StatusServiceUnavailable)
	res, err := http.Get(server.url + "/readyz")
	require.NoError(t, err)
	defer res.Body.Close()
	var body strings.Builder
	require.NoError(t, res.Write(&body))
	require.NotContains(t, body.String(), "edis", "the reason is nobody's business")

	redis.Start(t)
	server.untilReady(t)
	session, err := api.RequestSession(t.Context(), apiv1.SessionCreate{NodesSpecs: []apiv1.NodesSpec{spec("a", 1)}})
	require.NoError(t, err)
	_, err = api.RetireSession(t.Context(), session.ID)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		n, err := d.NewSelect().Model((*pool.Node)(nil)).Where("state = ?", pool.Done).Count(t.Context())
		return err == nil && n == 1
	}, patience, glance)
	server.stop(t)
	worker.stop(t)
}
