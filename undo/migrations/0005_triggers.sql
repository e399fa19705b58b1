-- Capture triggers: what they run, and which tables need one.

ALTER TABLE hotrollback.meta ADD COLUMN all_tables boolean NOT NULL DEFAULT true;

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

-- What undo.image.image(.., safe_settings=True) makes, where there is no Python; for format(), with
-- %1$s where the row's name goes.
CREATE FUNCTION hotrollback.image_v1(relation oid) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog
    AS $$
    WITH taken AS (
        SELECT c.attnum, c.kind, c.generated, q.ident,
               CASE WHEN c.kind IN ('json', 'text', 'sensitive_text')
                         THEN '%1$s.' || q.ident || '::pg_catalog.text'
                    WHEN c.kind = 'pinned'
                         THEN 'hotrollback.pinned_v1(%1$s.' || q.ident || ')'
                    WHEN c.kind = 'oid'
                         THEN '%1$s.' || q.ident || '::pg_catalog.oid::pg_catalog.text'
                    ELSE '%1$s.' || q.ident END AS expression
          FROM hotrollback.columns_v1(ARRAY[relation]) c
         CROSS JOIN LATERAL (SELECT replace('"' || replace(c.name, '"', '""') || '"', '%', '%%')) AS q(ident)
    )
    SELECT CASE WHEN coalesce(bool_and(kind IN ('plain', 'sensitive') AND generated <> 'v'), true)
                THEN 'pg_catalog.row_to_json(%1$s.*)'
                ELSE '(SELECT pg_catalog.row_to_json(hotrollback_x.*) FROM (SELECT '
                     || coalesce(string_agg(expression || ' AS ' || ident, ', ' ORDER BY attnum)
                                 FILTER (WHERE generated <> 'v'), '')
                     || ') hotrollback_x)' END
      FROM taken
$$;

-- What undo.image.key_hash makes of the primary key, as image_v1 gives it.
CREATE FUNCTION hotrollback.key_hash_v1(relation oid) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog
    AS $$
    SELECT CASE WHEN bool_and(c.hashable)
                THEN 'pg_catalog.hash_record(ROW(' || string_agg('%1$s."'
                     || replace(replace(c.name, '"', '""'), '%', '%%') || '"', ', ' ORDER BY k.ord) || '))' END
      FROM pg_index i
     CROSS JOIN LATERAL unnest(i.indkey::smallint[]) WITH ORDINALITY AS k(attnum, ord)
      JOIN hotrollback.columns_v1(ARRAY[relation]) c ON c.attnum = k.attnum
     WHERE i.indrelid = relation AND i.indisprimary AND k.ord <= i.indnkeyatts
$$;

-- The body of a table's capture function. Every name in it is qualified, so that it needs no
-- search_path of its own. Where nothing makes it anew when columns come and go, it looks: a column
-- more than it knows, or one less, or of another type, and the whole row is kept as it is and marked
-- as stale. It names the types that it was made for, so that it is made anew with them: PL/pgSQL
-- fails where a field's type is another than when its plan was made. Where the writer may not write
-- the log (any more), its write goes on: what is lost then the proxy says, or the doctor.
CREATE FUNCTION hotrollback.capture_body_v1(relation oid) RETURNS text
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog
    AS $$
DECLARE
    image constant text := hotrollback.image_v1(relation);
    key constant text := coalesce(hotrollback.key_hash_v1(relation), 'NULL');
    columns smallint := (SELECT relnatts FROM pg_class WHERE oid = relation);
    types text := (SELECT string_agg(attnum || ':' || atttypid, ' ' ORDER BY attnum)
                     FROM pg_attribute
                    WHERE attrelid = relation AND attnum > 0 AND NOT attisdropped);
    guard text := format('IF NOT (pg_catalog.has_schema_privilege(%s::pg_catalog.oid, ''USAGE'') AND'
                         ' pg_catalog.has_any_column_privilege(%s::pg_catalog.oid, ''INSERT'')) THEN'
                         ' RETURN NULL; END IF;',
                         'hotrollback'::regnamespace::oid, 'hotrollback.change'::regclass::oid);
    plain constant text := $body$
-- for %6$s
BEGIN
    %7$s
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
-- for %6$s
DECLARE
    stale pg_catalog.bool;
    key pg_catalog.int4;
    before pg_catalog.json;
    after pg_catalog.json;
BEGIN
    %7$s
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
        EXCEPTION WHEN undefined_column OR datatype_mismatch THEN
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
                  format(key, 'OLD'), format(key, 'NEW'), format(image, 'OLD'), format(image, 'NEW'),
                  columns, types, guard);
END $$;

-- On a partition of a log that is full (max_log_size): who wrote where is kept, images are not, and
-- that is a gap. The row stays, because the client's row count is the log's.
CREATE FUNCTION hotrollback.on_full_v1() RETURNS trigger
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
DECLARE
    here constant text := format('%s %s', NEW.xid, NEW.relid);
BEGIN
    IF here IS DISTINCT FROM current_setting('hotrollback.full', true) THEN
        PERFORM hotrollback.leave_once_v1(NEW.fingerprint, NEW.relid, 'log_full');
        PERFORM set_config('hotrollback.full', here, true);
    END IF;
    NEW.op := '-';
    NEW.key := NULL;
    NEW.before := NULL;
    NEW.after := NULL;
    RETURN NEW;
END $$;

-- When a row is a capture trigger's to record: unless the statement that writes it is one that the
-- proxy has made and that records its rows itself, which its text tells. What that statement's
-- triggers and foreign keys write is the trigger's in any case. It is looked at for each row, so
-- that the proxy leaves long texts as they are.
CREATE FUNCTION hotrollback.unrecorded_v1() RETURNS text
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog
    AS $$
    SELECT 'pg_catalog.pg_trigger_depth() OPERATOR(pg_catalog.>) 0 OR pg_catalog.strpos('
           'COALESCE(pg_catalog.current_query(), ''''), ''hotrollback_w'') OPERATOR(pg_catalog.=) 0'
$$;

-- Sees to it that the table records every row written, and up to date; says what it had to do, or
-- null. What is in order is not touched, so that it takes no lock.
CREATE FUNCTION hotrollback.attach_v1(relation oid) RETURNS text
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog SET check_function_bodies = off
    AS $$
DECLARE
    name constant text := 'capture_' || relation;
    target text;
    sort "char";
    partition boolean;
    body text;
    settings text[] := '{}';
    existing record;
    enable text[] := '{}';
    done text;
    role constant text := hotrollback.unseen_v1();
BEGIN
    SELECT format('%I.%I', n.nspname, c.relname), c.relkind, c.relispartition
      INTO STRICT target, sort, partition
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = relation;
    body := CASE WHEN sort = 'r' THEN hotrollback.capture_body_v1(relation) END;
    IF EXISTS (SELECT FROM hotrollback.columns_v1(ARRAY[relation])
                WHERE kind IN ('sensitive', 'sensitive_text')) THEN
        settings := ARRAY['DateStyle=ISO, YMD', 'IntervalStyle=postgres', 'extra_float_digits=1'];
    END IF;
    SELECT p.prosrc, coalesce(p.proconfig, '{}') AS proconfig INTO existing
      FROM pg_proc p
     WHERE p.proname = name AND p.pronamespace = 'hotrollback'::regnamespace AND p.pronargs = 0;
    IF body IS NOT NULL
       AND (existing.prosrc IS DISTINCT FROM body OR existing.proconfig IS DISTINCT FROM settings) THEN
        done := CASE WHEN existing.prosrc IS NOT NULL THEN 'renewed' END;
        EXECUTE format('CREATE OR REPLACE FUNCTION hotrollback.%I() RETURNS trigger LANGUAGE plpgsql %s AS %L',
                       name,
                       (SELECT coalesce(string_agg(format('SET %I = %s', split_part(s, '=', 1),
                                        CASE WHEN s LIKE 'DateStyle=%' THEN '''ISO'', ''YMD'''
                                             ELSE quote_literal(split_part(s, '=', 2)) END), ' '), '')
                          FROM unnest(settings) s),
                       body);
    END IF;
    -- Made first and enabled then, both at once: an event trigger looks at the table in between.
    FOR existing IN
        SELECT m.name, format('CREATE TRIGGER %s %s ON %s %s EXECUTE FUNCTION hotrollback.%I()',
                              m.name, m.event, target, m.each, m.function) AS make,
               t.tgenabled
          FROM (VALUES ('r', 'hotrollback_capture', 'AFTER INSERT OR UPDATE OR DELETE',
                        'FOR EACH ROW WHEN (' || hotrollback.unrecorded_v1() || ')', name),
                       ('r', 'hotrollback_truncate', 'BEFORE TRUNCATE', '', 'on_truncate_v1'),
                       -- A statement on its parent fires only triggers for rows of a partition.
                       ('f', 'hotrollback_capture', 'AFTER INSERT OR UPDATE OR DELETE' ||
                        CASE WHEN NOT partition
                                  AND current_setting('server_version_num')::integer >= 160000
                             THEN ' OR TRUNCATE' ELSE '' END,
                        CASE WHEN partition THEN 'FOR EACH ROW' ELSE '' END, 'on_foreign_v1')
               ) AS m(relkind, name, event, each, function)
          LEFT JOIN pg_trigger t ON t.tgrelid = relation AND t.tgname = m.name
         WHERE m.relkind = sort::text AND t.tgenabled IS DISTINCT FROM 'A'
    LOOP
        enable := enable || format('ENABLE ALWAYS TRIGGER %s', existing.name);
        IF existing.tgenabled IS NULL THEN
            EXECUTE existing.make;
            done := 'attached';
        ELSIF done IS DISTINCT FROM 'attached' THEN
            done := 'enabled';
        END IF;
    END LOOP;
    IF enable <> '{}' THEN
        EXECUTE format('ALTER TABLE %s %s', target, array_to_string(enable, ', '));
    END IF;
    PERFORM set_config('session_replication_role', role, true) WHERE role IS NOT NULL;
    RETURN done;
END $$;

-- Relations that can have a capture trigger, or whose members can. Of `wanted`, or every one if it is null.
CREATE FUNCTION hotrollback.capturable_v1(wanted oid[]) RETURNS TABLE (oid oid, kind "char")
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog
    AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT c.oid, c.relkind FROM pg_class c
     WHERE c.relkind IN ('r', 'p', 'f') AND c.relpersistence <> 't'
       AND (wanted IS NULL OR c.oid = ANY (wanted))
       AND c.relnamespace NOT IN (
           SELECT n.oid FROM pg_namespace n
            WHERE n.nspname IN ('pg_catalog', 'information_schema', 'pg_toast', 'hotrollback',
                                'hotrollback_bin'))
       AND NOT EXISTS (SELECT FROM pg_depend d
                        WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                          AND d.deptype = 'e');
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
        SELECT c.oid, c.oid FROM hotrollback.capturable_v1(wanted) c
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
        SELECT c.root, s.reason
          FROM ( -- OFFSET: nothing below is asked about relations that are no members
            SELECT m.root, k.oid, k.relname, k.relkind, k.relacl, k.relrowsecurity
              FROM member m JOIN pg_class k ON k.oid = m.oid OFFSET 0) c
         CROSS JOIN LATERAL (
            SELECT 'row_security' WHERE c.relrowsecurity
            UNION ALL
            SELECT 'rules' WHERE EXISTS (
                SELECT FROM pg_rewrite r WHERE r.ev_class = c.oid AND r.rulename <> '_RETURN')
            UNION ALL
            SELECT 'rules' WHERE EXISTS ( -- of other tables, that may write this one
                SELECT FROM pg_depend d
                  JOIN pg_rewrite r ON r.oid = d.objid AND r.rulename <> '_RETURN'
                 WHERE d.classid = 'pg_rewrite'::regclass
                   AND d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid)
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
            SELECT 'current_query' WHERE hotrollback.sees_query_v1(c.oid)
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
                   FROM (SELECT unnest(g.reasons) FROM general g WHERE c.relkind = 'r'
                         UNION ALL
                         SELECT 'foreign_table' WHERE c.relkind = 'f'
                         UNION ALL
                         SELECT s.reason FROM member m JOIN special s ON s.root = m.root
                          WHERE m.oid = c.oid AND c.relkind = 'r') AS r(reason)
                  ORDER BY r.reason),
           EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid
                      AND t.tgname = 'hotrollback_capture')
      FROM pg_class c
     WHERE c.relkind IN ('r', 'f') AND c.relpersistence <> 't' AND c.oid IN (SELECT m.oid FROM member m);
END $$;
