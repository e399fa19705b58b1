-- Fences: whose writes are refused until somebody lifts the fence. Every write that is recorded passes
-- through hotrollback.change, and what is not is told by on_truncate_v1, on_ddl_v1 and note_v1.

-- What is given must fit all together. Transactions with an older snapshot do not see its rows: what
-- they obey is a function that is made of them, hotrollback.fenced_v1.
CREATE TABLE hotrollback.fence (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tag text,
    role text,
    application text,
    by text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    reason text,
    -- Holds as long as the session that set it: it has an advisory lock of this number.
    bound boolean NOT NULL DEFAULT false,
    CHECK (coalesce(tag, role, application) IS NOT NULL)
);
ALTER TABLE hotrollback.fence REPLICA IDENTITY FULL;

-- Has a value while there is any. Other than a row it is seen at once, in every transaction, and
-- looking at it costs next to nothing.
CREATE SEQUENCE hotrollback.fences;
GRANT SELECT ON SEQUENCE hotrollback.fences TO PUBLIC;

-- Whether this session is at work for us: an undo or an install has one of these locks.
CREATE FUNCTION hotrollback.ours_works_v1() RETURNS boolean
    LANGUAGE sql VOLATILE SET search_path = pg_catalog
    AS $$
    SELECT EXISTS (SELECT FROM pg_locks l
                    WHERE l.locktype = 'advisory' AND l.pid = pg_backend_pid() AND l.granted
                      AND l.classid = 1752134770 AND l.objsubid = 1
                      AND l.objid IN (1869376513, 1869376515))
$$;

-- The fence that the session, as it is now, stands before: message, detail and hint; or null. Made anew
-- by set_fences_v1 whenever a fence comes or goes.
CREATE FUNCTION hotrollback.fenced_v1() RETURNS text[]
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$ BEGIN RETURN NULL; END $$;

CREATE FUNCTION hotrollback.fence_words_v1(fence hotrollback.fence) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog
    AS $$
    SELECT concat_ws(' ', 'TAG ' || quote_literal(fence.tag), 'ROLE ' || quote_literal(fence.role),
                     'APPLICATION ' || quote_literal(fence.application))
$$;

-- Makes what sessions look at of the rows of hotrollback.fence, which whoever calls it has locked.
CREATE FUNCTION hotrollback.set_fences_v1() RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog SET check_function_bodies = off
    AS $$
DECLARE
    listed text := (
        SELECT string_agg(format(
                   '(%L::text, %L::text, %L::text, %L::oid, ARRAY[%L, %L, %L])',
                   f.tag, f.role, f.application, CASE WHEN f.bound THEN f.id END,
                   format('writes of %s are fenced', hotrollback.fence_words_v1(f)),
                   format('Set by %s at %s%s%s.', f.by, to_char(f.at AT TIME ZONE 'UTC',
                          'YYYY-MM-DD HH24:MI:SS "UTC"'), ': ' || f.reason,
                          CASE WHEN f.bound THEN ', while an undo runs' ELSE '' END),
                   CASE WHEN f.bound THEN 'Reads go on, and writes when the undo has ended.'
                        ELSE format('Reads go on. UNFENCE %s on the admin console lifts the fence.',
                                    hotrollback.fence_words_v1(f)) END), ', ' ORDER BY f.id)
          FROM hotrollback.fence f);
BEGIN
    EXECUTE format(
        'CREATE OR REPLACE FUNCTION hotrollback.fenced_v1() RETURNS text[]'
        ' LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog AS %L',
        coalesce(format($body$
BEGIN
    RETURN (
        SELECT f.told FROM (VALUES %s) AS f(tag, role, application, bound, told)
         WHERE (f.tag IS NULL OR f.tag = current_setting('hotrollback.tag', true))
           AND (f.role IS NULL OR f.role IN (current_user, session_user))
           AND (f.application IS NULL OR f.application = current_setting('application_name'))
           AND (f.bound IS NULL OR hotrollback.fence_holds_v1(f.bound))
         LIMIT 1);
END $body$, listed), ' BEGIN RETURN NULL; END '));
    IF listed IS NOT NULL THEN
        PERFORM setval('hotrollback.fences', 1, true);
    END IF;
END $$;

CREATE FUNCTION hotrollback.fence_holds_v1(number oid) RETURNS boolean
    LANGUAGE sql VOLATILE SET search_path = pg_catalog
    AS $$
    SELECT EXISTS (SELECT FROM pg_locks l
                     JOIN pg_database d ON d.oid = l.database AND d.datname = current_database()
                    WHERE l.locktype = 'advisory' AND l.granted AND l.classid = 1752134771
                      AND l.objid = number AND l.objsubid = 2)
$$;

-- Refuses, where the session stands before a fence. To look at a table takes a lock for a moment, and
-- with it this session hears of functions that others have made anew since its transaction began.
-- Within one statement of a client what has been let through once is not asked again.
CREATE FUNCTION hotrollback.fence_v1() RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
DECLARE
    here text;
    told text[];
BEGIN
    IF NOT has_sequence_privilege('hotrollback.fences', 'SELECT')
       OR pg_sequence_last_value('hotrollback.fences') IS NULL THEN
        RETURN;
    END IF;
    here := concat_ws(' ', statement_timestamp(), quote_ident(current_user), quote_ident(session_user),
                      quote_ident(current_setting('application_name')),
                      current_setting('hotrollback.tag', true));
    IF here = current_setting('hotrollback.passed', true) THEN
        RETURN;
    END IF;
    PERFORM pg_relation_size('hotrollback.fence');
    told := hotrollback.fenced_v1();
    IF told IS NOT NULL AND NOT hotrollback.ours_works_v1() THEN
        RAISE EXCEPTION USING ERRCODE = 'RB004', MESSAGE = told[1], DETAIL = told[2], HINT = told[3];
    END IF;
    PERFORM set_config('hotrollback.passed', here, true);
END $$;

CREATE FUNCTION hotrollback.lsn_behind_fence_v1() RETURNS pg_lsn
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
BEGIN
    PERFORM hotrollback.fence_v1();
    RETURN pg_current_wal_insert_lsn();
END $$;

-- Nobody writes the log around it. Of all that could stand here, triggers too, this costs least: some
-- 0.5 us a row of the log. While a fence stands others pay 5 us a row, and 25 us a statement.
ALTER TABLE hotrollback.change ALTER COLUMN lsn SET DEFAULT
    CASE WHEN NOT has_sequence_privilege('hotrollback.fences'::regclass, 'SELECT')
              OR pg_sequence_last_value('hotrollback.fences'::regclass) IS NULL
         THEN pg_current_wal_insert_lsn()
         ELSE hotrollback.lsn_behind_fence_v1() END;
