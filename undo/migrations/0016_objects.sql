-- Types and routines that only tables in the bin still need go there, too, when they are dropped: these
-- would lose columns, defaults, checks or triggers otherwise.
CREATE TABLE hotrollback.binned (
    classid oid NOT NULL, -- as their components have it: of a composite type it is its relation
    objid oid NOT NULL,
    schema name NOT NULL,
    name name NOT NULL,
    parts jsonb NOT NULL, -- [{word, oid, schema, name}], with itself as the first one
    rights jsonb NOT NULL, -- as with_roles_v1 has them
    xid bigint NOT NULL DEFAULT (pg_current_xact_id()::text::bigint),
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (classid, objid)
);

-- Types and routines as DDL and catalog have them.
CREATE VIEW hotrollback.object AS
SELECT 'pg_type'::regclass::oid AS class, t.oid, 'TYPE' AS word, t.typname AS name, n.nspname AS schema,
       n.oid AS namespace, t.typowner AS owner, coalesce(t.typacl, acldefault('T', t.typowner)) AS acl,
       t.typtype IN ('e', 'd', 'r') OR EXISTS (
           SELECT FROM pg_class c WHERE c.oid = t.typrelid AND c.relkind = 'c') AS movable,
       -- Goes with another.
       EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid) OR t.typtype = 'm' AS within,
       CASE WHEN t.typtype = 'c' THEN 'pg_class'::regclass ELSE 'pg_type'::regclass END::oid AS classid,
       CASE WHEN t.typtype = 'c' THEN t.typrelid ELSE t.oid END AS objid
  FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
 UNION ALL
SELECT 'pg_proc'::regclass, p.oid, 'ROUTINE', p.proname, n.nspname, n.oid, p.proowner,
       coalesce(p.proacl, acldefault('f', p.proowner)), p.prokind IN ('f', 'p', 'w'),
       EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid
                                         AND d.refclassid = 'pg_type'::regclass AND d.deptype = 'i'),
       'pg_proc'::regclass, p.oid
  FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace;
GRANT SELECT ON hotrollback.object TO PUBLIC;

-- What a role drops with tables: these; `apart`: and what types and routines it might drop.
CREATE FUNCTION hotrollback.droppable_v1(tables oid[], apart boolean) RETURNS jsonb
    LANGUAGE sql STABLE SET search_path = pg_catalog
    AS $$
    SELECT hotrollback.relations_as_objects_v1(tables) || coalesce(
        (SELECT jsonb_agg(jsonb_build_array(o.class::bigint, o.oid::bigint))
           FROM hotrollback.object o JOIN pg_namespace n ON n.oid = o.namespace
          WHERE apart AND NOT o.within
            AND (pg_has_role(session_user, o.owner, 'USAGE') OR pg_has_role(session_user, n.nspowner, 'USAGE'))),
        '[]')
$$;

-- With what was made with it and does not move with it: a range's functions and its multirange.
CREATE FUNCTION hotrollback.object_parts_v1(wanted oid, object oid)
    RETURNS TABLE (turn integer, class oid, oid oid)
    LANGUAGE sql STABLE SET search_path = pg_catalog
    AS $$
    WITH RECURSIVE part(turn, class, oid) AS (
        SELECT 0, o.class, o.oid FROM hotrollback.object o WHERE (o.classid, o.objid) = (wanted, object)
         UNION
        SELECT p.turn + 1, d.classid, d.objid
          FROM part p
          JOIN pg_depend d ON (d.refclassid, d.refobjid) = (p.class, p.oid) AND d.deptype = 'i'
         WHERE d.classid = 'pg_proc'::regclass
            OR EXISTS (SELECT FROM pg_type t WHERE d.classid = 'pg_type'::regclass AND t.oid = d.objid
                                               AND t.typtype = 'm')
    )
    SELECT p.turn, p.class, p.oid FROM part p
$$;

CREATE FUNCTION hotrollback.bin_object_v1(classid oid, objid oid) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
#variable_conflict use_column
DECLARE
    each record;
BEGIN
    INSERT INTO hotrollback.binned (classid, objid, schema, name, parts, rights)
    SELECT o.classid, o.objid, o.schema, o.name, x.parts,
           hotrollback.with_roles_v1(jsonb_build_object(
               'owner', o.owner::bigint, 'granted', hotrollback.granted_v1(x.granted)))
      FROM hotrollback.object o
     CROSS JOIN LATERAL (
           SELECT jsonb_agg(jsonb_build_object('word', q.word, 'oid', q.oid::bigint, 'schema', q.schema,
                                               'name', q.name) ORDER BY p.turn, q.oid) AS parts,
                  -- A multirange has its range's.
                  jsonb_agg(jsonb_build_object('kind', q.word, 'relid', q.oid::bigint,
                                               'owner', q.owner::bigint, 'acl', to_jsonb(q.acl)))
                      FILTER (WHERE p.turn = 0 OR q.word = 'ROUTINE') AS granted
             FROM hotrollback.object_parts_v1(o.classid, o.objid) p
             JOIN hotrollback.object q ON (q.class, q.oid) = (p.class, p.oid)) x
     WHERE (o.classid, o.objid) = ($1, $2) AND o.movable AND NOT o.within
       AND NOT hotrollback.of_extension_v1(o.class, o.oid)
       AND o.schema NOT IN ('pg_catalog', 'information_schema', 'hotrollback', 'hotrollback_bin');
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = '42809', MESSAGE = 'it cannot be moved';
    END IF;
    -- Itself as the last one: an undo that brings it back brings them, too.
    FOR each IN SELECT p.word, p.oid, p.name
                  FROM hotrollback.binned b
                 CROSS JOIN LATERAL ROWS FROM (
                       jsonb_to_recordset(b.parts) AS (word text, oid oid, name text))
                       WITH ORDINALITY AS p(word, oid, name, turn)
                 WHERE (b.classid, b.objid) = ($1, $2) ORDER BY p.turn DESC
    LOOP
        EXECUTE format('ALTER %s SET SCHEMA hotrollback_bin', hotrollback.granted_on_v1(each.word, each.oid));
        EXECUTE format('ALTER %s RENAME TO %I', hotrollback.granted_on_v1(each.word, each.oid),
                       (each.oid || '_' || each.name)::name);
    END LOOP;
    -- In this order, as take_rights_v1 does.
    PERFORM hotrollback.revoke_v1(b.rights -> 'granted') FROM hotrollback.binned b
      WHERE (b.classid, b.objid) = ($1, $2);
    PERFORM hotrollback.own_object_v1($1, $2, current_user);
END $$;

-- Of a multirange the owner is its range's: what has it already is left.
CREATE FUNCTION hotrollback.own_object_v1(class oid, object oid, owner name) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
DECLARE
    each record;
BEGIN
    FOR each IN SELECT o.word, o.oid
                  FROM hotrollback.object_parts_v1(class, object) p
                  JOIN hotrollback.object o ON (o.class, o.oid) = (p.class, p.oid) ORDER BY p.turn, o.oid
    LOOP
        IF EXISTS (SELECT FROM hotrollback.object o WHERE o.word = each.word AND o.oid = each.oid
                                                      AND pg_get_userbyid(o.owner) <> own_object_v1.owner) THEN
            EXECUTE format('ALTER %s OWNER TO %I', hotrollback.granted_on_v1(each.word, each.oid), owner);
        END IF;
    END LOOP;
END $$;

-- Back under its name, with its owner and what was granted. Returns the roles that are gone, as unbin_v1 does.
CREATE FUNCTION hotrollback.unbin_object_v1(classid oid, objid oid) RETURNS text[]
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
#variable_conflict use_column
DECLARE
    had hotrollback.binned;
    owner name;
    each record;
BEGIN
    DELETE FROM hotrollback.binned b WHERE (b.classid, b.objid) = ($1, $2) RETURNING * INTO STRICT had;
    FOR each IN SELECT p.word, p.oid, p.schema, p.name
                  FROM ROWS FROM (jsonb_to_recordset(had.parts) AS (word text, oid oid, schema text, name text))
                       WITH ORDINALITY AS p(word, oid, schema, name, turn) ORDER BY p.turn DESC
    LOOP
        EXECUTE format('ALTER %s RENAME TO %I', hotrollback.granted_on_v1(each.word, each.oid), each.name);
        EXECUTE format('ALTER %s SET SCHEMA %I', hotrollback.granted_on_v1(each.word, each.oid), each.schema);
    END LOOP;
    owner := hotrollback.roles_now_v1(had.rights) ->> (had.rights ->> 'owner');
    IF owner IS NOT NULL THEN
        PERFORM hotrollback.own_object_v1($1, $2, owner);
    END IF;
    RETURN hotrollback.grant_v1(had.rights);
END $$;

-- What nothing in the bin needs any more goes for good.
CREATE FUNCTION hotrollback.drop_unneeded_v1() RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
DECLARE
    each record;
    progress boolean := true;
BEGIN
    WHILE progress LOOP
        progress := false;
        FOR each IN SELECT b.classid, b.objid, o.word, o.oid
                      FROM hotrollback.binned b
                      LEFT JOIN hotrollback.object o ON (o.classid, o.objid) = (b.classid, b.objid)
                                                    AND o.schema = 'hotrollback_bin'
        LOOP
            BEGIN
                IF each.oid IS NOT NULL THEN
                    EXECUTE format('DROP %s', hotrollback.granted_on_v1(each.word, each.oid));
                END IF;
                DELETE FROM hotrollback.binned b WHERE (b.classid, b.objid) = (each.classid, each.objid);
                progress := true;
            EXCEPTION WHEN dependent_objects_still_exist THEN
                CONTINUE;
            END;
        END LOOP;
    END LOOP;
END $$;

-- Those that a table needs, and what belongs to it.
CREATE FUNCTION hotrollback.binned_for_v1(relation oid) RETURNS SETOF hotrollback.binned
    LANGUAGE sql STABLE SET search_path = pg_catalog
    AS $$
    WITH RECURSIVE needed(classid, objid) AS (
        SELECT 'pg_class'::regclass::oid, relation
         UNION
        SELECT x.classid, x.objid
          FROM needed n
         CROSS JOIN LATERAL (
               SELECT d.classid, d.objid FROM pg_depend d
                WHERE (d.refclassid, d.refobjid) = (n.classid, n.objid) AND d.deptype IN ('a', 'i')
                UNION ALL
               SELECT d.refclassid, d.refobjid FROM pg_depend d
                WHERE (d.classid, d.objid) = (n.classid, n.objid)
                  AND d.refclassid <> 'pg_namespace'::regclass) x
    )
    SELECT b.* FROM hotrollback.binned b JOIN needed n USING (classid, objid)
$$;

-- Of what a client's statement drops, and only the bin still needs: whether it was moved there, and the rest
-- dropped. Raises what stands in the way.
CREATE FUNCTION hotrollback.spare_objects_v1(losing text) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog SET client_min_messages = error
    AS $$
DECLARE
    told constant jsonb := nullif(losing, '')::jsonb;
    class_ constant oid := CASE WHEN told ->> 'tag' IN ('DROP TYPE', 'DROP DOMAIN') THEN 'pg_type'::regclass
                                ELSE 'pg_proc'::regclass END;
    named jsonb; -- of what the statement drops, this class
    resting text;
BEGIN
    SELECT jsonb_agg(d) INTO named
      FROM jsonb_array_elements(told -> 'dropped') d
      JOIN hotrollback.object o ON (o.class, o.oid) = ((d ->> 0)::oid, (d ->> 1)::oid)
     WHERE o.class = class_ AND NOT o.within AND o.schema <> 'hotrollback_bin';
    IF named IS NULL OR hotrollback.watched_v1()
       OR told ->> 'tag' NOT IN ('DROP TYPE', 'DROP DOMAIN', 'DROP FUNCTION', 'DROP PROCEDURE', 'DROP ROUTINE')
       OR EXISTS (SELECT FROM jsonb_array_elements(named) d
                    JOIN hotrollback.object o ON (o.class, o.oid) = ((d ->> 0)::oid, (d ->> 1)::oid)
                   WHERE NOT (o.movable AND NOT hotrollback.of_extension_v1(o.class, o.oid)))
    THEN
        RETURN false;
    END IF;
    resting := hotrollback.drop_or_bin_v1(named);
    IF resting <> '' THEN
        RAISE EXCEPTION USING ERRCODE = '2BP01', MESSAGE = resting;
    END IF;
    RETURN true;
END $$;

-- Drops types and routines, and moves to the bin those that only what is there needs. What rests on one that
-- is left; nothing if none is.
CREATE FUNCTION hotrollback.drop_or_bin_v1(dropped jsonb) RETURNS text
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog SET client_min_messages = error
    AS $$
DECLARE
    each record;
    resting text;
    left_ text;
    moving boolean := false;
    progress boolean;
BEGIN
    -- First what nobody needs, so that nothing is moved for the sake of that.
    LOOP
        progress := false;
        left_ := '';
        FOR each IN SELECT o.*
                      FROM jsonb_array_elements(dropped) d
                      JOIN hotrollback.object o ON (o.class, o.oid) = ((d ->> 0)::oid, (d ->> 1)::oid)
                     WHERE NOT o.within AND o.schema <> 'hotrollback_bin'
        LOOP
            BEGIN
                EXECUTE format('DROP %s', hotrollback.granted_on_v1(each.word, each.oid));
                progress := true;
            EXCEPTION WHEN dependent_objects_still_exist THEN
                GET STACKED DIAGNOSTICS resting = PG_EXCEPTION_DETAIL;
                IF moving AND each.movable AND NOT hotrollback.of_extension_v1(each.class, each.oid)
                   AND hotrollback.only_binned_v1('', resting)
                THEN
                    PERFORM hotrollback.bin_dropped_object_v1(
                        each.classid, each.objid, quote_ident(current_user)::regrole::oid);
                    progress := true;
                ELSE
                    left_ := coalesce(nullif(resting, ''), '?');
                END IF;
            END;
        END LOOP;
        EXIT WHEN left_ = '' OR (moving AND NOT progress);
        moving := NOT progress;
    END LOOP;
    RETURN left_;
END $$;

-- Only for whoever might have dropped it, and is told of as who did.
CREATE FUNCTION hotrollback.bin_dropped_object_v1(classid oid, objid oid, writer oid) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog
    AS $$
#variable_conflict use_column
DECLARE
    since constant pg_lsn := pg_current_wal_insert_lsn();
BEGIN
    IF NOT EXISTS (SELECT FROM hotrollback.object o JOIN pg_namespace n ON n.oid = o.namespace
                    WHERE (o.classid, o.objid) = ($1, $2)
                      AND (pg_has_role(session_user, o.owner, 'USAGE')
                           OR pg_has_role(session_user, n.nspowner, 'USAGE'))) THEN
        RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = 'must be owner of it';
    END IF;
    PERFORM hotrollback.bin_object_v1($1, $2);
    UPDATE hotrollback.command c SET role = writer
     WHERE c.xid = pg_current_xact_id()::text::bigint AND c.lsn >= since;
END $$;

-- A table in the bin must not hold up a change of the type that a column of it has: the column goes, which is
-- a gap. Only for whoever might drop the type with all that needs it. The server's message names it.
CREATE FUNCTION hotrollback.let_go_v1(message text) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog SET client_min_messages = error
    AS $$
DECLARE
    each record;
BEGIN
    SELECT c.relname, a.attname INTO each
      FROM pg_class c
      JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'hotrollback_bin'
      JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
      JOIN pg_type t ON t.oid = a.atttypid
     WHERE strpos(message, format('%s.%s', c.relname, a.attname)) > 0
       AND pg_has_role(session_user, t.typowner, 'USAGE')
     LIMIT 1;
    IF FOUND THEN
        EXECUTE format('ALTER TABLE hotrollback_bin.%I DROP COLUMN %I CASCADE', each.relname, each.attname);
    END IF;
    RETURN FOUND;
END $$;

-- What goes in the bin along with what is dropped goes before. Only what whoever drops it might drop, and what
-- rests on that: the rest the server takes along, and says so.
CREATE FUNCTION hotrollback.let_binned_go_v1(losing text) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog SET client_min_messages = error
    AS $$
DECLARE
    tables constant oid[] := ARRAY(SELECT (l ->> 0)::oid FROM jsonb_array_elements(losing::jsonb -> 'lost') l
                                    WHERE l ->> 2 = 'table');
    each record;
BEGIN
    IF losing::jsonb ->> 'dropped' NOT LIKE '%hotrollback\_bin.%' THEN
        RETURN;
    END IF;
    PERFORM hotrollback.must_own_v1(tables);
    FOR each IN
        SELECT CASE
               WHEN a.attnum IS NOT NULL THEN format(
                   CASE c.relkind WHEN 'c' THEN 'ALTER TYPE %s DROP ATTRIBUTE IF EXISTS %I CASCADE'
                                  ELSE 'ALTER TABLE %s DROP COLUMN IF EXISTS %I CASCADE' END,
                   a.attrelid::regclass, a.attname)
               WHEN f.adrelid IS NOT NULL THEN format(
                   'ALTER TABLE %s ALTER COLUMN %I DROP DEFAULT', f.adrelid::regclass,
                   (SELECT b.attname FROM pg_attribute b WHERE (b.attrelid, b.attnum) = (f.adrelid, f.adnum)))
               WHEN k.conrelid <> 0 THEN format(
                   'ALTER TABLE %s DROP CONSTRAINT IF EXISTS %I CASCADE', k.conrelid::regclass, k.conname)
               WHEN k.contypid <> 0 THEN format(
                   'ALTER DOMAIN %s DROP CONSTRAINT IF EXISTS %I CASCADE', k.contypid::regtype, k.conname)
               ELSE format('DROP %s IF EXISTS %s CASCADE',
                           CASE WHEN i.type LIKE '%type' THEN 'type' WHEN i.type LIKE 'statistics%' THEN 'statistics'
                                ELSE i.type END, i.identity) END AS statement
          FROM hotrollback.resting_on_v1(hotrollback.droppable_v1(tables, true)) r
         CROSS JOIN LATERAL pg_identify_object(r.class, r.oid, r.sub) i
          LEFT JOIN pg_attribute a ON r.class = 'pg_class'::regclass AND r.sub > 0
                                  AND (a.attrelid, a.attnum) = (r.oid, r.sub)
          LEFT JOIN pg_class c ON c.oid = a.attrelid
          LEFT JOIN pg_attrdef f ON r.class = 'pg_attrdef'::regclass AND f.oid = r.oid
          LEFT JOIN pg_constraint k ON r.class = 'pg_constraint'::regclass AND k.oid = r.oid
         WHERE i.identity LIKE '%hotrollback\_bin.%'
           AND (f.oid IS NOT NULL
                OR EXISTS (SELECT FROM jsonb_array_elements(losing::jsonb -> 'dropped') d
                            WHERE ((d ->> 0)::oid, (d ->> 1)::oid, (d ->> 2)::integer) = (r.class, r.oid, r.sub)))
           AND NOT EXISTS (SELECT FROM pg_depend p
                            WHERE (p.classid, p.objid, p.objsubid) = (r.class, r.oid, r.sub) AND p.deptype = 'i')
    LOOP
        EXECUTE each.statement;
    END LOOP;
END $$;
