package db_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
)

// TestSilentClients has PostgreSQL end transactions of a client that is stopped,
// which would hold up all others, unless it is told when.
func TestSilentClients(t *testing.T) {
	t.Parallel()
	url := dbtest.PostgresURL(t)
	for given, want := range map[string]string{
		url: "20s",
		url + "&options=-c%20idle_in_transaction_session_timeout%3D3min": "3min",
	} {
		d, err := db.Open(t.Context(), given, db.Config{})
		require.NoError(t, err)
		defer d.Close()
		var limit string
		require.NoError(t, d.QueryRowContext(t.Context(), "SHOW idle_in_transaction_session_timeout").Scan(&limit))
		require.Equal(t, want, limit)
		require.NoError(t, d.QueryRowContext(t.Context(), "SHOW lock_timeout").Scan(&limit))
		require.Equal(t, "25s", limit, "who is stopped holds a lock for less")
	}
}
