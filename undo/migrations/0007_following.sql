-- How capture triggers follow changes of the schema, and how the proxy hears of them.

-- An epoch that was never there before. Not nextval: a client would see it in lastval().
CREATE FUNCTION hotrollback.bump_v1() RETURNS void
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog
    AS $$
    SELECT setval('hotrollback.epoch',
                  greatest((SELECT last_value FROM hotrollback.epoch) + 1,
                           (extract(epoch FROM clock_timestamp()) * 1000000)::bigint))
$$;

-- Attaches where it is needed, renews where it is attached, and keeps the names. Anybody may call
-- it, since it does nothing but what install would do.
CREATE FUNCTION hotrollback.follow_v1(relations oid[]) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog SET quote_all_identifiers = off
    AS $$
DECLARE
    needing oid[];
    each oid;
BEGIN
    INSERT INTO hotrollback.relation (relid, name)
    SELECT c.oid, format('%I.%I', n.nspname, c.relname)
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.oid = ANY (relations) AND c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
       AND n.nspname <> 'hotrollback_bin'
    ON CONFLICT DO NOTHING;
    IF (SELECT m.all_tables FROM hotrollback.meta m) THEN -- other reasons need not be looked for
        needing := ARRAY(SELECT c.oid FROM hotrollback.capturable_v1(relations) c WHERE c.kind <> 'p' ORDER BY 1);
    ELSE
        needing := ARRAY(SELECT n.relid FROM hotrollback.needs_v1(relations) n
                          WHERE n.captured OR n.reasons <> '{}' ORDER BY 1);
    END IF;
    FOREACH each IN ARRAY needing LOOP
        PERFORM hotrollback.attach_v1(each);
    END LOOP;
END $$;

-- Whether capture triggers record whatever is written, also where nothing can be compared afterwards: there
-- is no table without one, nor will there be. Large objects have none: no code of users may speak of them.
CREATE FUNCTION hotrollback.complete_v1() RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog
    AS $$
    SELECT hotrollback.followed_v1() AND (SELECT m.all_tables FROM hotrollback.meta m)
       AND NOT EXISTS (SELECT FROM pg_class c
                        WHERE c.relkind IN ('r', 'f') AND c.relpersistence <> 't' AND c.oid >= 16384
                          AND c.relnamespace NOT IN (SELECT n.oid FROM pg_namespace n WHERE n.nspname IN (
                                  'information_schema', 'hotrollback', 'hotrollback_bin'))
                          AND NOT EXISTS (SELECT FROM pg_trigger t
                                           WHERE t.tgrelid = c.oid AND t.tgname = 'hotrollback_capture'
                                             AND t.tgenabled = 'A'))
       AND NOT EXISTS (SELECT FROM pg_proc p
                        WHERE p.oid >= 16384 AND p.pronamespace <> 'hotrollback'::regnamespace
                          AND (p.proname = 'lo_manage'
                               OR CASE WHEN p.prosqlbody IS NULL THEN p.prosrc
                                       ELSE pg_get_functiondef(p.oid) END ~* E'\\m(lo_[a-z]|lowrite\\M)'))
$$;

-- DDL in a transaction that is not committed yet: the epoch grows once more when it commits, since
-- whoever asks the catalog in between sees the old state. Unlogged: in no publication.
CREATE UNLOGGED TABLE hotrollback.ddl (tag text NOT NULL);
GRANT INSERT ON hotrollback.ddl TO PUBLIC;

CREATE FUNCTION hotrollback.on_commit_v1() RETURNS trigger
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog
    AS $$
BEGIN
    PERFORM hotrollback.bump_v1();
    DELETE FROM hotrollback.ddl WHERE ctid = NEW.ctid;
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN -- a client's DDL must not fail for us; the first bump has been made
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER on_commit AFTER INSERT ON hotrollback.ddl
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hotrollback.on_commit_v1();
ALTER TABLE hotrollback.ddl ENABLE ALWAYS TRIGGER on_commit;

CREATE FUNCTION hotrollback.keep_names_v1(relations oid[], names text[]) RETURNS void
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog
    AS $$
    INSERT INTO hotrollback.relation (relid, name)
    SELECT r.relid, r.name FROM unnest(relations, names) AS r(relid, name)
     WHERE r.relid >= 16384 AND length(r.name) < 300
    ON CONFLICT DO NOTHING
$$;

-- Whether an undo is at work, which records its DDL itself, command by command. It may act as the owner of
-- what it writes.
CREATE FUNCTION hotrollback.reversing_v1() RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog
    AS $$
    SELECT coalesce(current_setting('hotrollback.reversing', true), '') = 'on'
           AND pg_has_role(session_user, (SELECT n.nspowner FROM pg_namespace n
                                           WHERE n.nspname = 'hotrollback'), 'USAGE')
$$;

-- Objects whose rows of the catalog this transaction, or a part of it, has written: for DDL that does
-- not say what it touched.
CREATE FUNCTION hotrollback.written_v1(OUT relations oid[], OUT objects jsonb)
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
DECLARE
    top constant bigint := pg_current_xact_id()::text::bigint;
    low constant bigint := top & 4294967295; -- what is older is not asked
BEGIN
    relations := ARRAY(SELECT hotrollback.relation_of_v1('pg_class'::regclass, c.oid) FROM pg_class c
                        WHERE c.xmin::text::bigint >= low AND hotrollback.ours_v1(c.xmin, top)
                       UNION
                       SELECT a.attrelid FROM pg_attribute a
                        WHERE a.xmin::text::bigint >= low AND hotrollback.ours_v1(a.xmin, top)
                       UNION
                       SELECT p.polrelid FROM pg_policy p
                        WHERE p.xmin::text::bigint >= low AND hotrollback.ours_v1(p.xmin, top)
                       UNION
                       SELECT s.stxrelid FROM pg_statistic_ext s
                        WHERE s.xmin::text::bigint >= low AND hotrollback.ours_v1(s.xmin, top));
    SELECT coalesce(jsonb_agg(jsonb_build_array(x.class::bigint, x.oid::bigint)), '[]') INTO objects
      FROM (SELECT 'pg_proc'::regclass::oid AS class, p.oid FROM pg_proc p
             WHERE p.xmin::text::bigint >= low AND hotrollback.ours_v1(p.xmin, top)
             UNION ALL
            SELECT 'pg_type'::regclass, t.oid FROM pg_type t
             WHERE t.xmin::text::bigint >= low AND hotrollback.ours_v1(t.xmin, top)
             UNION ALL
            SELECT 'pg_namespace'::regclass, n.oid FROM pg_namespace n
             WHERE n.xmin::text::bigint >= low AND hotrollback.ours_v1(n.xmin, top)) x;
END $$;

-- The relation that a component belongs to, if it is one's: with it all of its components are looked at.
CREATE FUNCTION hotrollback.relation_of_v1(class oid, object oid) RETURNS oid
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog
    AS $$
BEGIN -- in SQL it would be planned at each call
    RETURN CASE class
        WHEN 'pg_class'::regclass THEN
            coalesce((SELECT i.indrelid FROM pg_index i WHERE i.indexrelid = object),
                     -- Of an identity column.
                     (SELECT d.refobjid FROM pg_depend d
                       WHERE d.classid = class AND d.objid = object AND d.objsubid = 0 AND d.deptype = 'i'
                         AND d.refclassid = class AND d.refobjsubid > 0), object)
        WHEN 'pg_trigger'::regclass THEN
            (SELECT t.tgrelid FROM pg_trigger t
              WHERE t.oid = object AND t.tgname NOT IN ('hotrollback_capture', 'hotrollback_truncate'))
        WHEN 'pg_attrdef'::regclass THEN (SELECT d.adrelid FROM pg_attrdef d WHERE d.oid = object)
        WHEN 'pg_rewrite'::regclass THEN (SELECT w.ev_class FROM pg_rewrite w WHERE w.oid = object)
        WHEN 'pg_policy'::regclass THEN (SELECT p.polrelid FROM pg_policy p WHERE p.oid = object)
        WHEN 'pg_constraint'::regclass THEN
            (SELECT nullif(k.conrelid, 0) FROM pg_constraint k WHERE k.oid = object)
        WHEN 'pg_statistic_ext'::regclass THEN
            (SELECT s.stxrelid FROM pg_statistic_ext s WHERE s.oid = object)
        WHEN 'pg_type'::regclass THEN
            (SELECT nullif(t.typrelid, 0) FROM pg_type t WHERE t.oid = object)
    END;
END $$;

-- What a command touched, as record_ddl_v1 takes it.
CREATE FUNCTION hotrollback.touched_v1(commands jsonb, OUT relations oid[], OUT objects jsonb, OUT others jsonb)
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
BEGIN
    WITH command AS (
        SELECT c.*, hotrollback.relation_of_v1(c.classid, c.objid) AS relid
          FROM jsonb_to_recordset(commands)
               AS c(classid oid, objid oid, command_tag text, object_type text, object_identity text)
    )
    SELECT coalesce(array_agg(c.relid) FILTER (WHERE c.relid IS NOT NULL), '{}'),
           coalesce(jsonb_agg(jsonb_build_array(
                        CASE WHEN k.contypid IS NULL THEN c.classid ELSE 'pg_type'::regclass END::bigint,
                        coalesce(k.contypid, c.objid)::bigint))
                    FILTER (WHERE c.relid IS NULL
                              AND (c.classid IN ('pg_proc'::regclass, 'pg_type'::regclass,
                                                 'pg_namespace'::regclass, 'pg_extension'::regclass)
                                   OR k.contypid IS NOT NULL)), '[]'),
           coalesce(jsonb_agg(jsonb_build_array(c.classid::bigint, c.objid::bigint,
                                                c.command_tag LIKE 'CREATE %',
                                                c.object_type || ' ' || c.object_identity))
                    FILTER (WHERE c.relid IS NULL AND k.contypid IS NULL
                              AND c.classid NOT IN (
                                  'pg_class'::regclass, 'pg_trigger'::regclass, 'pg_rewrite'::regclass,
                                  'pg_policy'::regclass, 'pg_statistic_ext'::regclass,
                                  'pg_proc'::regclass, 'pg_type'::regclass, 'pg_namespace'::regclass,
                                  'pg_extension'::regclass)), '[]')
      INTO relations, objects, others
      FROM command c
      LEFT JOIN pg_constraint k ON c.classid = 'pg_constraint'::regclass AND k.oid = c.objid
                               AND k.contypid <> 0;
END $$;

-- Whether it is DDL of ours, that nobody is told of: attach_v1 is making its triggers, or a table moves to
-- the bin, or back, whoever moves it sees to its images. Triggers are known by their names; the rest by
-- who has called: frames of the stack, with one line of its own text.
CREATE FUNCTION hotrollback.our_own_v1(stack text, tag text, commands jsonb) RETURNS boolean
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog
    AS $$
BEGIN
    RETURN CASE
    WHEN tag = 'CREATE TRIGGER' THEN
        NOT EXISTS (SELECT FROM jsonb_array_elements(commands) c
                     WHERE c ->> 'object_identity' !~ '^hotrollback_(capture|truncate|foreign) on ')
    WHEN tag = 'ALTER TABLE' AND stack LIKE '%hotrollback.attach\_v1(oid)%' THEN
        stack ~ ('^[^\n]*\nSQL statement "ALTER TABLE [^\n]* ENABLE ALWAYS TRIGGER hotrollback_[a-z]+"\n'
                 'PL/pgSQL function hotrollback\.attach_v1\(oid\) line ')
    ELSE
        stack ~ ('^[^\n]*\nSQL statement "(ALTER|GRANT|REVOKE|DROP POLICY) [^\n]*"\n'
                 'PL/pgSQL function hotrollback\.(rename_binned_v1|move_statistics_v1|take_rights_v1'
                 '|give_rights_v1|revoke_v1|grant_v1|bin_v1|unbin_v1|unpublish_v1|publish_v1)\(')
        AND stack NOT LIKE '%hotrollback.bin\_object\_v1(%' AND stack NOT LIKE '%hotrollback.unbin\_object\_v1(%'
    END;
END $$;

-- After DDL of anybody. It never fails, but before a fence, and waits for no lock worth speaking of: what it could not
-- do is a gap.
CREATE FUNCTION hotrollback.on_ddl_v1() RETURNS event_trigger
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog SET lock_timeout = '100ms' SET client_min_messages = error
    SET quote_all_identifiers = off SET standard_conforming_strings = on
    AS $$
DECLARE
    commands jsonb;
    dropped jsonb := coalesce(nullif(current_setting('hotrollback.dropped', true), ''), '[]')::jsonb;
    what record;
    written record;
    below oid[];
    made oid[] := '{}';
    ours boolean;
    stack text;
BEGIN
    GET DIAGNOSTICS stack = PG_CONTEXT;
    PERFORM set_config('hotrollback.dropped', '', true);
    PERFORM set_config('hotrollback.commands', (hotrollback.commands_v1() + 1)::text, true);
    SELECT coalesce(jsonb_agg(jsonb_build_object(
               'classid', c.classid::bigint, 'objid', c.objid::bigint, 'command_tag', c.command_tag,
               'object_type', c.object_type, 'object_identity', c.object_identity))
               FILTER (WHERE c.objid IS NOT NULL AND NOT c.in_extension
                         AND c.schema_name IS DISTINCT FROM 'pg_temp'
                         AND c.schema_name IS DISTINCT FROM 'hotrollback'), '[]'),
           coalesce(bool_and(c.schema_name IS NOT DISTINCT FROM 'pg_temp'
                             OR c.schema_name IS NOT DISTINCT FROM 'hotrollback'
                             OR c.in_extension), false) -- whose own command follows
      INTO commands, ours
      FROM pg_event_trigger_ddl_commands() c;
    IF to_regclass('hotrollback.ddl') IS NULL THEN
        RETURN;
    ELSIF ours OR (TG_TAG LIKE 'DROP %' AND TG_TAG <> 'DROP OWNED' AND dropped = '[]') THEN
        IF TG_TAG IN ('CREATE INDEX', 'DROP INDEX') THEN -- of a temporary table, or IF EXISTS of none
            PERFORM hotrollback.retract_v1();
        END IF;
        RETURN;
    END IF;
    IF hotrollback.our_own_v1(stack, TG_TAG, commands) THEN
        PERFORM hotrollback.bump_v1();
        INSERT INTO hotrollback.ddl (tag) VALUES (TG_TAG);
        RETURN;
    END IF;
    SELECT * INTO what FROM hotrollback.touched_v1(commands);
    IF TG_TAG IN ('ALTER DEFAULT PRIVILEGES', 'SECURITY LABEL') THEN
        what.others := what.others || jsonb_build_array(jsonb_build_array(0, 0, false, lower(TG_TAG)));
    END IF;
    IF (commands = '[]' AND dropped = '[]' AND TG_TAG NOT LIKE 'CREATE %')
       OR (TG_TAG IN ('GRANT', 'REVOKE', 'DROP OWNED', 'REASSIGN OWNED') AND NOT hotrollback.reversing_v1()) THEN
        SELECT * INTO written FROM hotrollback.written_v1();
        what.relations := what.relations || written.relations;
        what.objects := what.objects || written.objects;
        what.others := what.others || hotrollback.unkept_v1(TG_TAG);
    END IF;
    WITH RECURSIVE tree(oid) AS (
        SELECT unnest(what.relations)
        UNION
        SELECT i.inhrelid FROM tree t JOIN pg_inherits i ON i.inhparent = t.oid
    )
    SELECT coalesce(array_agg(t.oid), '{}') INTO below FROM tree t;
    IF TG_TAG NOT IN ('COMMENT', 'SECURITY LABEL', 'REFRESH MATERIALIZED VIEW', 'CREATE STATISTICS',
                      'ALTER STATISTICS', 'ALTER DEFAULT PRIVILEGES') AND TG_TAG NOT LIKE 'DROP %' THEN
        PERFORM hotrollback.fence_v1();
        PERFORM hotrollback.bump_v1();
        INSERT INTO hotrollback.ddl (tag) VALUES (TG_TAG);
    END IF;
    IF TG_TAG IN ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO', 'CREATE SCHEMA') THEN
        made := hotrollback.made_v1(ARRAY(
            SELECT (c ->> 'objid')::oid FROM jsonb_array_elements(commands) c
             WHERE c ->> 'command_tag' IN ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO')
               AND c ->> 'object_type' = 'table'));
    END IF;
    -- Before triggers are attached, which is DDL, too.
    IF NOT hotrollback.reversing_v1() THEN
        PERFORM hotrollback.record_ddl_v1(TG_TAG, below, what.objects, dropped, made, what.others);
    END IF;
    IF TG_TAG IN ('CREATE INDEX', 'DROP INDEX', 'ALTER TABLE') THEN
        PERFORM hotrollback.retract_v1();
    END IF;
    IF TG_TAG NOT LIKE 'DROP %' THEN
        PERFORM hotrollback.follow_v1(ARRAY(
            SELECT c.oid FROM pg_class c
             WHERE c.relkind IN ('r', 'p', 'f')
               AND (c.oid = ANY (below)
                    -- It may change how values are kept.
                    OR ((TG_TAG LIKE '% CAST' OR TG_TAG LIKE '% EXTENSION')
                        AND c.oid IN (SELECT t.tgrelid FROM pg_trigger t
                                       WHERE t.tgname = 'hotrollback_capture')))));
    END IF;
EXCEPTION WHEN SQLSTATE 'RB004' THEN
    RAISE;
WHEN OTHERS THEN
    DECLARE
        reported constant text := TG_TAG || ': ' || SQLERRM;
    BEGIN
        INSERT INTO hotrollback.gap (reason, statement) VALUES ('event_trigger', reported);
    EXCEPTION WHEN OTHERS THEN -- not even that: the log is gone, and its absence says so
        RETURN;
    END;
END $$;

-- What is dropped is not there any more when its command has ended: it is handed on.
CREATE FUNCTION hotrollback.on_drop_v1() RETURNS event_trigger
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog SET client_min_messages = error SET quote_all_identifiers = off
    AS $$
DECLARE
    dropped jsonb;
    tables oid[];
    names text[];
BEGIN
    -- Nobody asks for these but who spares tables, with which they go.
    PERFORM set_config('hotrollback.temporary', (
        SELECT jsonb_agg(jsonb_build_array(d.object_type, d.object_identity))
          FROM pg_event_trigger_dropped_objects() d
         WHERE d.is_temporary AND d.object_type IN ('table', 'view'))::text, true);
    -- Without its default a column is another one.
    SELECT jsonb_agg(CASE WHEN d.object_type = 'default value' THEN jsonb_build_array(
                         'pg_class'::regclass::oid::bigint,
                         -- Not by to_regclass: whoever drops it may not look into every schema.
                         (SELECT c.oid::bigint FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                           WHERE n.nspname = d.address_names[1] AND c.relname = d.address_names[2]),
                         -1)
                     ELSE jsonb_build_array(d.classid::bigint, d.objid::bigint, d.objsubid, d.object_type,
                                            d.object_identity) END),
           array_agg(d.objid ORDER BY d.objid) FILTER (WHERE d.object_type = 'table'),
           array_agg(d.object_identity ORDER BY d.objid) FILTER (WHERE d.object_type = 'table')
      INTO dropped, tables, names
      FROM pg_event_trigger_dropped_objects() d
     WHERE NOT d.is_temporary AND d.schema_name IS DISTINCT FROM 'hotrollback'
       AND d.schema_name IS DISTINCT FROM 'pg_temp';
    IF dropped IS NULL OR to_regclass('hotrollback.ddl') IS NULL THEN
        RETURN;
    END IF;
    PERFORM hotrollback.fence_v1();
    PERFORM hotrollback.bump_v1();
    INSERT INTO hotrollback.ddl (tag) VALUES (TG_TAG);
    IF tables IS NOT NULL THEN
        PERFORM hotrollback.keep_names_v1(tables, names);
    END IF;
    PERFORM set_config('hotrollback.dropped', dropped::text, true);
EXCEPTION WHEN SQLSTATE 'RB004' THEN
    RAISE;
WHEN OTHERS THEN
    DECLARE
        reported constant text := TG_TAG || ': ' || SQLERRM;
    BEGIN
        INSERT INTO hotrollback.gap (reason, statement) VALUES ('event_trigger', reported);
    EXCEPTION WHEN OTHERS THEN -- not even that: the log is gone, and its absence says so
        RETURN;
    END;
END $$;
