-- What tells whether the database takes writes. Rows are removed by the transaction
-- that inserts them.
CREATE TABLE write_probes (
    name text NOT NULL
);
