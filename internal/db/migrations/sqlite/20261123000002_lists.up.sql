-- Lists are read page by page, in the order of ids, whatever has been retired.
CREATE INDEX sessions_active_index ON sessions (id) WHERE retired_at IS NULL;
CREATE INDEX nodes_active_index ON nodes (id) WHERE retired_at IS NULL;
