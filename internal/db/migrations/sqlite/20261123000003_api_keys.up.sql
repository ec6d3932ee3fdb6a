-- The API keys of a tenant. Its primary key is the one whose bcrypt hash is in
-- tenants.api_key; the row beside it is worthless as soon as stands_for is no
-- longer what is there. hash is the SHA-256 of salt and key, NULL for keys that
-- may be guessed.
CREATE TABLE api_keys (
    id           INTEGER NOT NULL,
    tenant_id    INTEGER NOT NULL,
    name         TEXT NOT NULL,
    stands_for   TEXT,
    salt         BLOB,
    hash         BLOB,
    scope        TEXT DEFAULT 'full' NOT NULL,
    created_at   TIMESTAMP,
    expires_at   TIMESTAMP,
    last_used_at TIMESTAMP,
    retired_at   TIMESTAMP,
    CONSTRAINT api_keys_pkey PRIMARY KEY (id),
    CONSTRAINT api_keys_tenant_id_tenants_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE
);

CREATE UNIQUE INDEX api_keys_active_name_index ON api_keys (tenant_id, name) WHERE retired_at IS NULL;
