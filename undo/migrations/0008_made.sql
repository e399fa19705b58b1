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
    INSERT INTO hotrollback.change (relid, op) VALUES (relation, 'B');
    IF writer IS NOT NULL THEN
        UPDATE hotrollback.change SET role = writer
         WHERE relid = relation AND op = 'B' AND xid = pg_current_xact_id()::text::bigint;
        UPDATE hotrollback.bin SET role = writer WHERE relid = relation;
    END IF;
END $$;

-- Brings a table back under its names, without its foreign keys.
CREATE FUNCTION hotrollback.unbin_v1(relation oid) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
DECLARE
    was hotrollback.bin;
BEGIN
    SELECT * INTO STRICT was FROM hotrollback.bin b WHERE b.relid = relation;
    PERFORM hotrollback.rename_binned_v1(was.parts, false);
    EXECUTE format('ALTER TABLE hotrollback_bin.%I SET SCHEMA %I', was.name, was.schema);
    PERFORM hotrollback.move_statistics_v1(was.statistics, false);
    INSERT INTO hotrollback.change (relid, op) VALUES (relation, 'C'); -- for the redo
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
    DELETE FROM hotrollback.bin WHERE relid = relation;
END $$;
