-- An operator may have a node deprovisioned of whose machine nothing is known.
ALTER TABLE nodes ADD COLUMN forced BOOLEAN DEFAULT FALSE NOT NULL;

-- Leases are found by who has them, whatever state something else puts their nodes in.
CREATE INDEX nodes_lease_owner_index ON nodes (lease_owner) WHERE lease_owner IS NOT NULL;
