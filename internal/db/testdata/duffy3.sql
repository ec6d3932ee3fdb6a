-- The PostgreSQL schema of Duffy 3 at its last revision, as pg_dump writes it.

CREATE TYPE node_state_enum AS ENUM (
    'unused',
    'provisioning',
    'ready',
    'contextualizing',
    'deployed',
    'deprovisioning',
    'done',
    'failed'
);

CREATE TABLE alembic_version (
    version_num character varying(32) NOT NULL
);

CREATE TABLE nodes (
    created_at timestamp without time zone DEFAULT (now() AT TIME ZONE 'utc'::text) NOT NULL,
    retired_at timestamp without time zone,
    id integer NOT NULL,
    hostname text,
    ipaddr text,
    state node_state_enum DEFAULT 'unused'::node_state_enum NOT NULL,
    comment text,
    pool text,
    reusable boolean DEFAULT false NOT NULL,
    data json DEFAULT '{}'::json NOT NULL
);

CREATE SEQUENCE nodes_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE nodes_id_seq OWNED BY nodes.id;

CREATE TABLE sessions (
    created_at timestamp without time zone DEFAULT (now() AT TIME ZONE 'utc'::text) NOT NULL,
    retired_at timestamp without time zone,
    id integer NOT NULL,
    tenant_id integer NOT NULL,
    expires_at timestamp without time zone,
    data json DEFAULT '{}'::json NOT NULL
);

CREATE SEQUENCE sessions_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE sessions_id_seq OWNED BY sessions.id;

CREATE TABLE sessions_nodes (
    session_id integer NOT NULL,
    node_id integer NOT NULL,
    pool text NOT NULL,
    data json DEFAULT '{}'::json NOT NULL
);

CREATE TABLE tenants (
    created_at timestamp without time zone DEFAULT (now() AT TIME ZONE 'utc'::text) NOT NULL,
    retired_at timestamp without time zone,
    id integer NOT NULL,
    name text NOT NULL,
    is_admin boolean DEFAULT false NOT NULL,
    ssh_key text NOT NULL,
    api_key text NOT NULL,
    node_quota integer,
    session_lifetime interval,
    session_lifetime_max interval
);

CREATE SEQUENCE tenants_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE tenants_id_seq OWNED BY tenants.id;

ALTER TABLE ONLY nodes ALTER COLUMN id SET DEFAULT nextval('nodes_id_seq'::regclass);

ALTER TABLE ONLY sessions ALTER COLUMN id SET DEFAULT nextval('sessions_id_seq'::regclass);

ALTER TABLE ONLY tenants ALTER COLUMN id SET DEFAULT nextval('tenants_id_seq'::regclass);

ALTER TABLE ONLY alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);

ALTER TABLE ONLY nodes
    ADD CONSTRAINT nodes_pkey PRIMARY KEY (id);

ALTER TABLE ONLY sessions_nodes
    ADD CONSTRAINT sessions_nodes_pkey PRIMARY KEY (session_id, node_id);

ALTER TABLE ONLY sessions
    ADD CONSTRAINT sessions_pkey PRIMARY KEY (id);

ALTER TABLE ONLY tenants
    ADD CONSTRAINT tenants_name_key UNIQUE (name);

ALTER TABLE ONLY tenants
    ADD CONSTRAINT tenants_pkey PRIMARY KEY (id);

CREATE UNIQUE INDEX active_hostname_index ON nodes USING btree (hostname) WHERE ((retired_at IS NULL) AND (state <> 'provisioning'::node_state_enum) AND (state <> 'failed'::node_state_enum));

CREATE UNIQUE INDEX active_ipaddr_index ON nodes USING btree (ipaddr) WHERE ((retired_at IS NULL) AND (state <> 'provisioning'::node_state_enum) AND (state <> 'failed'::node_state_enum));

CREATE INDEX nodes_pool_index ON nodes USING btree (pool);

CREATE INDEX nodes_state_index ON nodes USING btree (state);

CREATE INDEX sessions_nodes_pool_index ON sessions_nodes USING btree (pool);

CREATE INDEX sessions_nodes_session_id_index ON sessions_nodes USING btree (session_id);

ALTER TABLE ONLY sessions_nodes
    ADD CONSTRAINT sessions_nodes_node_id_nodes_fkey FOREIGN KEY (node_id) REFERENCES nodes(id);

ALTER TABLE ONLY sessions_nodes
    ADD CONSTRAINT sessions_nodes_session_id_sessions_fkey FOREIGN KEY (session_id) REFERENCES sessions(id);

ALTER TABLE ONLY sessions
    ADD CONSTRAINT sessions_tenant_id_tenants_fkey FOREIGN KEY (tenant_id) REFERENCES tenants(id);

INSERT INTO alembic_version (version_num) VALUES ('6654d536b836');
