-- Which Duffy this is: machines that it makes are named after it, so that those of
-- several Duffys on one cloud can be told apart. An id has letters only, since a text
-- of digits is a number in YAML, and maybe in a playbook.
CREATE TABLE installation (
    id        text DEFAULT translate(left(md5(gen_random_uuid()::text), 8), '0123456789', 'ghijklmnop') NOT NULL,
    singleton boolean DEFAULT true NOT NULL,
    CONSTRAINT installation_pkey PRIMARY KEY (singleton),
    CONSTRAINT installation_singleton_check CHECK (singleton)
);

INSERT INTO installation DEFAULT VALUES;
