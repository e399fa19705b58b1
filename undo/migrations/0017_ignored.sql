-- Columns that change by themselves, for all undos: whoever changed them is in nobody's way.
CREATE TABLE hotrollback.ignored (
    relid oid NOT NULL,
    name text NOT NULL,
    by text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    reason text,
    PRIMARY KEY (relid, name)
);
