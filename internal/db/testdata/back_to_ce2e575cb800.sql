-- What takes a Duffy 3 database back from revision 36cf064c0481.

DROP INDEX active_hostname_index;
CREATE UNIQUE INDEX active_hostname_index ON nodes (hostname)
    WHERE retired_at IS NULL AND state <> 'provisioning'::node_state_enum;
DROP INDEX active_ipaddr_index;
CREATE UNIQUE INDEX active_ipaddr_index ON nodes (ipaddr)
    WHERE retired_at IS NULL AND state <> 'provisioning'::node_state_enum;
UPDATE alembic_version SET version_num = 'ce2e575cb800';
