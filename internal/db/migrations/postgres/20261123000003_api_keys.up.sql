-- The API keys of a tenant. Its primary key is the one whose bcrypt hash is in
-- tenants.api_key; the row beside it is worthless as soon as stands_for is no
-- longer what is there. hash is the SHA-256 of salt and key, NULL for keys that
-- may be guessed.
CREATE TABLE api_keys (
    id           serial NOT NULL,
    tenant_id    integer NOT NULL,
    name         text NOT NULL,
    stands_for   text,
    salt         bytea,
    hash         bytea,
    scope        text DEFAULT 'full' NOT NULL,
    created_at   timestamp without time zone,
    expires_at   timestamp without time zone,
    last_used_at timestamp without time zone,
    retired_at   timestamp without time zone,
    CONSTRAINT api_keys_pkey PRIMARY KEY (id),
    CONSTRAINT api_keys_tenant_id_tenants_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE
);

CREATE UNIQUE INDEX api_keys_active_name_index ON api_keys (tenant_id, name) WHERE retired_at IS NULL;
