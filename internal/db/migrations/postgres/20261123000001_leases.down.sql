-- Duffy 3 reinstalls machines and keeps what it does not know: the host key that a node
-- had would no longer be its own.
UPDATE nodes SET data = (data::jsonb - 'ssh')::json WHERE retired_at IS NULL AND data::text LIKE '%"host_keys"%';

DROP INDEX sessions_nodes_node_id_index;
DROP INDEX sessions_expires_at_index;
DROP INDEX sessions_active_tenant_index;
DROP INDEX nodes_pool_state_index;
DROP INDEX nodes_ready_index;
DROP TABLE pools;

ALTER TABLE nodes
    DROP COLUMN session_id,
    DROP COLUMN lease_owner,
    DROP COLUMN lease_until,
    DROP COLUMN retry_at,
    DROP COLUMN attempts,
    DROP COLUMN state_since;

ALTER TABLE nodes RESET (fillfactor, autovacuum_vacuum_scale_factor, autovacuum_analyze_scale_factor);
