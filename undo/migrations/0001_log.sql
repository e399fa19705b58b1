-- The log: what was written, by whom, and what could not be recorded.
-- Run in one transaction with search_path = pg_catalog; names resolve once, here, and are kept by oid.

CREATE SCHEMA IF NOT EXISTS hotrollback;
GRANT USAGE ON SCHEMA hotrollback TO PUBLIC;
COMMENT ON SCHEMA hotrollback IS 'Undo log of Hot Rollback. Leave it out of dumps with pg_dump -N hotrollback.';

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
CREATE INDEX change_who ON hotrollback.change
    USING brin (tag text_bloom_ops, pid int4_bloom_ops, key int4_bloom_ops)
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
    request json NOT NULL,
    report json
);
CREATE INDEX undo_xid ON hotrollback.undo (xid);

-- What an undo took back: out of every selection until the undo is redone.
CREATE TABLE hotrollback.undone (
    undo bigint NOT NULL REFERENCES hotrollback.undo,
    xid bigint NOT NULL,
    lsn pg_lsn NOT NULL
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

-- Rows written so far by this transaction, per permanent relation (with what was not yet flushed
-- of earlier ones: only differences mean something).
CREATE FUNCTION hotrollback.writes_v1()
    RETURNS TABLE (relid oid, ins bigint, upd bigint, del bigint)
    LANGUAGE sql VOLATILE SET search_path = pg_catalog
    AS $$
    SELECT c.oid, s.i, s.u, s.d
      FROM pg_class c
     CROSS JOIN LATERAL (SELECT pg_stat_get_xact_tuples_inserted(c.oid),
                                pg_stat_get_xact_tuples_updated(c.oid),
                                pg_stat_get_xact_tuples_deleted(c.oid)) AS s(i, u, d)
     WHERE (c.relkind = 'r' AND c.relpersistence <> 't'
            AND c.relnamespace NOT IN (SELECT n.oid FROM pg_namespace n
                                        WHERE n.nspname IN ('pg_catalog', 'hotrollback')))
        OR c.oid IN ('pg_largeobject'::regclass, 'pg_largeobject_metadata'::regclass)
$$;

-- Before a statement whose effect is not known: remembers its fingerprint and what was written so far.
CREATE FUNCTION hotrollback.mark_v1(fingerprint bigint) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
BEGIN
    PERFORM set_config('hotrollback.statement', coalesce(fingerprint::text, ''), true);
    PERFORM set_config('hotrollback.mark', json_build_object(
        'lsn', pg_current_wal_insert_lsn(),
        'fingerprint', fingerprint,
        'log', (SELECT sum(pg_stat_get_xact_tuples_inserted(i.inhrelid))
                  FROM pg_inherits i WHERE i.inhparent = 'hotrollback.change'::regclass),
        'writes', (SELECT coalesce(json_agg(w), '[]') FROM hotrollback.writes_v1() w
                    WHERE ins + upd + del > 0)
    )::text, true);
END $$;

-- Before a statement that capture triggers record: its fingerprint. Under an older snapshot what the
-- catalog shows afterwards need not be what was in force, so that there the rows are counted, too.
CREATE FUNCTION hotrollback.tell_v1(fingerprint bigint) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
BEGIN
    IF current_setting('transaction_isolation') IN ('repeatable read', 'serializable') THEN
        PERFORM hotrollback.mark_v1(fingerprint);
    ELSE
        PERFORM set_config('hotrollback.statement', coalesce(fingerprint::text, ''), true);
    END IF;
END $$;

-- Changes that this transaction recorded since an LSN, as the server counts them.
CREATE FUNCTION hotrollback.recorded_v1(since pg_lsn)
    RETURNS TABLE (relid oid, ins bigint, upd bigint, del bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog
    AS $$
    WITH once AS (
        SELECT DISTINCT c.relid, c.new_relid, c.op, c.old_tid::text, c.new_tid::text
          FROM hotrollback.change c
         WHERE c.xid = pg_current_xact_id_if_assigned()::text::bigint
           AND c.at >= transaction_timestamp() AND c.lsn >= since
    ), counted AS (
        SELECT relid, (op = 'I')::int AS i, (op = 'U' AND new_relid IS NULL)::int AS u,
               (op = 'D' OR new_relid IS NOT NULL)::int AS d FROM once
        UNION ALL
        SELECT new_relid, 1, 0, 0 FROM once WHERE new_relid IS NOT NULL
    )
    SELECT relid, sum(i), sum(u), sum(d) FROM counted GROUP BY relid
$$;

-- A write that the proxy must not let through (on_gap = reject).
CREATE FUNCTION hotrollback.refuse_v1(reason text, relation oid) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = 'RB002',
        MESSAGE = format('this write could not be recorded for an undo: %s', reason),
        DETAIL = coalesce((SELECT format('It concerns %I.%I.', n.nspname, c.relname)
                             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                            WHERE c.oid = relation), ''),
        HINT = 'The proxy refuses such writes (on_gap = reject). A capture trigger on the table may'
               ' help: hotrollback install --all-tables';
END $$;

-- Gaps of this transaction, or the refusal of them.
CREATE FUNCTION hotrollback.leave_v1(fingerprint bigint, relids oid[], reason text, refuse boolean)
    RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
BEGIN
    IF refuse AND relids <> '{}' THEN
        PERFORM hotrollback.refuse_v1(reason, relids[1]);
    END IF;
    INSERT INTO hotrollback.gap (fingerprint, relid, reason)
    SELECT fingerprint, nullif(r, 0), reason FROM unnest(relids) r;
END $$;

-- Relations that changed by more than was recorded since a mark; 0 stands for any.
CREATE FUNCTION hotrollback.missing_v1(mark json) RETURNS oid[]
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
DECLARE
    missing oid[];
    wrote bigint;
    logged bigint;
BEGIN
    IF mark IS NULL OR current_setting('track_counts') <> 'on' THEN
        RETURN ARRAY[0::oid];
    ELSIF current_setting('transaction_isolation') = 'serializable' THEN
        -- To read the log would be to conflict with everybody who writes it: it is counted only.
        SELECT array_agg(w.relid), sum(w.ins + w.upd + w.del - b.before) INTO missing, wrote
          FROM hotrollback.writes_v1() w
         CROSS JOIN LATERAL (
               SELECT coalesce(sum(m.ins + m.upd + m.del), 0) AS before
                 FROM json_to_recordset(mark -> 'writes')
                      AS m(relid oid, ins bigint, upd bigint, del bigint)
                WHERE m.relid = w.relid) b
         WHERE w.ins + w.upd + w.del > b.before;
        logged := (SELECT sum(pg_stat_get_xact_tuples_inserted(i.inhrelid))
                     FROM pg_inherits i WHERE i.inhparent = 'hotrollback.change'::regclass)
                  - (mark ->> 'log')::bigint;
        RETURN CASE WHEN wrote = logged OR wrote IS NULL THEN '{}' ELSE missing END;
    END IF;
    RETURN ARRAY(
        SELECT w.relid
          FROM hotrollback.writes_v1() w
          LEFT JOIN json_to_recordset(mark -> 'writes')
                    AS b(relid oid, ins bigint, upd bigint, del bigint) ON b.relid = w.relid
          LEFT JOIN hotrollback.recorded_v1((mark ->> 'lsn')::pg_lsn) r ON r.relid = w.relid
         WHERE w.ins - coalesce(b.ins, 0) <> coalesce(r.ins, 0)
            OR w.upd - coalesce(b.upd, 0) <> coalesce(r.upd, 0)
            OR w.del - coalesce(b.del, 0) <> coalesce(r.del, 0));
END $$;

-- Whether this transaction, or a part of it, has made or altered a relation that stays.
CREATE FUNCTION hotrollback.altered_v1() RETURNS oid
    LANGUAGE sql VOLATILE SET search_path = pg_catalog
    AS $$
    SELECT c.oid
      FROM pg_class c
     CROSS JOIN (SELECT pg_current_xact_id_if_assigned()::text::bigint) AS t(top)
     WHERE c.relpersistence <> 't' AND c.oid >= 16384 AND c.relkind <> 't'
       AND c.relnamespace <> 'hotrollback'::regnamespace
       -- A subtransaction has a later number than its transaction.
       AND c.xmin::text::bigint >= (top & 4294967295)
       AND pg_xact_status(((top >> 32 << 32) | c.xmin::text::bigint)::text::xid8) = 'in progress'
     LIMIT 1
$$;

-- After it: every relation that changed by more than was recorded is a gap; so is a schema change.
CREATE FUNCTION hotrollback.check_v1(reason text, refuse boolean) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
DECLARE
    fingerprint bigint := nullif(current_setting('hotrollback.statement', true), '')::bigint;
    altered oid;
BEGIN
    IF pg_current_xact_id_if_assigned() IS NULL
       OR current_setting('transaction_read_only') = 'on' THEN
        RETURN;
    END IF;
    PERFORM hotrollback.leave_v1(
        fingerprint,
        hotrollback.missing_v1(nullif(current_setting('hotrollback.mark', true), '')::json),
        reason, refuse);
    altered := hotrollback.altered_v1();
    IF altered IS NOT NULL AND NOT hotrollback.noted_v1(altered, 'ddl') THEN
        PERFORM hotrollback.leave_v1(fingerprint, ARRAY[altered], 'ddl', refuse);
    END IF;
END $$;

-- What a statement's triggers may still do when its transaction commits is compared then: rows of
-- this table live no longer than their transaction. Unlogged: in no publication.
CREATE UNLOGGED TABLE hotrollback.late (mark json, reason text NOT NULL, refuse boolean NOT NULL);
GRANT INSERT ON hotrollback.late TO PUBLIC;

CREATE FUNCTION hotrollback.on_late_v1() RETURNS trigger
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
BEGIN
    PERFORM hotrollback.leave_v1((NEW.mark ->> 'fingerprint')::bigint,
                                 hotrollback.missing_v1(NEW.mark), NEW.reason, NEW.refuse);
    PERFORM hotrollback.forget_late_v1(NEW.ctid);
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER on_late AFTER INSERT ON hotrollback.late
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hotrollback.on_late_v1();
ALTER TABLE hotrollback.late ENABLE ALWAYS TRIGGER on_late;

CREATE FUNCTION hotrollback.forget_late_v1(place tid) RETURNS void
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog
    AS $$ DELETE FROM hotrollback.late WHERE ctid = place $$;

CREATE FUNCTION hotrollback.check_late_v1(reason text, refuse boolean) RETURNS void
    LANGUAGE sql VOLATILE SET search_path = pg_catalog
    AS $$
    INSERT INTO hotrollback.late (mark, reason, refuse)
    SELECT nullif(current_setting('hotrollback.mark', true), '')::json, reason, refuse
     WHERE current_setting('transaction_read_only') <> 'on'
       AND pg_current_xact_id_if_assigned() IS NOT NULL
$$;

-- After a statement that a capture trigger records: a table where none would fire is a gap.
CREATE FUNCTION hotrollback.verify_v1(relids oid[], reason text, refuse boolean) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
DECLARE
    missing oid[];
BEGIN
    IF current_setting('transaction_read_only') = 'on' THEN
        RETURN;
    ELSIF current_setting('transaction_isolation') IN ('repeatable read', 'serializable') THEN
        IF pg_current_xact_id_if_assigned() IS NULL THEN
            RETURN;
        END IF;
        missing := hotrollback.missing_v1(nullif(current_setting('hotrollback.mark', true), '')::json);
    ELSE
        missing := ARRAY(
            SELECT r FROM unnest(relids) r
             WHERE NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = r
                                  AND t.tgname = 'hotrollback_capture' AND t.tgenabled = 'A'));
    END IF;
    IF missing <> '{}' THEN
        PERFORM hotrollback.leave_v1(
            nullif(current_setting('hotrollback.statement', true), '')::bigint,
            missing, reason, refuse);
    END IF;
END $$;

-- A gap that is known before the statement runs. Where nothing can be written the statement will
-- say so itself.
CREATE FUNCTION hotrollback.note_v1(fingerprint bigint, relids oid[], reason text) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
BEGIN
    IF current_setting('transaction_read_only') <> 'on' THEN
        PERFORM set_config('hotrollback.statement', coalesce(fingerprint::text, ''), true);
        PERFORM hotrollback.leave_v1(fingerprint, coalesce(relids, ARRAY[0::oid]), reason, false);
    END IF;
END $$;

-- Whether this transaction has left a gap for this reason already.
CREATE FUNCTION hotrollback.noted_v1(relation oid, why text) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog
    AS $$
    SELECT EXISTS (SELECT FROM hotrollback.gap g
                    WHERE g.xid = pg_current_xact_id_if_assigned()::text::bigint
                      AND g.relid = relation AND g.reason = why)
$$;
