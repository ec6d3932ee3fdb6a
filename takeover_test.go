package duffy_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy"
	"github.com/duffy-ci/duffy/backend/fake"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/pool"
)

// TestTakeOver has Duffy go on where a busy Duffy 3 was stopped, then Duffy 3
// where Duffy was, and Duffy once more.
func TestTakeOver(t *testing.T) {
	t.Parallel()
	o := newTakeOver(t)
	duffy3 := o.schema()
	require.ErrorContains(t, o.duffy.Check(t.Context()), "run duffy migration upgrade")
	o.upgrade()
	o.tenantsRemain()

	stop := o.work()
	o.eventually(map[pool.State][]int64{
		pool.Ready:    {1, 2, 18, 19},
		pool.Deployed: {3, 4, 5, 6},
		pool.Done:     {7, 8, 9, 10, 11, 12, 13, 24},
		pool.Unused:   {14, 23},
		pool.Failed:   {15, 16, 17, 20, 21, 22},
	})
	for id, reason := range map[int64]string{
		15: "deprovisioning failed: pool 'gone' not found",
		16: "deprovisioning failed: it is not known which pool the node is of",
		17: "provisioning was interrupted, an instance of it may exist: its worker is gone",
		20: "provisioning was interrupted, an instance of it may exist: its worker is gone",
		21: "contextualizing node failed",
		22: "deprovisioning mechanism failed",
	} {
		require.Equal(t, reason, o.node(id).Data["error"].(map[string]any)["detail"], id)
	}
	require.Equal(t, "gone", o.node(15).Pool)
	require.Equal(t, "thrown", o.node(22).Pool)
	require.Equal(t, []int64{1, 8, 9, 10}, o.activeSessions())
	o.accounted()

	o.retire(1)
	o.expire(9)
	o.retire(10)
	o.eventually(map[pool.State][]int64{pool.Done: {3, 5}, pool.Unused: {4}, pool.Failed: {6}})
	o.accounted()

	// This is not finished when Duffy 3 takes over.
	o.request(2, "reused")
	o.machines.Inject(fake.Fault{In: fake.Deprovision, Err: fake.ErrUnreachable})
	o.retire(11)
	o.eventually(map[pool.State][]int64{pool.Deprovisioning: {2}})
	stop()
	from, to, err := o.duffy.Downgrade(t.Context(), "6654d536b836")
	require.NoError(t, err)
	require.True(t, from.Head)
	require.Equal(t, duffy.Revision{Duffy3: "6654d536b836"}, to)
	require.Equal(t, duffy3, o.schema(), "nothing of ours is left")
	require.Equal(t, "reused", o.pool(2))

	o.exec(`UPDATE nodes SET state = 'deployed' WHERE id IN (1, 18);
		INSERT INTO sessions (id, tenant_id) VALUES (12, 2), (13, 2);
		INSERT INTO sessions_nodes (session_id, node_id, pool) VALUES (12, 1, 'thrown'), (13, 18, 'retried');
		UPDATE sessions SET retired_at = now() AT TIME ZONE 'utc' WHERE id = 12;
		UPDATE nodes SET state = 'deprovisioning', pool = NULL WHERE id = 1`)
	o.upgrade()
	o.machines.Heal()
	stop = o.work()
	o.eventually(map[pool.State][]int64{pool.Done: {1}, pool.Unused: {2}, pool.Deployed: {18}})
	o.retire(13)
	o.eventually(map[pool.State][]int64{pool.Done: {18}})
	stop()
	o.accounted()
}

// TestUpgradeRefuses has a mistaken URL told.
func TestUpgradeRefuses(t *testing.T) {
	t.Parallel()
	d, err := duffy.New(t.Context(), duffy.Config{Database: dbtest.PostgresURL(t)}, duffy.Options{})
	require.NoError(t, err)
	defer d.Close()
	for _, sql := range []string{
		"SELECT 1",
		"CREATE TABLE oc_users (uid text)",
		"CREATE TABLE alembic_version (version_num text); INSERT INTO alembic_version VALUES ('f00')",
		"DROP TABLE alembic_version; CREATE TABLE nodes (id integer)",
	} {
		_, err := d.DB().ExecContext(t.Context(), sql)
		require.NoError(t, err)
		_, _, err = d.Upgrade(t.Context(), "head")
		require.Regexp(t, "check its URL|use a database or schema of Duffy's own", err, sql)
	}
}
