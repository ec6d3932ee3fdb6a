package main

import (
	"context"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/internal/db/dbtest"
)

// nextVersion is what a migration of a later version may do.
var nextVersion = []string{
	`ALTER TABLE nodes ADD COLUMN rack text, ADD COLUMN weight integer DEFAULT 1 NOT NULL`,
	`ALTER TABLE sessions ADD COLUMN purpose text, ADD COLUMN priority integer DEFAULT 0 NOT NULL`,
	`ALTER TABLE tenants ADD COLUMN email text, ADD COLUMN share double precision DEFAULT 0.5 NOT NULL`,
	`ALTER TABLE pools ADD COLUMN cap integer`,
	`ALTER TABLE api_keys ADD COLUMN comment text, ADD COLUMN uses bigint DEFAULT 0 NOT NULL`,
	`CREATE TABLE events (id bigserial PRIMARY KEY, node_id integer REFERENCES nodes (id), text text NOT NULL)`,
	`CREATE INDEX nodes_rack_index ON nodes (rack) WHERE retired_at IS NULL`,
	`INSERT INTO duffy_migrations (name) VALUES ('29991231000000_events')`,
}

// TestUpgradeUnderLoad has a later version change the tables while this one works
// on them: no request fails. What runs goes on; what is started is refused.
func TestUpgradeUnderLoad(t *testing.T) {
	t.Parallel()
	f := newFleet(t, dbtest.PostgresURL(t), "")
	members := []*member{f.serving(t), f.serving(t), f.worker(t)}
	servers := newBalancer(t, members[:2]...)
	d := f.open(t)
	f.keepStocked(t, 30)
	l := startLoad(t, f.client(t, "alice", servers), f.client(t, "bob", servers), f.client(t, "carol", servers))
	l.more(t, 30) // so that what is asked all the time is prepared on every connection
	for _, statement := range nextVersion {
		require.NoError(t, d.RunInTx(t.Context(), nil, func(ctx context.Context, tx bun.Tx) error {
			_, err := tx.ExecContext(ctx, statement)
			return err
		}))
		l.more(t, 20)
	}
	for _, m := range members[:2] {
		require.Equal(t, http.StatusOK, m.status("/readyz"))
	}
	for _, args := range [][]string{
		{"serve"},
		{"worker"},
		{"run"},
		{"migration", "upgrade"},
		{"migration", "downgrade"},
		{"migration", "db-version"},
	} {
		code, _, stderr := f.run(t, args...)
		require.Equal(t, exitFailure, code, args)
		require.Equal(t, "duffy: the schema is newer than this program, which does not know the migration "+
			"29991231000000_events: use the program that made it, if only to downgrade\n", stderr, args)
	}
	l.more(t, 20)
	l.requireFlawless(t, d)
	for _, m := range members {
		require.Empty(t, m.lines("level=ERROR"))
		m.stop(t)
	}
}
