-- A node names the one session that holds it, and who works on it until when.

ALTER TABLE nodes ADD COLUMN session_id INTEGER
    CONSTRAINT nodes_session_id_sessions_fkey REFERENCES sessions (id) ON DELETE SET NULL;
ALTER TABLE nodes ADD COLUMN lease_owner TEXT;
ALTER TABLE nodes ADD COLUMN lease_until TIMESTAMP;
ALTER TABLE nodes ADD COLUMN retry_at TIMESTAMP;
ALTER TABLE nodes ADD COLUMN attempts INTEGER DEFAULT 0 NOT NULL;
ALTER TABLE nodes ADD COLUMN state_since TIMESTAMP;

UPDATE nodes
SET session_id = held.session_id
FROM (
    SELECT sn.node_id, max(sn.session_id) AS session_id
    FROM sessions_nodes AS sn
    JOIN sessions AS s ON s.id = sn.session_id
    WHERE s.retired_at IS NULL
    GROUP BY sn.node_id
) AS held
WHERE held.node_id = nodes.id
  AND nodes.state IN ('contextualizing', 'deployed')
  AND nodes.retired_at IS NULL;

-- Why a pool is not filled.
CREATE TABLE pools (
    name          TEXT NOT NULL,
    failures      INTEGER DEFAULT 0 NOT NULL,
    retry_at      TIMESTAMP,
    last_error    TEXT,
    last_error_at TIMESTAMP,
    CONSTRAINT pools_pkey PRIMARY KEY (name)
);

CREATE INDEX nodes_ready_index ON nodes (pool, id) WHERE state = 'ready' AND retired_at IS NULL;
CREATE INDEX nodes_pool_state_index ON nodes (pool, state) WHERE retired_at IS NULL;
CREATE INDEX nodes_session_id_index ON nodes (session_id) WHERE session_id IS NOT NULL;
CREATE INDEX sessions_active_tenant_index ON sessions (tenant_id, id) WHERE retired_at IS NULL;
CREATE INDEX sessions_expires_at_index ON sessions (expires_at) WHERE retired_at IS NULL;
CREATE INDEX sessions_nodes_node_id_index ON sessions_nodes (node_id);
