-- What takes a Duffy 3 database back from revision 6654d536b836.

DROP INDEX sessions_nodes_session_id_index;
DROP INDEX nodes_state_index;
UPDATE alembic_version SET version_num = '36cf064c0481';
