-- DDL that would destroy what an undo needs: it is really run first, in a part of the transaction that is
-- rolled back, so that its errors, notices and cascades are the server's own. Then values are kept,
-- tables are moved to the bin, and the rest is run again.

-- What nobody may be told twice: the notices were given.
CREATE FUNCTION hotrollback.quietly_v1(statement text) RETURNS void
    LANGUAGE plpgsql VOLATILE
    AS $$
DECLARE
    told constant text := pg_catalog.current_setting('client_min_messages');
BEGIN
    PERFORM pg_catalog.set_config('client_min_messages', 'error', true);
    EXECUTE statement;
    PERFORM pg_catalog.set_config('client_min_messages', told, true);
END $$;

-- Names are the client's, under its search_path: nothing of ours is looked up there.
CREATE PROCEDURE hotrollback.run_ddl_v1(statement text)
    LANGUAGE plpgsql
    AS $$
DECLARE
    whole constant text := hotrollback.cascaded_v1(statement);
    losing text;
    resting text;
    binned text;
BEGIN
    PERFORM pg_catalog.set_config('hotrollback.lost', '', true);
    PERFORM pg_catalog.set_config('hotrollback.temporary', '', true);
    PERFORM pg_catalog.set_config('hotrollback.parameters',
                                  ARRAY(SELECT p.oid FROM pg_catalog.pg_parameter_acl p)::pg_catalog.text, true);
    IF hotrollback.may_reach_bin_v1(statement) THEN
        BEGIN
            PERFORM hotrollback.quietly_v1(statement);
            RAISE EXCEPTION USING ERRCODE = 'RB005', MESSAGE = pg_catalog.current_setting('hotrollback.lost', true);
        EXCEPTION WHEN SQLSTATE 'RB005' THEN
            binned := nullif(SQLERRM, ''); -- nothing is lost by it
        WHEN OTHERS THEN -- it is said below
            binned := NULL;
        END;
    END IF;
    LOOP
        BEGIN
            IF binned IS NOT NULL THEN -- the notices are of what the client knows of
                PERFORM hotrollback.let_binned_go_v1(binned);
            END IF;
            EXECUTE statement;
            IF pg_catalog.to_regprocedure('hotrollback.run_ddl_v1(text)') IS NULL THEN
                RETURN; -- it has dropped us
            ELSIF statement OPERATOR(pg_catalog.~*) '^reassign[^a-z]' THEN
                PERFORM hotrollback.on_reassigned_v1();
            END IF;
            losing := pg_catalog.current_setting('hotrollback.lost', true);
            IF hotrollback.can_be_spared_v1(losing) THEN
                RAISE EXCEPTION USING ERRCODE = 'RB005', MESSAGE = losing;
            END IF;
            RETURN;
        EXCEPTION WHEN SQLSTATE 'RB005' THEN
            losing := SQLERRM;
            EXIT;
        WHEN dependent_objects_still_exist THEN
            GET STACKED DIAGNOSTICS resting = PG_EXCEPTION_DETAIL;
            IF NOT hotrollback.only_binned_v1(statement, resting) THEN
                RAISE;
            END IF;
            EXIT;
        WHEN feature_not_supported THEN -- a row type, or a composite one, of which rows are stored
            IF NOT hotrollback.let_go_v1(SQLERRM) THEN
                RAISE;
            END IF;
        END;
    END LOOP;
    IF losing IS NULL THEN
        BEGIN
            PERFORM hotrollback.quietly_v1(whole);
            losing := pg_catalog.current_setting('hotrollback.lost', true);
            RAISE EXCEPTION USING ERRCODE = 'RB005', MESSAGE = losing;
        EXCEPTION WHEN SQLSTATE 'RB005' THEN
            losing := SQLERRM;
        END;
        BEGIN
            IF hotrollback.spare_objects_v1(losing) THEN
                RETURN;
            ELSIF hotrollback.can_be_spared_v1(losing) THEN
                IF hotrollback.spare_v1(losing) THEN
                    PERFORM hotrollback.quietly_v1(whole);
                END IF;
                RETURN;
            END IF;
            losing := '';
        EXCEPTION WHEN OTHERS THEN -- why, is told with the gap that it leaves
            losing := pg_catalog.format(' (%s)', SQLERRM);
        END;
        PERFORM hotrollback.quietly_v1(whole);
        INSERT INTO hotrollback.gap (reason, statement)
        VALUES ('lost', statement OPERATOR(pg_catalog.||) losing);
        RETURN;
    END IF;
    BEGIN
        IF hotrollback.spare_v1(losing) THEN
            PERFORM hotrollback.quietly_v1(statement);
        END IF;
        RETURN;
    EXCEPTION WHEN OTHERS THEN -- why, is told with the gap that it leaves
        losing := SQLERRM;
    END;
    PERFORM pg_catalog.set_config('hotrollback.unspared', losing, true);
    PERFORM hotrollback.quietly_v1(statement);
    PERFORM pg_catalog.set_config('hotrollback.unspared', '', true);
END $$;

-- Whether something in the bin may go along.
CREATE FUNCTION hotrollback.may_reach_bin_v1(statement text) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog
    AS $$
    SELECT statement ~* E'^drop\\M.*\\mcascade\\s*$'
           AND EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                        WHERE n.nspname = 'hotrollback_bin')
$$;

-- What an event trigger would do, of which no server tells any.
CREATE FUNCTION hotrollback.on_reassigned_v1() RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog SET client_min_messages = error SET quote_all_identifiers = off
    AS $$
DECLARE
    tag constant text := 'REASSIGN OWNED';
    written record;
    why text;
BEGIN
    SELECT * INTO written FROM hotrollback.written_v1();
    PERFORM set_config('hotrollback.commands', (hotrollback.commands_v1() + 1)::text, true);
    PERFORM hotrollback.fence_v1();
    PERFORM hotrollback.bump_v1();
    INSERT INTO hotrollback.ddl (tag) VALUES (tag);
    PERFORM hotrollback.record_ddl_v1(tag, written.relations, written.objects, '[]', '{}', hotrollback.unkept_v1(tag));
EXCEPTION WHEN SQLSTATE 'RB004' THEN
    RAISE;
WHEN OTHERS THEN
    why := tag || ': ' || SQLERRM;
    INSERT INTO hotrollback.gap (reason, statement) VALUES ('lost', why);
END $$;

-- The same with all that needs it; null where that cannot be told: a last word may be a name.
CREATE FUNCTION hotrollback.cascaded_v1(statement text) RETURNS text
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog
    AS $$
    SELECT CASE WHEN s.bare !~* E'(\\m(cascade|restrict|type|domain|function|procedure|routine|aggregate|collation'
                                '|class|family|operator|exists)|[,.])\\s*$'
                THEN s.bare || ' CASCADE' END
      FROM regexp_replace(statement, E'\\s+restrict\\s*$', '', 'i') AS s(bare)
$$;

-- Whether what an object may not be dropped for, in the server's words, is all in the bin, where nobody knows
-- of it: its server would have let it go. It goes to the bin, too, or what is there loses it.
CREATE FUNCTION hotrollback.rests_in_bin_v1(resting text) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog
    AS $$
    SELECT bool_and(line LIKE E'% hotrollback\\_bin.%'
                    -- A domain's constraint is named without it.
                    OR coalesce((SELECT bool_and(t.typnamespace = to_regnamespace('hotrollback_bin'))
                                   FROM pg_constraint k JOIN pg_type t ON t.oid = k.contypid
                                  WHERE starts_with(line, format('constraint %s depends ', k.conname))), false))
      FROM regexp_split_to_table(resting, E'\n') AS line
$$;

CREATE FUNCTION hotrollback.only_binned_v1(statement text, resting text) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog
    AS $$
    SELECT hotrollback.cascaded_v1(statement) IS NOT NULL AND hotrollback.rests_in_bin_v1(resting)
$$;

-- Whether others look at DDL.
CREATE FUNCTION hotrollback.watched_v1() RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog
    AS $$
    SELECT EXISTS (SELECT FROM pg_event_trigger e JOIN pg_proc p ON p.oid = e.evtfoid
                    WHERE p.pronamespace <> 'hotrollback'::regnamespace
                      AND e.evtenabled <> 'D' AND e.evtevent <> 'login')
$$;

-- Makes event triggers of others blind for what follows, which no client has sent; ours are ENABLE ALWAYS, as theirs
-- may be. Returns the setting to go back to; nothing where nobody looks, or it may not be set.
CREATE FUNCTION hotrollback.unseen_v1() RETURNS text
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
DECLARE
    was constant text := current_setting('session_replication_role');
BEGIN
    IF NOT hotrollback.watched_v1()
       OR NOT has_parameter_privilege(current_user, 'session_replication_role', 'SET') THEN
        RETURN NULL;
    END IF;
    PERFORM set_config('session_replication_role', 'replica', true);
    RETURN was;
END $$;

-- What takes types and routines along with the tables that are made of them.
CREATE FUNCTION hotrollback.takes_all_v1(losing text) RETURNS boolean
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog
    AS $$ SELECT coalesce(nullif(losing, '')::jsonb ->> 'tag' IN ('DROP SCHEMA', 'DROP OWNED'), false) $$;

-- Not where others look at DDL: what they see would not be what the client has sent.
CREATE FUNCTION hotrollback.can_be_spared_v1(losing text) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog
    AS $$
    SELECT coalesce((SELECT bool_or(l ->> 2 IN ('table', 'column', 'sequence')
                                    OR (l ->> 2 = 'binned' AND hotrollback.takes_all_v1(losing)))
                       FROM jsonb_array_elements(x.told -> 'lost') l), false)
           AND NOT hotrollback.watched_v1()
      FROM (SELECT nullif(losing, '')::jsonb) AS x(told)
$$;

-- Keeps values and moves tables; whether the statement is still to be run for the rest.
CREATE FUNCTION hotrollback.spare_v1(losing text) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog SET client_min_messages = error
    AS $$
DECLARE
    lost constant jsonb := losing::jsonb -> 'lost';
    dropped constant jsonb := losing::jsonb -> 'dropped';
    tables constant oid[] := ARRAY(SELECT (l ->> 0)::oid FROM jsonb_array_elements(lost) l
                                    WHERE l ->> 2 = 'table');
    each record;
BEGIN
    FOR each IN SELECT (l ->> 0)::oid AS relid, array_agg((l ->> 3)::name) AS columns
                  FROM jsonb_array_elements(lost) l WHERE l ->> 2 = 'column' GROUP BY 1
    LOOP
        PERFORM hotrollback.keep_v1(each.relid, each.columns);
    END LOOP;
    PERFORM hotrollback.keep_sequence_v1((l ->> 0)::oid) FROM jsonb_array_elements(lost) l
      WHERE l ->> 2 = 'sequence' AND NOT hotrollback.belongs_v1((l ->> 0)::oid, tables);
    IF tables = '{}' AND NOT hotrollback.takes_all_v1(losing) THEN
        RETURN true;
    END IF;
    FOR each IN SELECT t ->> 0 AS type, t ->> 1 AS identity
                  FROM jsonb_array_elements(losing::jsonb -> 'temporary') t
    LOOP
        EXECUTE format('DROP %s IF EXISTS %s CASCADE', each.type, each.identity);
    END LOOP;
    PERFORM hotrollback.drop_dependents_v1(tables, dropped, hotrollback.takes_all_v1(losing));
    PERFORM hotrollback.bin_dropped_v1(tables, quote_ident(current_user)::regrole::oid);
    IF hotrollback.takes_all_v1(losing) THEN
        PERFORM hotrollback.drop_or_bin_v1(dropped);
        -- What is left goes with what rests on it.
        FOR each IN SELECT o.class, o.oid, o.word
                      FROM jsonb_array_elements(dropped) d
                      JOIN hotrollback.object o ON (o.class, o.oid) = ((d ->> 0)::oid, (d ->> 1)::oid)
                     WHERE NOT o.within AND o.schema <> 'hotrollback_bin'
        LOOP
            IF EXISTS (SELECT FROM hotrollback.object o WHERE (o.class, o.oid) = (each.class, each.oid)) THEN
                EXECUTE format('DROP %s CASCADE', hotrollback.granted_on_v1(each.word, each.oid));
            END IF;
        END LOOP;
    END IF;
    RETURN losing::jsonb ->> 'tag' <> 'DROP TABLE';
END $$;

-- What goes with the tables and is no part of them. `apart`: routines are seen to later.
CREATE FUNCTION hotrollback.dependents_v1(tables oid[], dropped jsonb, apart boolean)
    RETURNS TABLE (class oid, oid oid, sub integer, statement text)
    LANGUAGE sql STABLE SET search_path = pg_catalog
    AS $$
    WITH staying(staying) AS (
        SELECT tables || ARRAY(SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                                WHERE n.nspname = 'hotrollback_bin'))
    SELECT o.class, o.oid, o.sub, CASE
           WHEN k.oid IS NOT NULL THEN
               format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS %I', k.conrelid::regclass, k.conname)
           WHEN a.attnum IS NOT NULL THEN
               format('ALTER TABLE %s DROP COLUMN IF EXISTS %I CASCADE', a.attrelid::regclass, a.attname)
           ELSE format('DROP %s IF EXISTS %s CASCADE', o.type, o.identity) END
      FROM jsonb_to_recordset((SELECT coalesce(jsonb_agg(jsonb_build_object(
                                          'class', d -> 0, 'oid', d -> 1, 'sub', d -> 2,
                                          'type', d -> 3, 'identity', d -> 4)), '[]')
                                 FROM jsonb_array_elements(dropped) d))
           AS o(class oid, oid oid, sub integer, type text, identity text)
     CROSS JOIN staying s
      LEFT JOIN pg_constraint k ON o.class = 'pg_constraint'::regclass AND k.oid = o.oid
                               AND k.conrelid <> ALL (s.staying) AND k.conrelid <> 0 AND k.conparentid = 0
      LEFT JOIN pg_attribute a ON o.class = 'pg_class'::regclass AND o.sub > 0 AND a.attrelid = o.oid
                              AND a.attnum = o.sub AND a.attrelid <> ALL (s.staying)
      LEFT JOIN pg_trigger t ON o.class = 'pg_trigger'::regclass AND t.oid = o.oid AND NOT t.tgisinternal
      LEFT JOIN pg_rewrite w ON o.class = 'pg_rewrite'::regclass AND w.oid = o.oid
      LEFT JOIN pg_policy p ON o.class = 'pg_policy'::regclass AND p.oid = o.oid
     WHERE k.oid IS NOT NULL OR a.attnum IS NOT NULL
        OR o.type IN ('view', 'materialized view', 'aggregate', 'foreign table')
        OR (o.type IN ('function', 'procedure') AND NOT apart)
        -- It may be what a default counts with.
        OR (o.type = 'sequence' AND NOT hotrollback.belongs_v1(o.oid, tables))
        OR (o.type IN ('trigger', 'rule', 'policy')
            AND coalesce(t.tgrelid, w.ev_class, p.polrelid) <> ALL (s.staying) AND t.tgisinternal IS NOT TRUE
            AND w.rulename IS DISTINCT FROM '_RETURN'
            -- One that goes with its role is not whoever drops that one's to drop.
            AND NOT (apart AND p.oid IS NOT NULL AND NOT EXISTS (
                    SELECT FROM pg_depend d WHERE (d.classid, d.objid) = ('pg_policy'::regclass, p.oid)
                       AND d.refclassid = 'pg_class'::regclass AND d.refobjid = ANY (tables))))
     ORDER BY k.oid IS NULL
$$;

-- They go as whoever drops the tables would drop them; what is another's, as the server takes it along.
CREATE FUNCTION hotrollback.drop_dependents_v1(tables oid[], dropped jsonb, apart boolean) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
DECLARE
    writer constant oid := quote_ident(current_user)::regrole::oid;
    each record;
BEGIN
    FOR each IN SELECT d.* FROM hotrollback.dependents_v1(tables, dropped, apart) d LOOP
        BEGIN
            EXECUTE each.statement;
        EXCEPTION WHEN insufficient_privilege THEN
            PERFORM hotrollback.drop_dependent_v1(tables, each.class, each.oid, each.sub, apart, writer);
        END;
    END LOOP;
END $$;

-- Only for whoever might drop the tables, and only what cannot be there without them. It is told of as who
-- did that.
CREATE FUNCTION hotrollback.drop_dependent_v1(
    tables oid[], class oid, object oid, sub integer, apart boolean, writer oid) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog SET client_min_messages = error
    AS $$
#variable_conflict use_column
DECLARE
    since constant pg_lsn := pg_current_wal_insert_lsn();
    dropping text;
BEGIN
    PERFORM hotrollback.must_own_v1(tables);
    IF NOT EXISTS (SELECT FROM hotrollback.resting_on_v1(hotrollback.droppable_v1(tables, apart)) r
                    WHERE (r.class, r.oid) = ($2, $3) AND r.sub IN (0, $4)) THEN
        RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = 'it does not go with the tables';
    END IF;
    SELECT d.statement INTO dropping
      FROM pg_identify_object($2, $3, $4) i,
           hotrollback.dependents_v1(
               tables, jsonb_build_array(jsonb_build_array($2, $3, $4, i.type, i.identity)), apart) d;
    EXECUTE dropping;
    UPDATE hotrollback.command c SET role = writer
     WHERE c.xid = pg_current_xact_id()::text::bigint AND c.lsn >= since;
END $$;

CREATE FUNCTION hotrollback.must_own_v1(tables oid[]) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog
    AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE c.oid = ANY (tables) AND NOT pg_has_role(session_user, c.relowner, 'USAGE')
                  AND NOT pg_has_role(session_user, n.nspowner, 'USAGE')) THEN
        RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = 'must be owner of the tables';
    END IF;
END $$;

-- Only for whoever might have dropped them.
CREATE FUNCTION hotrollback.bin_dropped_v1(tables oid[], writer oid) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog
    AS $$
BEGIN
    PERFORM hotrollback.must_own_v1(tables);
    PERFORM hotrollback.bin_keys_v1(t) FROM unnest(tables) t
      ORDER BY NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = t);
    PERFORM hotrollback.bin_v1(t, writer) FROM unnest(tables) t;
END $$;
