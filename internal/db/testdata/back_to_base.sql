-- What takes a Duffy 3 database back from revision ce2e575cb800, its first.

ALTER TABLE tenants DROP COLUMN session_lifetime_max;
ALTER TABLE tenants DROP COLUMN session_lifetime;
DELETE FROM alembic_version;
