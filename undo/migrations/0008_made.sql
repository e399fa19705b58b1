-- Tables that are made are recorded as made. An undo moves them, with all that they hold, into a
-- schema where nobody looks; a redo brings them back.

-- What a table was called, with its indexes and sequences: names are given anew there, since what
-- is made after it may have the same. Foreign keys would go on acting, and are kept as text.
CREATE TABLE hotrollback.bin (
    relid oid PRIMARY KEY,
    schema name NOT NULL,
    name name NOT NULL,
    parts json NOT NULL, -- [{oid, name, kind}], with the table itself
    statistics json NOT NULL, -- [{oid, schema, name}], whose schema is their own
    keys json NOT NULL, -- [{name, definition, target, refers}]: the table that it refers to, and its name
    parents json NOT NULL, -- names of the tables that it was a partition or a child of
    bound text, -- FOR VALUES .., of a partition
    rights jsonb, -- as rights_v1 has them
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Who took it away, as hotrollback.change has it.
    xid bigint NOT NULL DEFAULT (pg_current_xact_id()::text::bigint),
    pid integer NOT NULL DEFAULT pg_backend_pid(),
    role oid NOT NULL DEFAULT (quote_ident(current_user)::regrole::oid),
    tag text DEFAULT (nullif(current_setting('hotrollback.tag', true), '')),
    pinned boolean NOT NULL DEFAULT false, -- it stays until somebody names it
    goes timestamptz -- when upkeep lets it go, if that was said already
);

-- After DDL, of what it made: the tables that are recorded as made, and a note for whoever compares.
CREATE FUNCTION hotrollback.made_v1(relations oid[]) RETURNS oid[]
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
DECLARE
    plain oid[] := ARRAY(
        SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.oid = ANY (relations) AND c.relkind = 'r' AND c.relpersistence <> 't'
           AND n.nspname NOT LIKE 'hotrollback%'
           AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid));
BEGIN
    PERFORM set_config('hotrollback.made', (hotrollback.made_so_far_v1() || plain)::text, true);
    RETURN plain;
END $$;

-- Before it is moved: what it is called, and its foreign keys, so that what they point to may go its
-- own way.
CREATE FUNCTION hotrollback.bin_keys_v1(relation oid) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
DECLARE
    was record;
    each record;
BEGIN
    IF to_regnamespace('hotrollback_bin') IS NULL THEN
        CREATE SCHEMA hotrollback_bin;
    END IF;
    SELECT n.nspname, c.relname, pg_get_expr(c.relpartbound, c.oid) AS bound,
           (SELECT coalesce(json_agg(i.inhparent::regclass ORDER BY i.inhseqno), '[]')
              FROM pg_inherits i WHERE i.inhrelid = c.oid) AS parents
      INTO STRICT was
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = relation;
    INSERT INTO hotrollback.bin (relid, schema, name, parents, bound, statistics, parts, keys)
    VALUES (relation, was.nspname, was.relname, was.parents, was.bound,
            (SELECT coalesce(json_agg(json_build_object('oid', s.oid::bigint, 'schema', n.nspname,
                                                        'name', s.stxname)), '[]')
               FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace
              WHERE s.stxrelid = relation),
            (SELECT coalesce(json_agg(json_build_object(
                        'oid', c.oid::bigint, 'name', c.relname,
                        'kind', CASE WHEN c.relkind IN ('r', 'p') THEN 'TABLE'
                                     WHEN c.relkind IN ('i', 'I') THEN 'INDEX' ELSE 'SEQUENCE' END)), '[]')
               FROM pg_class c
              WHERE hotrollback.belongs_v1(c.oid, ARRAY[relation])
                -- A partition belongs to its parent, but moves by itself.
                AND (c.relkind IN ('i', 'I', 'S') OR c.oid = relation)),
            (SELECT coalesce(json_agg(json_build_object('name', k.conname,
                                      'definition', pg_get_constraintdef(k.oid),
                                      'target', k.confrelid::bigint,
                                      'refers', k.confrelid::regclass)), '[]')
               FROM pg_constraint k WHERE k.conrelid = relation AND k.contype = 'f' AND k.conparentid = 0));
    PERFORM hotrollback.unpublish_v1(relation);
    FOR each IN SELECT p.parent FROM json_array_elements_text(was.parents) AS p(parent) LOOP
        EXECUTE CASE WHEN was.bound IS NULL
                THEN format('ALTER TABLE %I.%I NO INHERIT %s', was.nspname, was.relname, each.parent)
                ELSE format('ALTER TABLE %s DETACH PARTITION %I.%I', each.parent, was.nspname, was.relname) END;
    END LOOP;
    -- A partition has its parent's for itself now.
    FOR each IN SELECT k.conname AS name FROM pg_constraint k
                 WHERE k.conrelid = relation AND k.contype = 'f' AND k.conparentid = 0
    LOOP
        EXECUTE format('ALTER TABLE %I.%I DROP CONSTRAINT %I', was.nspname, was.relname, each.name);
    END LOOP;
END $$;

-- Gives a table that is in the bin, and what belongs to it, the names of there, or those of before.
CREATE FUNCTION hotrollback.rename_binned_v1(parts json, away boolean) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
DECLARE
    each record;
BEGIN
    FOR each IN SELECT p.kind, c.relname AS old,
                       CASE WHEN away THEN (p.oid || '_' || p.name)::name ELSE p.name::name END AS new
                  FROM json_to_recordset(parts) AS p(oid oid, name text, kind text)
                  JOIN pg_class c ON c.oid = p.oid
    LOOP
        EXECUTE format('ALTER %s hotrollback_bin.%I RENAME TO %I', each.kind, each.old, each.new);
    END LOOP;
END $$;

-- The same for statistics on it, which do not move with it.
CREATE FUNCTION hotrollback.move_statistics_v1(statistics json, away boolean) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
DECLARE
    each record;
BEGIN
    FOR each IN SELECT n.nspname, x.stxname AS old, s.schema, s.name, (s.oid || '_' || s.name)::name AS there
                  FROM json_to_recordset(statistics) AS s(oid oid, schema text, name text)
                  JOIN pg_statistic_ext x ON x.oid = s.oid
                  JOIN pg_namespace n ON n.oid = x.stxnamespace
    LOOP
        IF away THEN
            EXECUTE format('ALTER STATISTICS %I.%I RENAME TO %I', each.nspname, each.old, each.there);
            EXECUTE format('ALTER STATISTICS %I.%I SET SCHEMA hotrollback_bin', each.nspname, each.there);
        ELSE
            EXECUTE format('ALTER STATISTICS %I.%I SET SCHEMA %I', each.nspname, each.old, each.schema);
            EXECUTE format('ALTER STATISTICS %I.%I RENAME TO %I', each.schema, each.old, each.name);
        END IF;
    END LOOP;
END $$;

-- What may be granted on, as DDL names it.
CREATE FUNCTION hotrollback.granted_on_v1(kind text, object oid) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog
    AS $$
    SELECT format('%s %s', kind, i.identity)
      FROM pg_identify_object(CASE kind WHEN 'TYPE' THEN 'pg_type'::regclass WHEN 'ROUTINE' THEN 'pg_proc'::regclass
                              ELSE 'pg_class'::regclass END, object, 0) i
$$;

-- What others may do with some objects ([{kind, relid, column, owner, acl}]). A grant comes after the one
-- that it rests on. What everybody may do is left: nobody comes to where it is.
CREATE FUNCTION hotrollback.granted_v1(objects jsonb) RETURNS jsonb
    LANGUAGE sql STABLE SET search_path = pg_catalog
    AS $$
    WITH RECURSIVE entry AS (
        SELECT o.kind, o.relid, o."column" AS column_, o.owner, a.*
          FROM jsonb_to_recordset(objects)
               AS o(kind text, relid oid, "column" name, owner oid, acl aclitem[])
         CROSS JOIN LATERAL aclexplode(o.acl) a
    ), chain AS (
        SELECT e.*, 0 AS turn FROM entry e WHERE e.grantor = e.owner
         UNION ALL
        SELECT e.*, c.turn + 1
          FROM chain c JOIN entry e ON e.kind = c.kind AND e.relid = c.relid AND e.grantor = c.grantee
                                   AND c.is_grantable AND e.privilege_type = c.privilege_type
                                   AND (c.column_ IS NULL OR c.column_ = e.column_)
    ), granted AS (
        SELECT c.kind, c.relid, c.column_, c.grantor, c.grantee, c.privilege_type, c.is_grantable,
               max(c.turn) AS turn
          FROM chain c
         WHERE c.grantee <> c.owner AND (c.grantee <> 0 OR c.turn > 0)
         GROUP BY 1, 2, 3, 4, 5, 6, 7
    )
    SELECT coalesce(jsonb_agg(jsonb_build_object(
               'kind', g.kind, 'relid', g.relid::bigint, 'privilege', g.privilege_type, 'column', g.column_,
               'by', g.grantor::bigint, 'to', g.grantee::bigint, 'option', g.is_grantable)
                              ORDER BY g.turn), '[]')
      FROM granted g
$$;

-- With the names of the roles that it tells of: roles: {number: name}.
CREATE FUNCTION hotrollback.with_roles_v1(rights jsonb) RETURNS jsonb
    LANGUAGE sql STABLE SET search_path = pg_catalog
    AS $$
    SELECT rights || jsonb_build_object('roles', (
               SELECT coalesce(jsonb_object_agg(r.oid, r.rolname), '{}') FROM pg_roles r
                WHERE r.oid IN (
                    SELECT (rights ->> 'owner')::oid UNION
                    SELECT (s ->> 'owner')::oid FROM jsonb_array_elements(rights -> 'statistics') s UNION
                    SELECT u.id::oid FROM jsonb_array_elements(rights -> 'policies') p
                     CROSS JOIN LATERAL jsonb_array_elements_text(p -> 'roles') AS u(id) UNION
                    SELECT (g ->> 'to')::oid FROM jsonb_array_elements(rights -> 'granted') g UNION
                    SELECT (g ->> 'by')::oid FROM jsonb_array_elements(rights -> 'granted') g)))
$$;

-- Who owns a table and what belongs to it, and what others may do there: {owner, statistics: [{oid, owner}],
-- policies: [{name, roles}], granted: [..], roles: {number: name}}.
CREATE FUNCTION hotrollback.rights_v1(relation oid, parts json, statistics json) RETURNS jsonb
    LANGUAGE sql STABLE SET search_path = pg_catalog
    AS $$
    SELECT hotrollback.with_roles_v1(jsonb_build_object(
        'owner', (SELECT c.relowner::bigint FROM pg_class c WHERE c.oid = relation),
        'statistics', (SELECT coalesce(jsonb_agg(jsonb_build_object('oid', x.oid::bigint,
                                                                    'owner', x.stxowner::bigint)), '[]')
                         FROM json_to_recordset(statistics) AS s(oid oid)
                         JOIN pg_statistic_ext x ON x.oid = s.oid),
        'policies', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', p.polname,
                                                                  'roles', p.polroles::bigint[])), '[]')
                       FROM pg_policy p WHERE p.polrelid = relation AND p.polroles <> '{0}'),
        'granted', (SELECT hotrollback.granted_v1(coalesce(jsonb_agg(jsonb_build_object(
                               'kind', CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END,
                               'relid', c.oid::bigint, 'column', a.column_, 'owner', c.relowner::bigint,
                               'acl', to_jsonb(a.acl))), '[]'))
                      FROM json_to_recordset(parts) AS p(oid oid) JOIN pg_class c ON c.oid = p.oid
                     CROSS JOIN LATERAL (
                           SELECT NULL::name AS column_, c.relacl AS acl
                            UNION ALL
                           SELECT t.attname, t.attacl FROM pg_attribute t
                            WHERE c.oid = relation AND t.attrelid = c.oid AND NOT t.attisdropped) a
                     WHERE a.acl IS NOT NULL)))
$$;

CREATE FUNCTION hotrollback.revoke_v1(granted jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
DECLARE
    each record;
BEGIN
    FOR each IN SELECT DISTINCT g ->> 'kind' AS kind, (g ->> 'relid')::oid AS object, (g ->> 'to')::oid::regrole AS role
                  FROM jsonb_array_elements(granted) g WHERE (g ->> 'to')::oid <> 0
    LOOP
        EXECUTE format('REVOKE ALL ON %s FROM %s CASCADE', hotrollback.granted_on_v1(each.kind, each.object),
                       each.role);
    END LOOP;
END $$;

-- The roles of with_roles_v1 that are there now, by number or else by name: {number: name or null}.
CREATE FUNCTION hotrollback.roles_now_v1(had jsonb) RETURNS jsonb
    LANGUAGE sql STABLE SET search_path = pg_catalog
    AS $$
    SELECT coalesce(jsonb_object_agg(h.key, coalesce(r.rolname, n.rolname)), '{}')
      FROM jsonb_each_text(had -> 'roles') h
      LEFT JOIN pg_roles r ON r.oid = h.key::oid
      LEFT JOIN pg_roles n ON n.rolname = h.value
$$;

-- Grants again what revoke_v1 took; the roles that are not there any more, and get nothing.
CREATE FUNCTION hotrollback.grant_v1(had jsonb) RETURNS text[]
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
DECLARE
    roles constant jsonb := hotrollback.roles_now_v1(had);
    mine constant text := current_setting('role');
    each record;
BEGIN
    FOR each IN SELECT hotrollback.granted_on_v1(g.value ->> 'kind', (g.value ->> 'relid')::oid) AS name,
                       g.value ->> 'privilege' AS privilege,
                       coalesce(' (' || quote_ident(g.value ->> 'column') || ')', '') AS part,
                       g.value -> 'by' = had -> 'owner' AS owners, roles ->> (g.value ->> 'by') AS grantor,
                       CASE g.value ->> 'to' WHEN '0' THEN 'PUBLIC'
                       ELSE quote_ident(roles ->> (g.value ->> 'to')) END AS grantee,
                       CASE WHEN (g.value ->> 'option')::boolean THEN ' WITH GRANT OPTION' ELSE '' END AS option
                  FROM jsonb_array_elements(had -> 'granted') WITH ORDINALITY AS g(value, turn)
                 ORDER BY g.turn
    LOOP
        CONTINUE WHEN each.grantee IS NULL OR (each.grantor IS NULL AND NOT each.owners);
        IF NOT each.owners THEN
            PERFORM set_config('role', each.grantor, true);
        END IF;
        EXECUTE format('GRANT %s%s ON %s TO %s%s', each.privilege, each.part, each.name, each.grantee, each.option);
        PERFORM set_config('role', mine, true);
    END LOOP;
    RETURN ARRAY(SELECT had -> 'roles' ->> r.key FROM jsonb_each(roles) r WHERE r.value = 'null');
END $$;

-- What is in the bin stands in the way of no role: it is that of whoever moved it there.
CREATE FUNCTION hotrollback.take_rights_v1(relation oid) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
DECLARE
    had jsonb;
    each record;
BEGIN
    UPDATE hotrollback.bin b SET rights = hotrollback.rights_v1(relation, b.parts, b.statistics)
     WHERE b.relid = relation RETURNING b.rights INTO had;
    -- While they are not the owner's: whoever moves it may have been granted something, too.
    PERFORM hotrollback.revoke_v1(had -> 'granted');
    EXECUTE format('ALTER TABLE %s OWNER TO CURRENT_USER', relation::regclass);
    FOR each IN SELECT p ->> 'name' AS name FROM jsonb_array_elements(had -> 'policies') p LOOP
        EXECUTE format('ALTER POLICY %I ON %s TO PUBLIC', each.name, relation::regclass);
    END LOOP;
    FOR each IN SELECT n.nspname, x.stxname FROM jsonb_array_elements(had -> 'statistics') s
                  JOIN pg_statistic_ext x ON x.oid = (s ->> 'oid')::oid
                  JOIN pg_namespace n ON n.oid = x.stxnamespace
    LOOP
        EXECUTE format('ALTER STATISTICS %I.%I OWNER TO CURRENT_USER', each.nspname, each.stxname);
    END LOOP;
END $$;

-- Gives them back; the roles that are not there any more, neither by number nor by name, and get nothing. A
-- policy that was for none but these is dropped, as their server does: it would be for everybody.
CREATE FUNCTION hotrollback.give_rights_v1(relation oid) RETURNS text[]
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
DECLARE
    had constant jsonb := (SELECT b.rights FROM hotrollback.bin b WHERE b.relid = relation);
    roles constant jsonb := hotrollback.roles_now_v1(had);
    each record;
BEGIN
    FOR each IN SELECT p ->> 'name' AS name, t.roles
                  FROM jsonb_array_elements(had -> 'policies') p
                 CROSS JOIN LATERAL (SELECT string_agg(quote_ident(roles ->> u.id), ', ') AS roles
                                       FROM jsonb_array_elements_text(p -> 'roles') AS u(id)) t
    LOOP
        EXECUTE CASE WHEN each.roles IS NULL THEN format('DROP POLICY %I ON %s', each.name, relation::regclass)
                ELSE format('ALTER POLICY %I ON %s TO %s', each.name, relation::regclass, each.roles) END;
    END LOOP;
    FOR each IN SELECT n.nspname, x.stxname, roles ->> (s ->> 'owner') AS owner
                  FROM jsonb_array_elements(had -> 'statistics') s
                  JOIN pg_statistic_ext x ON x.oid = (s ->> 'oid')::oid
                  JOIN pg_namespace n ON n.oid = x.stxnamespace
                 WHERE roles ->> (s ->> 'owner') IS NOT NULL
    LOOP
        EXECUTE format('ALTER STATISTICS %I.%I OWNER TO %I', each.nspname, each.stxname, each.owner);
    END LOOP;
    IF roles ->> (had ->> 'owner') IS NOT NULL THEN
        EXECUTE format('ALTER TABLE %s OWNER TO %I', relation::regclass, roles ->> (had ->> 'owner'));
    END IF;
    RETURN hotrollback.grant_v1(had);
END $$;

-- Keeps the images of a table in the bin, and of what belongs to it, as they are now.
CREATE FUNCTION hotrollback.look_again_v1(parts json) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
BEGIN
    PERFORM hotrollback.swap_components_v1(
        '', quote_ident(current_user)::regrole::oid,
        ARRAY(SELECT p.oid FROM json_to_recordset(parts) AS p(oid oid)), '[]', '[]', '{}', '[]');
END $$;

-- Moves a table away, of which bin_keys_v1 has seen to the rest.
CREATE FUNCTION hotrollback.bin_v1(relation oid, writer oid) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
DECLARE
    was hotrollback.bin;
BEGIN
    SELECT * INTO STRICT was FROM hotrollback.bin b WHERE b.relid = relation;
    EXECUTE format('ALTER TABLE %I.%I SET SCHEMA hotrollback_bin', was.schema, was.name);
    PERFORM hotrollback.rename_binned_v1(was.parts, true);
    PERFORM hotrollback.move_statistics_v1(was.statistics, true);
    PERFORM hotrollback.take_rights_v1(relation);
    PERFORM hotrollback.look_again_v1(was.parts);
    INSERT INTO hotrollback.change (relid, op) VALUES (relation, 'B');
    IF writer IS NOT NULL THEN
        UPDATE hotrollback.change SET role = writer
         WHERE relid = relation AND op = 'B' AND xid = pg_current_xact_id()::text::bigint;
        UPDATE hotrollback.bin SET role = writer WHERE relid = relation;
    END IF;
END $$;

-- Brings a table back under its names, without its foreign keys. Returns the roles that have got no right
-- there again, since they are gone.
CREATE FUNCTION hotrollback.unbin_v1(relation oid) RETURNS text[]
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
DECLARE
    was hotrollback.bin;
    gone text[];
BEGIN
    SELECT * INTO STRICT was FROM hotrollback.bin b WHERE b.relid = relation;
    PERFORM hotrollback.rename_binned_v1(was.parts, false);
    EXECUTE format('ALTER TABLE hotrollback_bin.%I SET SCHEMA %I', was.name, was.schema);
    PERFORM hotrollback.move_statistics_v1(was.statistics, false);
    gone := hotrollback.give_rights_v1(relation);
    PERFORM hotrollback.look_again_v1(was.parts);
    INSERT INTO hotrollback.change (relid, op) VALUES (relation, 'C'); -- for the redo
    RETURN gone;
END $$;

-- Its parents and foreign keys, when all that they point to is there again.
CREATE FUNCTION hotrollback.unbin_keys_v1(relation oid) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
DECLARE
    each record;
BEGIN
    FOR each IN SELECT b.schema, b.name, b.bound, p.parent
                  FROM hotrollback.bin b, json_array_elements_text(b.parents) AS p(parent)
                 WHERE b.relid = relation
    LOOP
        EXECUTE CASE WHEN each.bound IS NULL
                THEN format('ALTER TABLE %I.%I INHERIT %s', each.schema, each.name, each.parent)
                ELSE format('ALTER TABLE %s ATTACH PARTITION %I.%I %s',
                            each.parent, each.schema, each.name, each.bound) END;
    END LOOP;
    FOR each IN SELECT b.schema, b.name AS owner, k.name, k.definition
                  FROM hotrollback.bin b, json_to_recordset(b.keys) AS k(name text, definition text)
                 WHERE b.relid = relation
    LOOP
        EXECUTE format('ALTER TABLE %I.%I ADD CONSTRAINT %I %s',
                       each.schema, each.owner, each.name, each.definition);
    END LOOP;
    PERFORM hotrollback.publish_v1(relation);
    DELETE FROM hotrollback.bin WHERE relid = relation;
END $$;
