-- What a Duffy 3 that was at work leaves: two sessions, one of them over.

INSERT INTO tenants (name, is_admin, ssh_key, api_key)
VALUES ('admin', true, 'ssh-ed25519 AAAA admin', '$2b$12$Jni5cDW7B.GYF3q9//jjwOOXj8k/QDMj7GA9SohyPtUJxqYz/dGr2');

INSERT INTO sessions (tenant_id, retired_at) VALUES (1, '2026-01-01'), (1, NULL);

INSERT INTO nodes (hostname, ipaddr, state, pool, retired_at, data) VALUES
    ('deployed', '192.0.2.1', 'deployed', 'p', NULL, '{"provision": {"id": 1}}'),
    ('contextualizing', '192.0.2.2', 'contextualizing', 'p', NULL, '{}'),
    ('deprovisioning', '192.0.2.3', 'deprovisioning', 'p', NULL, '{}'),
    ('ready', '192.0.2.4', 'ready', 'p', NULL, '{}'),
    ('done', '192.0.2.5', 'done', 'p', '2026-01-01', '{}');

INSERT INTO sessions_nodes (session_id, node_id, pool)
VALUES (1, 1, 'p'), (1, 5, 'p'), (2, 1, 'p'), (2, 2, 'p'), (1, 3, 'p'), (1, 4, 'p');
