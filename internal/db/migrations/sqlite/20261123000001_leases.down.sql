-- Duffy 3 reinstalls machines and keeps what it does not know: the host key that a node
-- had would no longer be its own.
UPDATE nodes SET data = json_remove(data, '$.ssh') WHERE retired_at IS NULL AND data LIKE '%"host_keys"%';

DROP INDEX sessions_nodes_node_id_index;
DROP INDEX sessions_expires_at_index;
DROP INDEX sessions_active_tenant_index;
DROP INDEX nodes_session_id_index;
DROP INDEX nodes_pool_state_index;
DROP INDEX nodes_ready_index;
DROP TABLE pools;

ALTER TABLE nodes DROP COLUMN session_id;
ALTER TABLE nodes DROP COLUMN lease_owner;
ALTER TABLE nodes DROP COLUMN lease_until;
ALTER TABLE nodes DROP COLUMN retry_at;
ALTER TABLE nodes DROP COLUMN attempts;
ALTER TABLE nodes DROP COLUMN state_since;
