package main

import (
	"errors"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/httpapi/apiv1"
	"github.com/duffy-ci/duffy/httpapi/client"
	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/pool"
)

// TestReadOnlyDatabase has a database refuse writes for a while, as it does when
// somebody keeps its disk from getting full.
func TestReadOnlyDatabase(t *testing.T) {
	t.Parallel()
	postgres := dbtest.NewServer(t)
	f := newFleet(t, postgres.URL(), "")
	d := f.open(t)
	require.NoError(t, f.addNodes(t.Context(), d, 20))
	server, worker := f.serving(t), f.worker(t)
	server.untilReady(t)
	api := f.client(t, "alice", server)
	f.requireWorks(t, d, api)
	postgres.SetReadOnly(t, true)
	requireNoWrites(t, server, api)
	_, err := api.ListPools(t.Context())
	require.NoError(t, err, "it can be read")
	worker.stop(t)
	worker.start(t)
	worker.untilSays(t, "cannot start River, waiting for the database")
	postgres.SetReadOnly(t, false)
	f.requireWorks(t, d, api)
	server.untilReady(t)
	worker.stop(t)
}

// TestFailover has the primary hand over to its standby: while it goes on as a server
// that takes no writes, whose connections stay, and by going away and coming back as
// the standby.
func TestFailover(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(t *testing.T, primary, standby *dbtest.Server) (back func()){
		"read-only": func(t *testing.T, primary, standby *dbtest.Server) (back func()) {
			primary.SetReadOnly(t, true)
			return func() {}
		},
		"stopped": func(t *testing.T, primary, standby *dbtest.Server) (back func()) {
			primary.Stop(t)
			return func() { primary.Follow(t, standby) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			primary := dbtest.NewServer(t)
			standby := primary.Standby(t)
			f := newFleet(t, primary.URLWith(standby), "")
			d := f.open(t)
			require.NoError(t, f.addNodes(t.Context(), d, 20))
			server, worker := f.serving(t), f.worker(t)
			server.untilReady(t)
			api := f.client(t, "alice", server)
			f.requireWorks(t, d, api)

			back := fail(t, primary, standby)
			requireNoWrites(t, server, api)
			standby.Promote(t, primary)
			f.requireWorks(t, d, api)
			server.untilReady(t)
			back()
			f.requireWorks(t, d, api)
			for _, m := range []*member{server, worker} {
				m.stop(t)
				m.start(t)
			}
			server.untilReady(t)
			f.requireWorks(t, d, api)
		})
	}
}

// requireNoWrites has a server say that it cannot write, and ask callers to come again.
func requireNoWrites(t *testing.T, server *member, api *client.Client) {
	t.Helper()
	server.untilAnswers(t, "/readyz", http.StatusServiceUnavailable)
	_, err := api.RequestSession(t.Context(), apiv1.SessionCreate{NodesSpecs: []apiv1.NodesSpec{spec("a", 1)}})
	var refused *client.Error
	require.True(t, errors.As(err, &refused), "%v", err)
	require.Equal(t, http.StatusServiceUnavailable, refused.Status)
	require.NotNil(t, refused.RetryAfter)
}

// requireWorks has a tenant get a session within a minute, and its node removed within
// another after that: by a job.
func (f *fleet) requireWorks(t *testing.T, d *db.DB, api *client.Client) {
	t.Helper()
	var session apiv1.Session
	require.NoError(t, retry(t, func() (err error) {
		session, err = api.RequestSession(t.Context(), apiv1.SessionCreate{NodesSpecs: []apiv1.NodesSpec{spec("a", 1)}})
		return err
	}))
	require.NoError(t, retry(t, func() error { _, err := api.RetireSession(t.Context(), session.ID); return err }))
	require.Eventually(t, func() bool {
		n, err := d.NewSelect().Model((*pool.Node)(nil)).Where("id = ?", session.Nodes[0].ID).
			Where("state = ?", pool.Done).Count(t.Context())
		return err == nil && n == 1
	}, patience, glance, "no jobs are run")
}
