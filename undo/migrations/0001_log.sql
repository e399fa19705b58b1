-- The log: what was written, by whom, and what could not be recorded.
-- Run in one transaction with search_path = pg_catalog; names resolve once, here, and are kept by oid.

CREATE SCHEMA IF NOT EXISTS hotrollback;
GRANT USAGE ON SCHEMA hotrollback TO PUBLIC;
COMMENT ON SCHEMA hotrollback IS 'Undo log of Hot Rollback. Leave it out of dumps with pg_dump -N ''hotrollback*''.';

-- The cluster and database that the log belongs to: oids, xids and LSNs mean nothing elsewhere.
CREATE TABLE hotrollback.meta (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    system_identifier bigint NOT NULL,
    database oid NOT NULL,
    version integer NOT NULL,
    installed timestamptz NOT NULL DEFAULT now()
);

-- Who wrote is said by defaults alone; nobody but the owner may give those columns.
CREATE TABLE hotrollback.change (
    lsn pg_lsn NOT NULL DEFAULT pg_current_wal_insert_lsn(),
    xid bigint NOT NULL DEFAULT (pg_current_xact_id()::text::bigint),
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    old_tid tid,
    new_tid tid,
    pid integer NOT NULL DEFAULT pg_backend_pid(),
    role oid NOT NULL DEFAULT (quote_ident(current_user)::regrole::oid),
    login oid NOT NULL DEFAULT (quote_ident(session_user)::regrole::oid),
    relid oid NOT NULL,
    new_relid oid,
    key integer,
    fingerprint bigint DEFAULT (nullif(current_setting('hotrollback.statement', true), '')::bigint),
    op "char" NOT NULL,
    -- True: the schema changed between the look at the table that this image rests on and the write.
    -- The row was written, but a column may be missing from the image, or be kept in another form;
    -- and a trigger attached meanwhile may have recorded it once more (same xid, relid, op and tids,
    -- not stale). Without such a twin it is to be treated as a gap, `stale_catalog`. NULL: exact.
    stale boolean,
    tag text DEFAULT (nullif(current_setting('hotrollback.tag', true), '')),
    before json,
    after json
) PARTITION BY RANGE (at);
GRANT INSERT (old_tid, new_tid, relid, new_relid, key, fingerprint, op, stale, before, after)
    ON hotrollback.change TO PUBLIC;

CREATE INDEX change_when ON hotrollback.change
    USING brin (at, lsn, xid) WITH (pages_per_range = 32, autosummarize = on);
-- Of keys a range has nearly as many as rows: with a smaller filter one row's history would be
-- looked for in a quarter of the log.
CREATE INDEX change_who ON hotrollback.change
    USING brin (tag text_bloom_ops, pid int4_bloom_ops,
                key int4_bloom_ops (n_distinct_per_range = 2048, false_positive_rate = 0.001))
    WITH (pages_per_range = 32, autosummarize = on);

-- A write that is not in hotrollback.change, or not exactly.
CREATE TABLE hotrollback.gap (
    lsn pg_lsn NOT NULL DEFAULT pg_current_wal_insert_lsn(),
    xid bigint NOT NULL DEFAULT (pg_current_xact_id()::text::bigint),
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    pid integer NOT NULL DEFAULT pg_backend_pid(),
    role oid NOT NULL DEFAULT (quote_ident(current_user)::regrole::oid),
    login oid NOT NULL DEFAULT (quote_ident(session_user)::regrole::oid),
    tag text DEFAULT (nullif(current_setting('hotrollback.tag', true), '')),
    fingerprint bigint,
    relid oid,
    reason text NOT NULL,
    statement text,
    apart boolean -- kept by the proxy's own connection: the tag and the xid are not the writer's
);
GRANT INSERT (fingerprint, relid, reason, statement) ON hotrollback.gap TO PUBLIC;
CREATE INDEX gap_xid ON hotrollback.gap (xid);
CREATE INDEX gap_at ON hotrollback.gap (at);

-- A session is (pid, started); a pid alone is used again.
CREATE TABLE hotrollback.session (
    pid integer NOT NULL,
    started timestamptz NOT NULL,
    ended timestamptz,
    role text NOT NULL,
    application_name text,
    client_addr text,
    proxy text NOT NULL,
    PRIMARY KEY (pid, started)
);

-- The text of a statement, once per fingerprint.
CREATE TABLE hotrollback.statement (
    fingerprint bigint PRIMARY KEY,
    text text NOT NULL,
    seen timestamptz NOT NULL DEFAULT now()
);

-- The names that belonged to an oid, so that a dropped table can still be named.
CREATE TABLE hotrollback.relation (
    relid oid NOT NULL,
    name text NOT NULL,
    seen timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (relid, name)
);

CREATE TABLE hotrollback.restore_point (
    name text PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    lsn pg_lsn NOT NULL DEFAULT pg_current_wal_insert_lsn(),
    snapshot pg_snapshot NOT NULL DEFAULT pg_current_snapshot()
);

-- An undo, or the redo of one. Its own writes are in hotrollback.change under its xid.
CREATE TABLE hotrollback.undo (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    xid bigint NOT NULL DEFAULT (pg_current_xact_id()::text::bigint),
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    by text NOT NULL,
    redo_of bigint REFERENCES hotrollback.undo,
    redone_by bigint REFERENCES hotrollback.undo,
    batch_of bigint REFERENCES hotrollback.undo, -- of an undo in batches: its first one
    more boolean, -- of the first: whether others are yet to come
    request json NOT NULL,
    report json
);
CREATE INDEX undo_xid ON hotrollback.undo (xid);

-- What an undo took back: out of every selection until the undo is redone. Without an LSN it is all
-- of the transaction. Its undo is there: a foreign key would double what a row costs.
CREATE TABLE hotrollback.undone (
    undo bigint NOT NULL,
    xid bigint NOT NULL,
    lsn pg_lsn
);
CREATE INDEX undone_change ON hotrollback.undone (xid, lsn);

-- Grows with every DDL statement that an event trigger sees: what was learnt before is stale.
CREATE SEQUENCE hotrollback.epoch;
GRANT SELECT ON SEQUENCE hotrollback.epoch TO PUBLIC;

-- The text of one value, whatever the session's settings are.
CREATE FUNCTION hotrollback.pinned_v1(value anyelement) RETURNS text
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog
    SET "DateStyle" = 'ISO, YMD'
    SET "IntervalStyle" = 'postgres'
    SET "TimeZone" = 'UTC'
    SET extra_float_digits = 1
    SET bytea_output = 'hex'
    SET lc_monetary = 'C'
    AS $$ BEGIN RETURN format('%s', value); END $$;
