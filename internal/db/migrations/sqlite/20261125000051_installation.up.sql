-- Which Duffy this is: machines that it makes are named after it, so that those of
-- several Duffys on one cloud can be told apart. An id has letters only, since a text
-- of digits is a number in YAML, and maybe in a playbook.
CREATE TABLE installation (
    id        TEXT DEFAULT (
        replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(lower(hex(randomblob(4))),
        '0', 'g'), '1', 'h'), '2', 'i'), '3', 'j'), '4', 'k'), '5', 'l'), '6', 'm'), '7', 'n'), '8', 'o'), '9', 'p')
    ) NOT NULL,
    singleton BOOLEAN DEFAULT true NOT NULL,
    CONSTRAINT installation_pkey PRIMARY KEY (singleton),
    CONSTRAINT installation_singleton_check CHECK (singleton)
);

INSERT INTO installation DEFAULT VALUES;
