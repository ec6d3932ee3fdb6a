package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/internal/db/dbtest"
)

// TestPgBouncer has everything work through a PgBouncer that runs each transaction on
// another connection.
func TestPgBouncer(t *testing.T) {
	t.Parallel()
	postgres := dbtest.NewServer(t)
	f := newFleet(t, postgres.PgBouncer(t), "")
	d := f.open(t)
	require.NoError(t, f.addNodes(t.Context(), d, 30))
	server, worker := f.serving(t), f.worker(t)
	server.untilReady(t)
	server.untilSays(t, "a connection pooler such as PgBouncer is in front")
	api := f.client(t, "alice", server)
	for range 5 {
		f.requireWorks(t, d, api)
	}
	worker.untilSays(t, "a connection pooler")
	for _, m := range []*member{server, worker} {
		require.Empty(t, m.lines("level=ERROR"))
		m.stop(t)
	}
	code, _, stderr := f.run(t, "migration", "downgrade", "6654d536b836")
	require.Zero(t, code, stderr)
	code, _, stderr = f.run(t, "migration", "upgrade")
	require.Zero(t, code, stderr)
}

// TestOneConnection has everything work, if slowly, with one connection: as the URL says,
// or the limit of the database's role.
func TestOneConnection(t *testing.T) {
	t.Parallel()
	for name, limit := range map[string]struct{ option, role string }{
		"pool_max_conns":   {"&pool_max_conns=1", "postgres"},
		"connection limit": {"", "limited"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			postgres := dbtest.NewServer(t)
			f := newFleet(t, postgres.URL(), "")
			d := f.open(t)
			_, err := d.ExecContext(t.Context(), `CREATE ROLE limited LOGIN CONNECTION LIMIT 1;
				GRANT ALL ON ALL TABLES IN SCHEMA public TO limited; GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO limited`)
			require.NoError(t, err)
			require.NoError(t, f.addNodes(t.Context(), d, 30))
			port := freePort(t)
			m := f.unstarted(t, "run", "-p", fmt.Sprint(port))
			m.url = fmt.Sprint("http://127.0.0.1:", port)
			api, bob := f.client(t, "alice", m), f.client(t, "bob", m)
			url := strings.Replace(f.url, "postgres@", limit.role+"@", 1) + limit.option
			require.NoError(t, os.WriteFile(filepath.Join(f.dir, "settings.yaml"), fmt.Appendf(nil, "database: {url: %q}\n", url), 0o600))
			m.start(t)
			m.untilReady(t)
			lists := during(t, func(ctx context.Context) { _, _ = bob.ListSessions(ctx); _, _ = bob.ListPools(ctx) })
			for range 5 {
				f.requireWorks(t, d, api)
			}
			lists()
			m.stop(t)
			require.Empty(t, m.lines("level=ERROR"))
		})
	}
}
