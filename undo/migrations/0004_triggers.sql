-- Capture triggers: what they run, which tables need one, and how they follow changes of the schema.

ALTER TABLE hotrollback.meta ADD COLUMN all_tables boolean NOT NULL DEFAULT false;

-- Under a publication FOR ALL TABLES a DELETE needs to tell the rows apart.
ALTER TABLE hotrollback.gap REPLICA IDENTITY FULL;
ALTER TABLE hotrollback.undone REPLICA IDENTITY FULL;

-- Whether an event trigger keeps the capture functions up to date with their tables.
CREATE FUNCTION hotrollback.followed_v1() RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog
    AS $$
    SELECT EXISTS (SELECT FROM pg_event_trigger
                    WHERE evtname = 'hotrollback_ddl' AND evtenabled = 'A')
$$;

-- What undo.image.image(.., safe_settings=True) makes, where there is no Python.
CREATE FUNCTION hotrollback.image_v1(relation oid, alias text) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog
    AS $$
    WITH taken AS (
        SELECT c.attnum, c.kind, c.generated, q.ident,
               CASE WHEN c.kind IN ('json', 'text', 'sensitive_text')
                         THEN alias || '.' || q.ident || '::pg_catalog.text'
                    WHEN c.kind = 'pinned'
                         THEN 'hotrollback.pinned_v1(' || alias || '.' || q.ident || ')'
                    WHEN c.kind = 'oid'
                         THEN alias || '.' || q.ident || '::pg_catalog.oid::pg_catalog.text'
                    ELSE alias || '.' || q.ident END AS expression
          FROM hotrollback.columns_v1(ARRAY[relation]) c
         CROSS JOIN LATERAL (SELECT '"' || replace(c.name, '"', '""') || '"') AS q(ident)
    )
    SELECT CASE WHEN coalesce(bool_and(kind IN ('plain', 'sensitive') AND generated <> 'v'), true)
                THEN 'pg_catalog.row_to_json(' || alias || '.*)'
                ELSE '(SELECT pg_catalog.row_to_json(hotrollback_x.*) FROM (SELECT '
                     || coalesce(string_agg(expression || ' AS ' || ident, ', ' ORDER BY attnum)
                                 FILTER (WHERE generated <> 'v'), '')
                     || ') hotrollback_x)' END
      FROM taken
$$;

-- What undo.image.key_hash makes of the primary key.
CREATE FUNCTION hotrollback.key_hash_v1(relation oid, alias text) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog
    AS $$
    SELECT CASE WHEN bool_and(c.hashable)
                THEN 'pg_catalog.hash_record(ROW(' || string_agg(alias || '."'
                     || replace(c.name, '"', '""') || '"', ', ' ORDER BY k.ord) || '))' END
      FROM pg_index i
     CROSS JOIN LATERAL unnest(i.indkey::smallint[]) WITH ORDINALITY AS k(attnum, ord)
      JOIN hotrollback.columns_v1(ARRAY[relation]) c ON c.attnum = k.attnum
     WHERE i.indrelid = relation AND i.indisprimary AND k.ord <= i.indnkeyatts
$$;

-- The body of a table's capture function. Every name in it is qualified, so that it needs no
-- search_path of its own. Where nothing makes it anew when columns come and go, it looks: a column
-- more than it knows, or one less, and the whole row is kept as it is and marked as stale.
CREATE FUNCTION hotrollback.capture_body_v1(relation oid) RETURNS text
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog
    AS $$
DECLARE
    before text := hotrollback.image_v1(relation, 'OLD');
    after text := hotrollback.image_v1(relation, 'NEW');
    old_key text := coalesce(hotrollback.key_hash_v1(relation, 'OLD'), 'NULL');
    new_key text := coalesce(hotrollback.key_hash_v1(relation, 'NEW'), 'NULL');
    columns smallint := (SELECT relnatts FROM pg_class WHERE oid = relation);
    plain constant text := $body$
BEGIN
    IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE' THEN
        INSERT INTO hotrollback.change (relid, op, old_tid, new_tid, key, before, after)
        VALUES (TG_RELID, 'U', OLD.ctid, NEW.ctid, %2$s, %3$s, %4$s);
    ELSIF TG_OP OPERATOR(pg_catalog.=) 'INSERT' THEN
        INSERT INTO hotrollback.change (relid, op, new_tid, key, after)
        VALUES (TG_RELID, 'I', NEW.ctid, %2$s, %4$s);
    ELSE
        INSERT INTO hotrollback.change (relid, op, old_tid, key, before)
        VALUES (TG_RELID, 'D', OLD.ctid, %1$s, %3$s);
    END IF;
    RETURN NULL;
END $body$;
    guarded constant text := $body$
DECLARE
    stale pg_catalog.bool;
    key pg_catalog.int4;
    before pg_catalog.json;
    after pg_catalog.json;
BEGIN
    stale := (SELECT true FROM pg_catalog.pg_class c
               WHERE c.oid OPERATOR(pg_catalog.=) TG_RELID
                 AND c.relnatts OPERATOR(pg_catalog.<>) %5$s);
    IF stale IS NULL THEN
        BEGIN
            IF TG_OP OPERATOR(pg_catalog.=) 'DELETE' THEN
                key := %1$s;
            ELSE
                key := %2$s;
                after := %4$s;
            END IF;
            IF TG_OP OPERATOR(pg_catalog.<>) 'INSERT' THEN
                before := %3$s;
            END IF;
        EXCEPTION WHEN undefined_column THEN
            stale := true;
        END;
    END IF;
    IF stale THEN
        key := NULL;
        before := pg_catalog.row_to_json(OLD.*);
        after := pg_catalog.row_to_json(NEW.*);
    END IF;
    INSERT INTO hotrollback.change (relid, op, old_tid, new_tid, key, stale, before, after)
    VALUES (TG_RELID,
            CASE WHEN TG_OP OPERATOR(pg_catalog.=) 'INSERT' THEN 'I'
                 WHEN TG_OP OPERATOR(pg_catalog.=) 'UPDATE' THEN 'U' ELSE 'D' END,
            OLD.ctid, NEW.ctid, key, stale, before, after);
    RETURN NULL;
END $body$;
BEGIN
    RETURN format(CASE WHEN hotrollback.followed_v1() THEN plain ELSE guarded END,
                  old_key, new_key, before, after, columns);
END $$;

-- Sees to it that the table records every row written, and up to date; says what it had to do, or
-- null. What is in order is not touched, so that it takes no lock.
CREATE FUNCTION hotrollback.attach_v1(relation oid) RETURNS text
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog SET check_function_bodies = off
    AS $$
DECLARE
    name constant text := 'capture_' || relation;
    target text;
    body text;
    settings text[] := '{}';
    existing record;
    done text;
BEGIN
    SELECT format('%I.%I', n.nspname, c.relname) INTO STRICT target
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = relation;
    body := hotrollback.capture_body_v1(relation);
    IF EXISTS (SELECT FROM hotrollback.columns_v1(ARRAY[relation])
                WHERE kind IN ('sensitive', 'sensitive_text')) THEN
        settings := ARRAY['DateStyle=ISO, YMD', 'IntervalStyle=postgres', 'extra_float_digits=1'];
    END IF;
    SELECT p.prosrc, coalesce(p.proconfig, '{}') AS proconfig INTO existing
      FROM pg_proc p
     WHERE p.proname = name AND p.pronamespace = 'hotrollback'::regnamespace AND p.pronargs = 0;
    IF existing.prosrc IS DISTINCT FROM body OR existing.proconfig IS DISTINCT FROM settings THEN
        done := CASE WHEN existing.prosrc IS NOT NULL THEN 'renewed' END;
        EXECUTE format('CREATE OR REPLACE FUNCTION hotrollback.%I() RETURNS trigger LANGUAGE plpgsql %s AS %L',
                       name,
                       (SELECT coalesce(string_agg(format('SET %I = %s', split_part(s, '=', 1),
                                        CASE WHEN s LIKE 'DateStyle=%' THEN '''ISO'', ''YMD'''
                                             ELSE quote_literal(split_part(s, '=', 2)) END), ' '), '')
                          FROM unnest(settings) s),
                       body);
    END IF;
    SELECT t.tgenabled INTO existing
      FROM pg_trigger t WHERE t.tgrelid = relation AND t.tgname = 'hotrollback_capture';
    IF NOT FOUND THEN
        EXECUTE format('CREATE TRIGGER hotrollback_capture AFTER INSERT OR UPDATE OR DELETE ON %s'
                       ' FOR EACH ROW EXECUTE FUNCTION hotrollback.%I()', target, name);
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER hotrollback_capture', target);
        RETURN 'attached';
    ELSIF existing.tgenabled <> 'A' THEN
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER hotrollback_capture', target);
        RETURN 'enabled';
    END IF;
    RETURN done;
END $$;

-- Tables that can have a capture trigger, and why they need one; the words are those of the gaps
-- that would be there without it. What one member of a partition or inheritance tree needs, all do:
-- a statement may name any of them. Of `wanted`, or every one if it is null.
CREATE FUNCTION hotrollback.needs_v1(wanted oid[])
    RETURNS TABLE (relid oid, reasons text[], captured boolean)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog SET jit = off
    AS $$
BEGIN
    RETURN QUERY
    WITH RECURSIVE upward(start, oid) AS (
        SELECT c.oid, c.oid FROM pg_class c
         WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
           AND (wanted IS NULL OR c.oid = ANY (wanted))
           AND c.relnamespace NOT IN (
               SELECT n.oid FROM pg_namespace n
                WHERE n.nspname IN ('pg_catalog', 'information_schema', 'pg_toast', 'hotrollback',
                                    'hotrollback_bin'))
           AND NOT EXISTS (SELECT FROM pg_depend d
                            WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                              AND d.deptype = 'e')
        UNION
        SELECT u.start, i.inhparent FROM upward u JOIN pg_inherits i ON i.inhrelid = u.oid
    ), root AS (
        SELECT DISTINCT u.oid FROM upward u
         WHERE NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = u.oid)
    ), member(root, oid) AS (
        SELECT r.oid, r.oid FROM root r
        UNION
        SELECT m.root, i.inhrelid FROM member m JOIN pg_inherits i ON i.inhparent = m.oid
    ), writer AS MATERIALIZED (
        -- Code of users that seems to write. What is not SQL or PL/pgSQL may put names together.
        SELECT lower(s.source) AS source,
               l.lanname NOT IN ('sql', 'plpgsql') OR s.source ~* E'\\mexecute\\M' AS dynamic
          FROM pg_proc p
          JOIN pg_language l ON l.oid = p.prolang
         CROSS JOIN LATERAL (
               SELECT CASE WHEN p.prosqlbody IS NULL THEN p.prosrc
                           ELSE pg_get_functiondef(p.oid) END) AS s(source)
         WHERE l.lanname NOT IN ('c', 'internal') AND p.prokind <> 'a'
           AND p.pronamespace NOT IN (
               SELECT n.oid FROM pg_namespace n
                WHERE n.nspname IN ('pg_catalog', 'information_schema', 'hotrollback'))
           AND NOT EXISTS (SELECT FROM pg_depend d
                            WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid
                              AND d.deptype = 'e')
           AND s.source ~* E'\\m(insert|update|delete|merge|copy|truncate)\\M'
    ), general AS (
        SELECT array_agg(g.reason) AS reasons
          FROM (SELECT 'all_tables' FROM hotrollback.meta m WHERE m.all_tables
                UNION ALL
                SELECT 'no_old' WHERE current_setting('server_version_num')::integer < 180000
                UNION ALL
                SELECT 'function' WHERE EXISTS (SELECT FROM writer w WHERE w.dynamic)) AS g(reason)
    ), special AS (
        SELECT m.root, s.reason
          FROM member m
          JOIN pg_class c ON c.oid = m.oid
         CROSS JOIN LATERAL (
            SELECT 'row_security' WHERE c.relrowsecurity
            UNION ALL
            SELECT 'rules' WHERE EXISTS (
                SELECT FROM pg_rewrite r WHERE r.ev_class = c.oid AND r.rulename <> '_RETURN')
            UNION ALL
            SELECT 'triggers' WHERE EXISTS (
                SELECT FROM pg_trigger t
                 WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgname !~ '^hotrollback_')
            UNION ALL
            SELECT 'cascade' WHERE EXISTS (
                SELECT FROM pg_constraint k
                 WHERE k.conrelid = c.oid AND k.contype = 'f'
                   AND (k.confdeltype IN ('c', 'n', 'd') OR k.confupdtype IN ('c', 'n', 'd')))
            UNION ALL
            SELECT 'current_query' WHERE EXISTS (
                SELECT FROM pg_attrdef d
                 WHERE d.adrelid = c.oid
                   AND pg_get_expr(d.adbin, d.adrelid) ~* 'current_query')
            UNION ALL
            SELECT 'inheritance' WHERE c.relkind = 'r' AND EXISTS (
                SELECT FROM pg_inherits i WHERE i.inhparent = c.oid)
            UNION ALL
            SELECT 'no_select' WHERE EXISTS (
                SELECT FROM (SELECT x.grantee, x.privilege_type FROM aclexplode(c.relacl) x
                             UNION ALL
                             SELECT x.grantee, x.privilege_type FROM pg_attribute a
                              CROSS JOIN LATERAL aclexplode(a.attacl) x
                              WHERE a.attrelid = c.oid AND NOT a.attisdropped) g
                  LEFT JOIN pg_roles o ON o.oid = g.grantee
                 WHERE g.privilege_type IN ('INSERT', 'UPDATE', 'DELETE')
                   AND o.rolsuper IS NOT TRUE AND (g.grantee = 0 OR o.oid IS NOT NULL)
                   AND EXISTS (
                       SELECT FROM pg_attribute a
                        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                          AND NOT has_column_privilege(coalesce(o.rolname, 'public'), c.oid,
                                                       a.attnum, 'SELECT')))
            UNION ALL
            SELECT 'view' WHERE EXISTS (
                SELECT FROM pg_depend d
                  JOIN pg_rewrite r ON r.oid = d.objid
                  JOIN pg_class v ON v.oid = r.ev_class AND v.relkind = 'v'
                 WHERE d.classid = 'pg_rewrite'::regclass
                   AND d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid
                   AND pg_relation_is_updatable(v.oid::regclass, true) & 28 <> 0)
            UNION ALL
            SELECT 'function' WHERE EXISTS (
                SELECT FROM writer w
                 WHERE strpos(w.source, lower(c.relname)) > 0
                   AND (c.relname !~ E'^\\w+$' OR w.source ~ (E'\\m' || lower(c.relname) || E'\\M')))
         ) AS s(reason)
    )
    SELECT c.oid,
           ARRAY(SELECT DISTINCT r.reason
                   FROM (SELECT unnest(g.reasons) FROM general g
                         UNION ALL
                         SELECT s.reason FROM member m JOIN special s ON s.root = m.root
                          WHERE m.oid = c.oid) AS r(reason)
                  ORDER BY r.reason),
           EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid
                      AND t.tgname = 'hotrollback_capture')
      FROM pg_class c
     WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND c.oid IN (SELECT m.oid FROM member m);
END $$;

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
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog
    AS $$
DECLARE
    needing oid;
BEGIN
    INSERT INTO hotrollback.relation (relid, name)
    SELECT c.oid, format('%I.%I', n.nspname, c.relname)
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.oid = ANY (relations) AND c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
    ON CONFLICT DO NOTHING;
    FOR needing IN
        SELECT relid FROM hotrollback.needs_v1(relations) WHERE captured OR reasons <> '{}'
         ORDER BY relid
    LOOP
        PERFORM hotrollback.attach_v1(needing);
    END LOOP;
END $$;

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

-- After DDL of anybody. It never fails and waits for no lock worth speaking of: what it could not
-- do is a gap.
CREATE FUNCTION hotrollback.on_ddl_v1() RETURNS event_trigger
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog SET lock_timeout = '100ms' SET client_min_messages = error
    AS $$
DECLARE
    touched oid[];
    relevant boolean;
BEGIN
    IF TG_TAG IN ('COMMENT', 'SECURITY LABEL', 'REFRESH MATERIALIZED VIEW', 'CREATE STATISTICS',
                  'ALTER STATISTICS', 'ALTER DEFAULT PRIVILEGES') OR TG_TAG LIKE 'DROP %' THEN
        RETURN;
    END IF;
    SELECT count(*) = 0 OR bool_or(c.schema_name IS DISTINCT FROM 'pg_temp'
                                   AND c.schema_name IS DISTINCT FROM 'hotrollback'),
           array_agg(DISTINCT r.oid) FILTER (WHERE NOT c.in_extension AND r.oid IS NOT NULL)
      INTO relevant, touched
      FROM pg_event_trigger_ddl_commands() c
     CROSS JOIN LATERAL (
           SELECT CASE c.classid
                       WHEN 'pg_class'::regclass THEN c.objid
                       WHEN 'pg_trigger'::regclass THEN
                            (SELECT t.tgrelid FROM pg_trigger t
                              WHERE t.oid = c.objid AND t.tgname <> 'hotrollback_capture')
                       WHEN 'pg_rewrite'::regclass THEN
                            (SELECT w.ev_class FROM pg_rewrite w WHERE w.oid = c.objid)
                       WHEN 'pg_policy'::regclass THEN
                            (SELECT p.polrelid FROM pg_policy p WHERE p.oid = c.objid)
                  END) AS r(oid);
    IF NOT relevant THEN
        RETURN;
    END IF;
    PERFORM hotrollback.bump_v1();
    INSERT INTO hotrollback.ddl (tag) VALUES (TG_TAG);
    IF TG_TAG LIKE '% CAST' OR TG_TAG LIKE '% EXTENSION' THEN -- may change how values are kept
        touched := touched || ARRAY(SELECT t.tgrelid FROM pg_trigger t
                                     WHERE t.tgname = 'hotrollback_capture');
    END IF;
    WITH RECURSIVE below(oid) AS (
        SELECT unnest(touched)
        UNION
        SELECT i.inhrelid FROM below b JOIN pg_inherits i ON i.inhparent = b.oid
    )
    SELECT array_agg(b.oid) INTO touched
      FROM below b JOIN pg_class c ON c.oid = b.oid AND c.relkind IN ('r', 'p');
    IF touched IS NOT NULL THEN
        PERFORM hotrollback.follow_v1(touched);
    END IF;
EXCEPTION WHEN OTHERS THEN
    DECLARE
        reported constant text := TG_TAG || ': ' || SQLERRM;
    BEGIN
        INSERT INTO hotrollback.gap (reason, statement) VALUES ('event_trigger', reported);
    EXCEPTION WHEN OTHERS THEN -- not even that: the log is gone, and its absence says so
        RETURN;
    END;
END $$;

CREATE FUNCTION hotrollback.keep_names_v1(relations oid[], names text[]) RETURNS void
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog
    AS $$
    INSERT INTO hotrollback.relation (relid, name)
    SELECT r.relid, r.name FROM unnest(relations, names) AS r(relid, name)
     WHERE r.relid >= 16384 AND length(r.name) < 300
    ON CONFLICT DO NOTHING
$$;

CREATE FUNCTION hotrollback.on_drop_v1() RETURNS event_trigger
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog SET client_min_messages = error
    AS $$
DECLARE
    relevant boolean;
    dropped oid[];
    names text[];
BEGIN
    SELECT bool_or(true),
           array_agg(d.objid ORDER BY d.objid) FILTER (WHERE d.object_type = 'table'),
           array_agg(d.object_identity ORDER BY d.objid) FILTER (WHERE d.object_type = 'table')
      INTO relevant, dropped, names
      FROM pg_event_trigger_dropped_objects() d
     WHERE NOT d.is_temporary AND d.schema_name IS DISTINCT FROM 'hotrollback'
       AND d.schema_name IS DISTINCT FROM 'pg_temp';
    IF relevant IS NULL OR to_regclass('hotrollback.ddl') IS NULL THEN
        RETURN;
    END IF;
    PERFORM hotrollback.bump_v1();
    INSERT INTO hotrollback.ddl (tag) VALUES (TG_TAG);
    IF dropped IS NOT NULL THEN
        PERFORM hotrollback.keep_names_v1(dropped, names);
    END IF;
EXCEPTION WHEN OTHERS THEN
    DECLARE
        reported constant text := TG_TAG || ': ' || SQLERRM;
    BEGIN
        INSERT INTO hotrollback.gap (reason, statement) VALUES ('event_trigger', reported);
    EXCEPTION WHEN OTHERS THEN -- not even that: the log is gone, and its absence says so
        RETURN;
    END;
END $$;

-- Whoever hardened the default privileges of new functions did not mean these.
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA hotrollback TO PUBLIC;
