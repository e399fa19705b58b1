-- What a statement wrote, compared with what was recorded of it; and the gaps that come of it.

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
                                        WHERE n.nspname IN ('pg_catalog', 'hotrollback', 'hotrollback_bin')))
        OR c.oid IN ('pg_largeobject'::regclass, 'pg_largeobject_metadata'::regclass)
$$;

-- Before a statement whose effect is not known: remembers its fingerprint and what was written so far.
CREATE FUNCTION hotrollback.mark_v1(fingerprint bigint) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
BEGIN
    PERFORM set_config('hotrollback.statement', coalesce(fingerprint::text, ''), true);
    PERFORM set_config('hotrollback.truncated', '', true);
    PERFORM set_config('hotrollback.announced', '', false);
    PERFORM set_config('hotrollback.mark', json_build_object(
        'lsn', pg_current_wal_insert_lsn(),
        'fingerprint', fingerprint,
        'made', cardinality(hotrollback.made_so_far_v1()),
        'ddl', hotrollback.commands_v1(),
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

-- Relations that were truncated since a mark, and how many rows of each were recorded then.
CREATE FUNCTION hotrollback.truncated_v1() RETURNS jsonb
    LANGUAGE sql VOLATILE SET search_path = pg_catalog
    AS $$ SELECT coalesce(nullif(current_setting('hotrollback.truncated', true), ''), '{}')::jsonb $$;

-- Relations that this transaction has truncated.
CREATE FUNCTION hotrollback.emptied_v1() RETURNS oid[]
    LANGUAGE sql VOLATILE SET search_path = pg_catalog
    AS $$ SELECT coalesce(nullif(current_setting('hotrollback.emptied', true), ''), '{}')::oid[] $$;

-- Tables that this transaction has made so far, and that are recorded as such.
CREATE FUNCTION hotrollback.made_so_far_v1() RETURNS oid[]
    LANGUAGE sql VOLATILE SET search_path = pg_catalog
    AS $$ SELECT coalesce(nullif(current_setting('hotrollback.made', true), ''), '{}')::oid[] $$;

-- DDL commands of this transaction that the event trigger saw, and the relations whose components it has
-- recorded since.
CREATE FUNCTION hotrollback.commands_v1() RETURNS integer
    LANGUAGE sql VOLATILE SET search_path = pg_catalog
    AS $$ SELECT coalesce(nullif(current_setting('hotrollback.commands', true), ''), '0')::integer $$;

CREATE FUNCTION hotrollback.shaped_v1() RETURNS oid[]
    LANGUAGE sql VOLATILE SET search_path = pg_catalog
    AS $$ SELECT coalesce(nullif(current_setting('hotrollback.shaped', true), ''), '{}')::oid[] $$;

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
        HINT = 'The proxy refuses such writes (on_gap = reject). docs/gaps.md says what helps.';
END $$;

-- Gaps of this transaction, or the refusal of them.
CREATE FUNCTION hotrollback.leave_v1(fingerprint bigint, relids oid[], reason text, refuse boolean)
    RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
BEGIN
    IF relids = '{}' THEN
        RETURN;
    END IF;
    PERFORM hotrollback.fence_v1();
    IF refuse THEN
        PERFORM hotrollback.refuse_v1(reason, relids[1]);
    END IF;
    INSERT INTO hotrollback.gap (fingerprint, relid, reason)
    SELECT fingerprint, nullif(r, 0), reason FROM unnest(relids) r;
END $$;

-- Relations that changed by more than was recorded since a mark; 0 stands for any. Where a capture
-- trigger stands nothing is missing, unless it let pass what is `doubted`, or an older snapshot
-- does not show that it was taken away: what is rolled back inside of a function is counted, too,
-- and would seem to be.
CREATE FUNCTION hotrollback.missing_v1(mark json, doubted boolean) RETURNS oid[]
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
DECLARE
    made constant oid[] := (hotrollback.made_so_far_v1())[(mark ->> 'made')::integer + 1:];
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
         WHERE w.ins + w.upd + w.del > b.before AND w.relid <> ALL (made);
        logged := (SELECT sum(pg_stat_get_xact_tuples_inserted(i.inhrelid))
                     FROM pg_inherits i WHERE i.inhparent = 'hotrollback.change'::regclass)
                  - (mark ->> 'log')::bigint
                  - (SELECT coalesce(sum(t.value::bigint), 0)
                       FROM jsonb_each_text(hotrollback.truncated_v1()) t)
                  - cardinality(made);
        RETURN CASE WHEN wrote = logged OR wrote IS NULL THEN '{}' ELSE missing END;
    END IF;
    RETURN ARRAY(
        SELECT w.relid
          FROM hotrollback.writes_v1() w
          LEFT JOIN json_to_recordset(mark -> 'writes')
                    AS b(relid oid, ins bigint, upd bigint, del bigint) ON b.relid = w.relid
          LEFT JOIN hotrollback.recorded_v1((mark ->> 'lsn')::pg_lsn) r ON r.relid = w.relid
         WHERE (w.ins - coalesce(b.ins, 0) <> coalesce(r.ins, 0)
                OR w.upd - coalesce(b.upd, 0) <> coalesce(r.upd, 0)
                OR w.del - coalesce(b.del, 0) <> coalesce(r.del, 0))
           AND NOT hotrollback.truncated_v1() ? w.relid::text AND w.relid <> ALL (made)
           AND (doubted OR current_setting('transaction_isolation') = 'repeatable read'
                OR NOT EXISTS (SELECT FROM pg_trigger t
                                WHERE t.tgrelid = w.relid AND t.tgname = 'hotrollback_capture'
                                  AND t.tgenabled = 'A')));
END $$;

-- Whether a row was written by the transaction of this number, which runs, or by a part of it: a
-- subtransaction has a later number than its transaction.
CREATE FUNCTION hotrollback.ours_v1(xmin xid, top bigint) RETURNS boolean
    LANGUAGE sql VOLATILE SET search_path = pg_catalog
    AS $$
    SELECT CASE WHEN xmin::text::bigint >= (top & 4294967295) THEN
           pg_xact_status(((top >> 32 << 32) | xmin::text::bigint)::text::xid8) = 'in progress'
           ELSE false END
$$;

-- Whether an object is one of these relations, an index of one, or a sequence that it owns.
CREATE FUNCTION hotrollback.belongs_v1(object oid, relations oid[]) RETURNS boolean
    LANGUAGE sql VOLATILE SET search_path = pg_catalog
    AS $$
    SELECT object = ANY (relations)
        OR EXISTS (SELECT FROM pg_index i
                    WHERE i.indexrelid = object AND i.indrelid = ANY (relations))
        OR EXISTS (SELECT FROM pg_depend d
                    WHERE d.classid = 'pg_class'::regclass AND d.objid = object
                      AND d.refclassid = 'pg_class'::regclass AND d.refobjid = ANY (relations)
                      AND d.deptype IN ('a', 'i'))
$$;

-- A relation that this transaction, or a part of it, has altered, or made without that being
-- recorded; null if there is none. TRUNCATE changes the rows of the catalog that say where a table
-- and what belongs to it are kept, no column's.
CREATE FUNCTION hotrollback.altered_v1() RETURNS oid
    LANGUAGE sql VOLATILE SET search_path = pg_catalog
    AS $$
    WITH here AS (
        SELECT pg_current_xact_id_if_assigned()::text::bigint AS top,
               hotrollback.made_so_far_v1() || hotrollback.shaped_v1() AS made,
               hotrollback.emptied_v1() AS emptied
    )
    SELECT coalesce((SELECT i.indrelid FROM pg_index i WHERE i.indexrelid = c.oid), c.oid)
      FROM pg_class c
     CROSS JOIN here
     WHERE c.relpersistence <> 't' AND c.oid >= 16384 AND c.relkind <> 't'
       AND c.relnamespace NOT IN (SELECT n.oid FROM pg_namespace n
                                   WHERE n.nspname IN ('hotrollback', 'hotrollback_bin', 'pg_toast'))
       AND c.xmin::text::bigint >= here.top & 4294967295 -- not for each of thousands a call
       AND hotrollback.ours_v1(c.xmin, here.top)
       AND NOT hotrollback.belongs_v1(c.oid, here.made)
       AND NOT (hotrollback.belongs_v1(c.oid, here.emptied)
                AND NOT EXISTS (SELECT FROM pg_attribute a
                                 WHERE a.attrelid = c.oid AND hotrollback.ours_v1(a.xmin, here.top)))
     LIMIT 1
$$;

-- After it: every relation that changed by more than was recorded is a gap; so is a schema change.
CREATE FUNCTION hotrollback.check_v1(reason text, refuse boolean, doubted boolean) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
DECLARE
    fingerprint bigint := nullif(current_setting('hotrollback.statement', true), '')::bigint;
    mark json := nullif(current_setting('hotrollback.mark', true), '')::json;
    altered oid;
    gone record;
BEGIN
    IF pg_current_xact_id_if_assigned() IS NULL
       OR current_setting('transaction_read_only') = 'on' THEN
        RETURN;
    END IF;
    PERFORM hotrollback.leave_v1(
        fingerprint,
        hotrollback.missing_v1(nullif(current_setting('hotrollback.mark', true), '')::json, doubted),
        reason, refuse);
    IF reason = 'ddl' AND hotrollback.commands_v1() = coalesce((mark ->> 'ddl')::integer, 0) THEN
        PERFORM hotrollback.leave_v1(fingerprint, ARRAY[0::oid], reason, refuse);
    ELSIF refuse AND mark IS NOT NULL THEN
        SELECT * INTO gone FROM hotrollback.lost_since_v1((mark ->> 'lsn')::pg_lsn);
        IF FOUND THEN
            PERFORM hotrollback.refuse_v1(gone.reason, gone.relid);
        END IF;
    END IF;
    altered := hotrollback.altered_v1();
    IF altered IS NOT NULL AND NOT hotrollback.noted_v1(altered, 'ddl') THEN
        PERFORM hotrollback.leave_v1(fingerprint, ARRAY[altered], 'ddl', refuse);
    END IF;
END $$;

-- What a statement's triggers may still do when its transaction commits is compared then: rows of
-- this table live no longer than their transaction. Unlogged: in no publication.
CREATE UNLOGGED TABLE hotrollback.late (
    mark json,
    reason text NOT NULL,
    refuse boolean NOT NULL,
    doubted boolean NOT NULL
);
GRANT INSERT ON hotrollback.late TO PUBLIC;

CREATE FUNCTION hotrollback.on_late_v1() RETURNS trigger
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
BEGIN
    PERFORM hotrollback.leave_v1((NEW.mark ->> 'fingerprint')::bigint,
                                 hotrollback.missing_v1(NEW.mark, NEW.doubted), NEW.reason,
                                 NEW.refuse);
    PERFORM hotrollback.forget_late_v1(NEW.ctid);
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER on_late AFTER INSERT ON hotrollback.late
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hotrollback.on_late_v1();
ALTER TABLE hotrollback.late ENABLE ALWAYS TRIGGER on_late;

CREATE FUNCTION hotrollback.forget_late_v1(place tid) RETURNS void
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog
    AS $$ DELETE FROM hotrollback.late WHERE ctid = place $$;

CREATE FUNCTION hotrollback.check_late_v1(reason text, refuse boolean, doubted boolean) RETURNS void
    LANGUAGE sql VOLATILE SET search_path = pg_catalog
    AS $$
    INSERT INTO hotrollback.late (mark, reason, refuse, doubted)
    SELECT nullif(current_setting('hotrollback.mark', true), '')::json, reason, refuse, doubted
     WHERE current_setting('transaction_read_only') <> 'on'
       AND pg_current_xact_id_if_assigned() IS NOT NULL
$$;

-- After a statement that a trigger records: a table where it would not fire is a gap. For TRUNCATE
-- it is another trigger, which may have left a gap of its own.
CREATE FUNCTION hotrollback.verify_v1(relids oid[], reason text, refuse boolean) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
DECLARE
    missing oid[];
    truncates constant boolean := reason = 'truncate';
BEGIN
    IF current_setting('transaction_read_only') = 'on' THEN
        RETURN;
    ELSIF NOT truncates AND current_setting('transaction_isolation') IN ('repeatable read', 'serializable') THEN
        IF pg_current_xact_id_if_assigned() IS NULL THEN
            RETURN;
        END IF;
        missing := hotrollback.missing_v1(
            nullif(current_setting('hotrollback.mark', true), '')::json, true);
    ELSE
        missing := ARRAY(
            SELECT r FROM unnest(relids) r
             WHERE NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = r
                                  AND t.tgname = CASE WHEN truncates THEN 'hotrollback_truncate'
                                                      ELSE 'hotrollback_capture' END
                                  AND t.tgenabled = 'A')
                OR (refuse AND truncates AND hotrollback.noted_v1(r, 'truncate')));
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

-- The same in a transaction of its own, before a statement that must stand alone. Nobody could be told
-- of a refusal here. The session remembers what it has announced, until its next statement.
CREATE FUNCTION hotrollback.announce_v1(fingerprint bigint, relids oid[], reason text) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
BEGIN
    IF current_setting('transaction_read_only') = 'on' THEN
        RETURN;
    END IF;
    INSERT INTO hotrollback.gap (fingerprint, relid, reason)
    SELECT fingerprint, nullif(r, 0), reason FROM unnest(coalesce(relids, ARRAY[0::oid])) r;
    PERFORM set_config('hotrollback.announced',
                       CASE WHEN reason = 'ddl' THEN pg_current_xact_id()::text ELSE '' END, false);
END $$;

-- Takes back what the session announced before DDL that must stand alone, once that is recorded. Where
-- rows of the log cannot be deleted the gap stays.
CREATE FUNCTION hotrollback.retract_v1() RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog
    AS $$
DECLARE
    announced constant bigint := nullif(current_setting('hotrollback.announced', true), '')::bigint;
BEGIN
    IF announced IS NOT NULL THEN
        DELETE FROM hotrollback.gap g
         WHERE g.xid = announced AND g.reason = 'ddl' AND g.pid = pg_backend_pid()
           AND g.login = quote_ident(session_user)::regrole::oid;
    END IF;
EXCEPTION WHEN OBJECT_NOT_IN_PREREQUISITE_STATE THEN -- published, and without an identity
    RETURN;
END $$;

-- Whether this transaction has left a gap for this reason already.
CREATE FUNCTION hotrollback.noted_v1(relation oid, why text) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog
    AS $$
    SELECT EXISTS (SELECT FROM hotrollback.gap g
                    WHERE g.xid = pg_current_xact_id_if_assigned()::text::bigint
                      AND g.relid = relation AND g.reason = why)
$$;

-- A gap of a trigger, which may fire for each row and each partition.
CREATE FUNCTION hotrollback.leave_once_v1(fingerprint bigint, relation oid, reason text)
    RETURNS void
    LANGUAGE sql VOLATILE SET search_path = pg_catalog
    AS $$
    INSERT INTO hotrollback.gap (fingerprint, relid, reason)
    SELECT fingerprint, relation, reason WHERE NOT hotrollback.noted_v1(relation, reason)
$$;
