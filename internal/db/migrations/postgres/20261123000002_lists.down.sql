DROP INDEX nodes_active_index;
DROP INDEX sessions_active_index;
