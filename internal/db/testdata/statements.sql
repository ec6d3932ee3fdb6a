-- What Duffy 3 sends to its database, as SQLAlchemy logs it, over the life of
-- nodes and sessions. Each statement ends with its line.

INSERT INTO tenants (retired_at, name, is_admin, ssh_key, api_key, node_quota, session_lifetime, session_lifetime_max) VALUES (NULL, 'team', false, E'one\ntwo', '$2b$12$abc', NULL, '4 hours', NULL) RETURNING tenants.created_at, tenants.id;
UPDATE tenants SET ssh_key='other', node_quota=5 WHERE tenants.id = 1;
SELECT tenants.created_at, tenants.retired_at, tenants.id, tenants.name, tenants.is_admin, tenants.ssh_key, tenants.api_key, tenants.node_quota, tenants.session_lifetime, tenants.session_lifetime_max FROM tenants WHERE tenants.name = 'team';

-- An administrator adds a node.
INSERT INTO nodes (retired_at, hostname, ipaddr, state, comment, pool, reusable, data) VALUES (NULL, 'm1', '192.0.2.1', 'unused', NULL, NULL, true, '{"arch": "x86_64"}') RETURNING nodes.id;
SELECT nodes.created_at, nodes.retired_at, nodes.id, nodes.hostname, nodes.ipaddr, nodes.state, nodes.comment, nodes.pool, nodes.reusable, nodes.data FROM nodes WHERE nodes.id = 1;

-- Pools are filled. One node cannot be made.
SELECT count(*) AS count_1 FROM (SELECT nodes.created_at AS created_at, nodes.retired_at AS retired_at, nodes.id AS id, nodes.hostname AS hostname, nodes.ipaddr AS ipaddr, nodes.state AS state, nodes.comment AS comment, nodes.pool AS pool, nodes.reusable AS reusable, nodes.data AS data FROM nodes WHERE (nodes.retired_at IS NULL) = true AND nodes.pool = 'p' AND nodes.state IN ('ready', 'provisioning')) AS anon_1;
INSERT INTO nodes (retired_at, hostname, ipaddr, state, comment, pool, reusable, data) VALUES (NULL, NULL, NULL, 'provisioning', NULL, 'p', false, '{}') RETURNING nodes.id;
INSERT INTO nodes (retired_at, hostname, ipaddr, state, comment, pool, reusable, data) VALUES (NULL, NULL, NULL, 'provisioning', NULL, 'p', false, '{}') RETURNING nodes.id;
INSERT INTO nodes (retired_at, hostname, ipaddr, state, comment, pool, reusable, data) VALUES (NULL, NULL, NULL, 'provisioning', NULL, 'p', false, '{}') RETURNING nodes.id;
SELECT nodes.created_at, nodes.retired_at, nodes.id, nodes.hostname, nodes.ipaddr, nodes.state, nodes.comment, nodes.pool, nodes.reusable, nodes.data FROM nodes WHERE (nodes.retired_at IS NULL) = true AND nodes.pool IS NULL AND nodes.reusable = true AND nodes.state = 'unused' AND CAST((nodes.data ->> 'arch') AS VARCHAR) = 'x86_64' LIMIT 1;
UPDATE nodes SET state='provisioning', pool='reused' WHERE nodes.id = 1;
UPDATE nodes SET hostname='m1', ipaddr='192.0.2.1', state='ready', data='{"arch": "x86_64", "provision": {"ipaddr": "192.0.2.1"}}' WHERE nodes.id = 1;
UPDATE nodes SET hostname='n2', ipaddr='192.0.2.2', state='ready', data='{"provision": {"ipaddr": "192.0.2.2"}}' WHERE nodes.id = 2;
UPDATE nodes SET hostname='n3', ipaddr='192.0.2.3', state='ready', data='{"provision": {"ipaddr": "192.0.2.3"}}' WHERE nodes.id = 3;
DELETE FROM nodes WHERE nodes.id = 4;

-- A session is handed out.
SELECT count(*) AS count_1 FROM sessions_nodes JOIN sessions ON sessions.id = sessions_nodes.session_id JOIN nodes ON nodes.id = sessions_nodes.node_id WHERE (sessions.retired_at IS NULL) = true AND 1 = sessions.tenant_id;
INSERT INTO sessions (retired_at, tenant_id, expires_at, data) VALUES (NULL, 1, '2026-01-01 04:00', '{"nodes_specs": [{"quantity": 1, "pool": "p"}]}') RETURNING sessions.created_at, sessions.id;
SELECT nodes.created_at, nodes.retired_at, nodes.id, nodes.hostname, nodes.ipaddr, nodes.state, nodes.comment, nodes.pool, nodes.reusable, nodes.data FROM nodes WHERE (nodes.retired_at IS NULL) = true AND nodes.state = 'ready' AND nodes.pool = 'p' LIMIT 1 FOR UPDATE;
UPDATE nodes SET state='contextualizing', data='{"provision": {"ipaddr": "192.0.2.2"}, "nodes_spec": {"quantity": 1, "pool": "p"}}' WHERE nodes.id = 2;
UPDATE nodes SET state='contextualizing' WHERE nodes.id = 1;
INSERT INTO sessions_nodes (session_id, node_id, pool, data) VALUES (1, 2, 'p', '{"provision": {"ipaddr": "192.0.2.2"}}');
INSERT INTO sessions_nodes (session_id, node_id, pool, data) VALUES (1, 1, 'reused', '{}');
UPDATE nodes SET state='deployed' WHERE nodes.id = 2;
UPDATE nodes SET state='deployed' WHERE nodes.id = 1;
SELECT sessions_nodes.session_id AS sessions_nodes_session_id, sessions_nodes.node_id AS sessions_nodes_node_id, sessions_nodes.pool AS sessions_nodes_pool, sessions_nodes.data AS sessions_nodes_data FROM sessions_nodes WHERE 1 = sessions_nodes.session_id;

-- One cannot be contextualized.
INSERT INTO sessions (retired_at, tenant_id, expires_at, data) VALUES (NULL, 1, '2026-01-01 04:00', '{}') RETURNING sessions.created_at, sessions.id;
UPDATE nodes SET state='deployed' WHERE nodes.id = 3;
INSERT INTO sessions_nodes (session_id, node_id, pool, data) VALUES (2, 3, 'p', '{}');
DELETE FROM sessions_nodes WHERE sessions_nodes.session_id = 2;
DELETE FROM sessions WHERE sessions.id = 2;
UPDATE nodes SET state='failed', data='{"error": {"failed_at": "2026-01-01T00:00:00", "detail": "contextualizing node failed"}}' WHERE nodes.id = 3;

-- The session expires.
SELECT sessions.created_at, sessions.retired_at, sessions.id, sessions.tenant_id, sessions.expires_at, sessions.data FROM sessions WHERE (sessions.retired_at IS NULL) = true AND sessions.expires_at < '2026-01-01 05:00';
UPDATE sessions SET retired_at='2026-01-01 05:00' WHERE sessions.id = 1;
SELECT nodes.created_at, nodes.retired_at, nodes.id, nodes.hostname, nodes.ipaddr, nodes.state, nodes.comment, nodes.pool, nodes.reusable, nodes.data FROM nodes WHERE (nodes.retired_at IS NULL) = true AND nodes.id IN (1, 2) AND (nodes.state NOT IN ('deprovisioning', 'failed', 'done')) ORDER BY id;
UPDATE nodes SET state='deprovisioning', pool=NULL WHERE nodes.id = 1;
UPDATE nodes SET state='deprovisioning', pool=NULL WHERE nodes.id = 2;
UPDATE nodes SET state='unused', data='{"arch": "x86_64"}' WHERE nodes.id = 1;
UPDATE nodes SET retired_at='2026-01-01 05:00', state='done' WHERE nodes.id = 2;
SELECT nodes.created_at, nodes.retired_at, nodes.id, nodes.hostname, nodes.ipaddr, nodes.state, nodes.comment, nodes.pool, nodes.reusable, nodes.data FROM nodes ORDER BY id;
SELECT sessions.created_at, sessions.retired_at, sessions.id, sessions.tenant_id, sessions.expires_at, sessions.data FROM sessions;
