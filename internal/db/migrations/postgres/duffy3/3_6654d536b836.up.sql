-- Nodes are found by state, the nodes of a session by the session.

CREATE INDEX IF NOT EXISTS nodes_state_index ON nodes (state);
CREATE INDEX IF NOT EXISTS sessions_nodes_session_id_index ON sessions_nodes (session_id);
