-- Tenants may have session lifetimes of their own. A database that Duffy 3 set
-- up but did not get to stamp has the columns already, so these steps mind it
-- not.

ALTER TABLE tenants
    ADD COLUMN IF NOT EXISTS session_lifetime interval,
    ADD COLUMN IF NOT EXISTS session_lifetime_max interval;
