DROP INDEX nodes_lease_owner_index;
ALTER TABLE nodes DROP COLUMN forced;
