-- The tables of Duffy 3 as they are on PostgreSQL after its last migration. Times
-- are UTC and written as bun writes them, so that they compare as text.

CREATE TABLE tenants (
    created_at           TIMESTAMP DEFAULT (strftime('%Y-%m-%d %H:%M:%f+00:00', 'now')) NOT NULL,
    retired_at           TIMESTAMP,
    id                   INTEGER PRIMARY KEY AUTOINCREMENT,
    name                 TEXT NOT NULL,
    is_admin             BOOLEAN DEFAULT FALSE NOT NULL,
    ssh_key              TEXT NOT NULL,
    api_key              TEXT NOT NULL,
    node_quota           INTEGER,
    session_lifetime     TEXT,
    session_lifetime_max TEXT,
    CONSTRAINT tenants_name_key UNIQUE (name)
);

CREATE TABLE nodes (
    created_at TIMESTAMP DEFAULT (strftime('%Y-%m-%d %H:%M:%f+00:00', 'now')) NOT NULL,
    retired_at TIMESTAMP,
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    hostname   TEXT,
    ipaddr     TEXT,
    state      TEXT DEFAULT 'unused' NOT NULL,
    comment    TEXT,
    pool       TEXT,
    reusable   BOOLEAN DEFAULT FALSE NOT NULL,
    data       TEXT DEFAULT '{}' NOT NULL,
    CONSTRAINT node_state_enum CHECK (state IN (
        'unused', 'provisioning', 'ready', 'contextualizing', 'deployed', 'deprovisioning', 'done', 'failed'
    )),
    CONSTRAINT nodes_data_check CHECK (json_valid(data))
);

CREATE UNIQUE INDEX active_hostname_index ON nodes (hostname)
    WHERE retired_at IS NULL AND state <> 'provisioning' AND state <> 'failed';
CREATE UNIQUE INDEX active_ipaddr_index ON nodes (ipaddr)
    WHERE retired_at IS NULL AND state <> 'provisioning' AND state <> 'failed';
CREATE INDEX nodes_pool_index ON nodes (pool);
CREATE INDEX nodes_state_index ON nodes (state);

CREATE TABLE sessions (
    created_at TIMESTAMP DEFAULT (strftime('%Y-%m-%d %H:%M:%f+00:00', 'now')) NOT NULL,
    retired_at TIMESTAMP,
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant_id  INTEGER NOT NULL,
    expires_at TIMESTAMP,
    data       TEXT DEFAULT '{}' NOT NULL,
    CONSTRAINT sessions_tenant_id_tenants_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT sessions_data_check CHECK (json_valid(data))
);

CREATE TABLE sessions_nodes (
    session_id INTEGER NOT NULL,
    node_id    INTEGER NOT NULL,
    pool       TEXT NOT NULL,
    data       TEXT DEFAULT '{}' NOT NULL,
    CONSTRAINT sessions_nodes_pkey PRIMARY KEY (session_id, node_id),
    CONSTRAINT sessions_nodes_session_id_sessions_fkey FOREIGN KEY (session_id) REFERENCES sessions (id),
    CONSTRAINT sessions_nodes_node_id_nodes_fkey FOREIGN KEY (node_id) REFERENCES nodes (id),
    CONSTRAINT sessions_nodes_data_check CHECK (json_valid(data))
);

CREATE INDEX sessions_nodes_pool_index ON sessions_nodes (pool);
CREATE INDEX sessions_nodes_session_id_index ON sessions_nodes (session_id);
