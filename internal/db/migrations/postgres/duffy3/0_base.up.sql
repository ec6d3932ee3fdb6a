-- The tables of Duffy 3 as they were before its first migration.

CREATE TYPE node_state_enum AS ENUM (
    'unused', 'provisioning', 'ready', 'contextualizing', 'deployed', 'deprovisioning', 'done', 'failed'
);

CREATE TABLE tenants (
    created_at timestamp without time zone DEFAULT (now() AT TIME ZONE 'utc') NOT NULL,
    retired_at timestamp without time zone,
    id         serial NOT NULL,
    name       text NOT NULL,
    is_admin   boolean DEFAULT false NOT NULL,
    ssh_key    text NOT NULL,
    api_key    text NOT NULL,
    node_quota integer,
    CONSTRAINT tenants_pkey PRIMARY KEY (id),
    CONSTRAINT tenants_name_key UNIQUE (name)
);

CREATE TABLE nodes (
    created_at timestamp without time zone DEFAULT (now() AT TIME ZONE 'utc') NOT NULL,
    retired_at timestamp without time zone,
    id         serial NOT NULL,
    hostname   text,
    ipaddr     text,
    state      node_state_enum DEFAULT 'unused' NOT NULL,
    comment    text,
    pool       text,
    reusable   boolean DEFAULT false NOT NULL,
    data       json DEFAULT '{}' NOT NULL,
    CONSTRAINT nodes_pkey PRIMARY KEY (id)
);

CREATE UNIQUE INDEX active_hostname_index ON nodes (hostname) WHERE retired_at IS NULL AND state <> 'provisioning';
CREATE UNIQUE INDEX active_ipaddr_index ON nodes (ipaddr) WHERE retired_at IS NULL AND state <> 'provisioning';
CREATE INDEX nodes_pool_index ON nodes (pool);

CREATE TABLE sessions (
    created_at timestamp without time zone DEFAULT (now() AT TIME ZONE 'utc') NOT NULL,
    retired_at timestamp without time zone,
    id         serial NOT NULL,
    tenant_id  integer NOT NULL,
    expires_at timestamp without time zone,
    data       json DEFAULT '{}' NOT NULL,
    CONSTRAINT sessions_pkey PRIMARY KEY (id),
    CONSTRAINT sessions_tenant_id_tenants_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id)
);

CREATE TABLE sessions_nodes (
    session_id integer NOT NULL,
    node_id    integer NOT NULL,
    pool       text NOT NULL,
    data       json DEFAULT '{}' NOT NULL,
    CONSTRAINT sessions_nodes_pkey PRIMARY KEY (session_id, node_id),
    CONSTRAINT sessions_nodes_session_id_sessions_fkey FOREIGN KEY (session_id) REFERENCES sessions (id),
    CONSTRAINT sessions_nodes_node_id_nodes_fkey FOREIGN KEY (node_id) REFERENCES nodes (id)
);

CREATE INDEX sessions_nodes_pool_index ON sessions_nodes (pool);
