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
    whole constant text := statement OPERATOR(pg_catalog.||) ' CASCADE';
    losing text;
    resting text;
BEGIN
    PERFORM pg_catalog.set_config('hotrollback.lost', '', true);
    PERFORM pg_catalog.set_config('hotrollback.temporary', '', true);
    BEGIN
        EXECUTE statement;
        losing := pg_catalog.current_setting('hotrollback.lost', true);
        IF hotrollback.can_be_spared_v1(losing) THEN
            RAISE EXCEPTION USING ERRCODE = 'RB005', MESSAGE = losing;
        END IF;
        RETURN;
    EXCEPTION WHEN SQLSTATE 'RB005' THEN
        losing := SQLERRM;
    WHEN dependent_objects_still_exist THEN
        GET STACKED DIAGNOSTICS resting = PG_EXCEPTION_DETAIL;
        IF NOT hotrollback.only_binned_v1(statement, resting) THEN
            RAISE;
        END IF;
    END;
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

-- Whether what an object may not be dropped for is all in the bin, where nobody knows of it: its server
-- would have let it go. It goes to the bin, too, or what is there loses it.
CREATE FUNCTION hotrollback.only_binned_v1(statement text, resting text) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog
    AS $$
    SELECT statement !~* '\m(cascade|restrict)\s*$' AND bool_and(line LIKE '% hotrollback\_bin.%')
      FROM regexp_split_to_table(resting, '\n') AS line
$$;

-- Whether others look at DDL.
CREATE FUNCTION hotrollback.watched_v1() RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog
    AS $$
    SELECT EXISTS (SELECT FROM pg_event_trigger e JOIN pg_proc p ON p.oid = e.evtfoid
                    WHERE p.pronamespace <> 'hotrollback'::regnamespace
                      AND e.evtenabled <> 'D' AND e.evtevent <> 'login')
$$;

-- Not where others look at DDL: what they see would not be what the client has sent. Nor where a table on
-- another server goes, too: that cannot be moved; nor what goes with its owner's, as it would again.
CREATE FUNCTION hotrollback.can_be_spared_v1(losing text) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog
    AS $$
    SELECT coalesce((SELECT bool_or(l ->> 2 IN ('table', 'column', 'sequence'))
                            AND NOT bool_or(l ->> 2 = 'foreign table')
                       FROM jsonb_array_elements(x.told -> 'lost') l), false)
           AND x.told ->> 'tag' <> 'DROP OWNED'
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
    IF tables = '{}' THEN
        RETURN true;
    END IF;
    FOR each IN SELECT t ->> 0 AS type, t ->> 1 AS identity
                  FROM jsonb_array_elements(losing::jsonb -> 'temporary') t
    LOOP
        EXECUTE format('DROP %s IF EXISTS %s CASCADE', each.type, each.identity);
    END LOOP;
    PERFORM hotrollback.drop_dependents_v1(tables, dropped);
    PERFORM hotrollback.bin_dropped_v1(tables, quote_ident(current_user)::regrole::oid);
    RETURN losing::jsonb ->> 'tag' <> 'DROP TABLE';
END $$;

-- What goes with the tables and is no part of them, as whoever drops them.
CREATE FUNCTION hotrollback.drop_dependents_v1(tables oid[], dropped jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
DECLARE
    each record;
BEGIN
    FOR each IN
        SELECT CASE
               WHEN k.oid IS NOT NULL THEN
                   format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS %I', k.conrelid::regclass, k.conname)
               WHEN a.attnum IS NOT NULL THEN
                   format('ALTER TABLE %s DROP COLUMN IF EXISTS %I CASCADE', a.attrelid::regclass, a.attname)
               ELSE format('DROP %s IF EXISTS %s CASCADE', o.type, o.identity) END AS statement
          FROM jsonb_to_recordset((SELECT coalesce(jsonb_agg(jsonb_build_object(
                                              'class', d -> 0, 'oid', d -> 1, 'sub', d -> 2,
                                              'type', d -> 3, 'identity', d -> 4)), '[]')
                                     FROM jsonb_array_elements(dropped) d))
               AS o(class oid, oid oid, sub integer, type text, identity text)
          LEFT JOIN pg_constraint k ON o.class = 'pg_constraint'::regclass AND k.oid = o.oid
                                   AND k.conrelid <> ALL (tables) AND k.conrelid <> 0 AND k.conparentid = 0
          LEFT JOIN pg_attribute a ON o.class = 'pg_class'::regclass AND o.sub > 0 AND a.attrelid = o.oid
                                  AND a.attnum = o.sub AND a.attrelid <> ALL (tables)
          LEFT JOIN pg_trigger t ON o.class = 'pg_trigger'::regclass AND t.oid = o.oid AND NOT t.tgisinternal
          LEFT JOIN pg_rewrite w ON o.class = 'pg_rewrite'::regclass AND w.oid = o.oid
          LEFT JOIN pg_policy p ON o.class = 'pg_policy'::regclass AND p.oid = o.oid
         WHERE k.oid IS NOT NULL OR a.attnum IS NOT NULL
            OR o.type IN ('view', 'materialized view', 'function', 'procedure', 'aggregate')
            OR (o.type IN ('trigger', 'rule', 'policy')
                AND coalesce(t.tgrelid, w.ev_class, p.polrelid) <> ALL (tables) AND t.tgisinternal IS NOT TRUE
                AND w.rulename IS DISTINCT FROM '_RETURN')
         ORDER BY k.oid IS NULL
    LOOP
        EXECUTE each.statement;
    END LOOP;
END $$;

-- Only for whoever might have dropped them.
CREATE FUNCTION hotrollback.bin_dropped_v1(tables oid[], writer oid) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog
    AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE c.oid = ANY (tables) AND NOT pg_has_role(session_user, c.relowner, 'USAGE')
                  AND NOT pg_has_role(session_user, n.nspowner, 'USAGE')) THEN
        RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = 'must be owner of the tables';
    END IF;
    PERFORM hotrollback.bin_keys_v1(t) FROM unnest(tables) t
      ORDER BY NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = t);
    PERFORM hotrollback.bin_v1(t, writer) FROM unnest(tables) t;
END $$;
