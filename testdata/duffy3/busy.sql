-- What is in the tables of a Duffy 3 that was stopped at its busiest, and left
-- nodes behind in every way that it does. Of its pools, "gone" is not configured
-- any more. API keys are version 5 UUIDs of the OID name space and the name.

INSERT INTO tenants (id, created_at, retired_at, name, is_admin, ssh_key, api_key, node_quota, session_lifetime, session_lifetime_max) VALUES
    (1, '2022-01-01', NULL, 'admin', true, 'ssh-ed25519 AAAA admin', '$2b$12$FREUMaZlhlM/B8EM34ZWGu7.4WagjzinEBURyZf/kOIHivTzjQ4I.', NULL, NULL, NULL),
    (2, '2022-01-02', NULL, 'tenant', false, E'ssh-ed25519 AAAA one@example.net\nssh-rsa BBBB two@example.net\n\n# the third\nssh-ed25519 CCCC three@example.net\n', '$2b$12$Rv86S/ciffmgMJMoHlY.POidz26i/dWIqXePGF6hlTrXxgofGL9T.', 40, '04:00:00', '1 day 12:00:00'),
    (3, '2022-01-03', '2026-01-01', 'retired', false, 'ssh-ed25519 AAAA retired', '$2b$12$8t0SMRqIIg55zfd9uuXX1OwL047f3mP9SPyGlKJ7ayXp0v4CN45ra', NULL, NULL, NULL);

INSERT INTO sessions (id, tenant_id, created_at, retired_at, expires_at, data) VALUES
    (1, 2, now() AT TIME ZONE 'utc', NULL, now() AT TIME ZONE 'utc' + '4 h', '{"nodes_specs": [{"quantity": 1, "pool": "thrown"}, {"quantity": 1, "pool": "reused"}]}'),
    -- Nobody was there to expire these two. Duffy 3 has the sessions of a retired
    -- tenant expire.
    (2, 2, '2026-01-01', NULL, '2026-01-01 04:00', '{"nodes_specs": [{"quantity": 1, "pool": "thrown"}]}'),
    (3, 3, '2026-01-01', NULL, '2026-01-01 00:30', '{"nodes_specs": [{"quantity": 1, "pool": "thrown"}]}'),
    -- Nobody got an answer about this one: its nodes are contextualizing.
    (4, 2, now() AT TIME ZONE 'utc', NULL, now() AT TIME ZONE 'utc' + '4 h', '{"nodes_specs": [{"quantity": 2, "pool": "thrown"}]}'),
    -- These are over.
    (5, 2, '2026-01-01', '2026-01-01 01:00', '2026-01-01 04:00', '{"nodes_specs": [{"quantity": 2, "pool": "thrown"}, {"quantity": 1, "pool": "reused"}]}'),
    (6, 2, '2026-01-01', '2026-01-01 01:00', '2026-01-01 04:00', '{"nodes_specs": [{"quantity": 1, "pool": "gone"}]}'),
    (7, 2, '2026-01-01', '2026-01-01 01:00', '2026-01-01 04:00', '{"nodes_specs": []}'),
    -- Both have the same node.
    (8, 2, now() AT TIME ZONE 'utc', NULL, now() AT TIME ZONE 'utc' + '4 h', '{"nodes_specs": [{"quantity": 1, "pool": "thrown"}]}'),
    (9, 1, now() AT TIME ZONE 'utc', NULL, now() AT TIME ZONE 'utc' + '4 h', '{"nodes_specs": [{"quantity": 1, "pool": "thrown"}]}'),
    (10, 2, now() AT TIME ZONE 'utc', NULL, now() AT TIME ZONE 'utc' + '4 h', '{"nodes_specs": [{"quantity": 1, "pool": "gone"}]}');

INSERT INTO nodes (id, hostname, ipaddr, state, pool, reusable, data, retired_at, comment) VALUES
    (1, 'node-1.test', '10.0.0.1', 'ready', 'thrown', false, '{"provision": {"ipaddr": "10.0.0.1"}}', NULL, NULL),
    (2, 'node-2.test', '10.0.0.2', 'ready', 'reused', true, '{"arch": "x86_64", "provision": {"ipaddr": "10.0.0.2"}}', NULL, 'rack 1'),
    -- In sessions that go on.
    (3, 'node-3.test', '10.0.0.3', 'deployed', 'thrown', false, '{"provision": {"ipaddr": "10.0.0.3"}, "nodes_spec": {"quantity": 1, "pool": "thrown"}}', NULL, NULL),
    (4, 'node-4.test', '10.0.0.4', 'deployed', 'reused', true, '{"arch": "x86_64", "provision": {"ipaddr": "10.0.0.4"}, "nodes_spec": {"quantity": 1, "pool": "reused"}}', NULL, NULL),
    (5, 'node-5.test', '10.0.0.5', 'deployed', 'thrown', false, '{"provision": {"ipaddr": "10.0.0.5"}}', NULL, NULL),
    (6, 'node-6.test', '10.0.0.6', 'deployed', 'gone', false, '{"provision": {"ipaddr": "10.0.0.6"}}', NULL, NULL),
    -- In sessions that have expired.
    (7, 'node-7.test', '10.0.0.7', 'deployed', 'thrown', false, '{"provision": {"ipaddr": "10.0.0.7"}}', NULL, NULL),
    (8, 'node-8.test', '10.0.0.8', 'deployed', 'thrown', false, '{"provision": {"ipaddr": "10.0.0.8"}}', NULL, NULL),
    -- Their session is over, and the task that was to take one back got lost; the
    -- session of the other is gone, as another node of it could not be contextualized.
    (9, 'node-9.test', '10.0.0.9', 'deployed', 'thrown', false, '{"provision": {"ipaddr": "10.0.0.9"}}', NULL, NULL),
    (10, 'node-10.test', '10.0.0.10', 'deployed', 'thrown', false, '{"provision": {"ipaddr": "10.0.0.10"}}', NULL, NULL),
    (11, 'node-11.test', '10.0.0.11', 'contextualizing', 'thrown', false, '{"provision": {"ipaddr": "10.0.0.11"}}', NULL, NULL),
    (12, 'node-12.test', '10.0.0.12', 'contextualizing', 'thrown', false, '{"provision": {"ipaddr": "10.0.0.12"}}', NULL, NULL),
    -- The pool is forgotten as deprovisioning begins.
    (13, 'node-13.test', '10.0.0.13', 'deprovisioning', NULL, false, '{"provision": {"ipaddr": "10.0.0.13"}}', NULL, NULL),
    (14, 'node-14.test', '10.0.0.14', 'deprovisioning', NULL, true, '{"arch": "x86_64", "provision": {"ipaddr": "10.0.0.14"}}', NULL, NULL),
    (15, 'node-15.test', '10.0.0.15', 'deprovisioning', NULL, false, '{"provision": {"ipaddr": "10.0.0.15"}}', NULL, NULL),
    (16, 'node-16.test', '10.0.0.16', 'deprovisioning', NULL, false, '{"provision": {"ipaddr": "10.0.0.16"}}', NULL, NULL),
    (17, NULL, NULL, 'provisioning', 'thrown', false, '{}', NULL, NULL),
    (18, NULL, NULL, 'provisioning', 'retried', false, '{}', NULL, NULL),
    (19, 'node-19.test', '10.0.0.19', 'provisioning', 'reused', true, '{"arch": "x86_64"}', NULL, NULL),
    (20, NULL, NULL, 'provisioning', 'gone', false, '{}', NULL, NULL),
    (21, 'node-21.test', '10.0.0.21', 'failed', 'thrown', false, '{"provision": {"ipaddr": "10.0.0.21"}, "error": {"failed_at": "2026-01-01T00:00:00", "detail": "contextualizing node failed"}}', NULL, NULL),
    (22, 'node-22.test', '10.0.0.22', 'failed', NULL, false, '{"provision": {"ipaddr": "10.0.0.22"}, "error": {"failed_at": "2026-01-01T00:00:00", "detail": "deprovisioning mechanism failed"}}', NULL, NULL),
    (23, 'node-23.test', '10.0.0.23', 'unused', NULL, true, '{"arch": "ppc64le"}', NULL, NULL),
    -- The machine has become node 1.
    (24, 'node-1.test', '10.0.0.1', 'done', NULL, false, '{"provision": {"ipaddr": "10.0.0.1"}}', '2026-01-01 02:00', NULL);

INSERT INTO sessions_nodes (session_id, node_id, pool, data) VALUES
    (1, 3, 'thrown', '{"provision": {"ipaddr": "10.0.0.3"}}'), (1, 4, 'reused', '{"arch": "x86_64", "provision": {"ipaddr": "10.0.0.4"}}'),
    (2, 7, 'thrown', '{}'), (3, 8, 'thrown', '{}'),
    (4, 11, 'thrown', '{}'), (4, 12, 'thrown', '{}'),
    (5, 9, 'thrown', '{}'), (5, 13, 'thrown', '{}'), (5, 14, 'gone', '{}'), (7, 14, 'reused', '{}'),
    (6, 15, 'gone', '{}'),
    (7, 22, 'thrown', '{}'), (7, 24, 'thrown', '{}'), (7, 4, 'reused', '{}'),
    (8, 5, 'thrown', '{}'), (9, 5, 'thrown', '{}'),
    (10, 6, 'gone', '{}');

SELECT setval('tenants_id_seq', 3), setval('sessions_id_seq', 10), setval('nodes_id_seq', 24);
