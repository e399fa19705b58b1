-- Tables that are made are recorded as made. An undo moves them, with all that they hold, into a
-- schema where nobody looks; a redo brings them back.

-- What a table was called, with its indexes and sequences: names are given anew there, since what
-- is made after it may have the same. Foreign keys would go on acting, and are kept as text.
CREATE TABLE hotrollback.bin (
    relid oid PRIMARY KEY,
    schema name NOT NULL,
    name name NOT NULL,
    parts json NOT NULL, -- [{oid, name, kind}], with the table itself
    keys json NOT NULL, -- [{name, definition}]
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- After DDL, of what it made: a row of the log, and a note for whoever compares.
CREATE FUNCTION hotrollback.made_v1(relations oid[]) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
DECLARE
    plain oid[] := ARRAY(
        SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.oid = ANY (relations) AND c.relkind = 'r' AND c.relpersistence <> 't'
           AND n.nspname NOT LIKE 'hotrollback%'
           AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid));
BEGIN
    INSERT INTO hotrollback.change (relid, op) SELECT p, 'C' FROM unnest(plain) p;
    PERFORM set_config('hotrollback.made', (hotrollback.made_so_far_v1() || plain)::text, true);
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
    CREATE SCHEMA IF NOT EXISTS hotrollback_bin;
    SELECT n.nspname, c.relname INTO STRICT was
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = relation;
    INSERT INTO hotrollback.bin (relid, schema, name, parts, keys)
    VALUES (relation, was.nspname, was.relname,
            (SELECT coalesce(json_agg(json_build_object(
                        'oid', c.oid::bigint, 'name', c.relname,
                        'kind', CASE c.relkind WHEN 'r' THEN 'TABLE' WHEN 'i' THEN 'INDEX'
                                               ELSE 'SEQUENCE' END)), '[]')
               FROM pg_class c
              WHERE c.relkind IN ('r', 'i', 'S') AND hotrollback.belongs_v1(c.oid, ARRAY[relation])),
            (SELECT coalesce(json_agg(json_build_object('name', k.conname,
                                      'definition', pg_get_constraintdef(k.oid))), '[]')
               FROM pg_constraint k WHERE k.conrelid = relation AND k.contype = 'f'));
    FOR each IN SELECT k.name FROM hotrollback.bin b, json_to_recordset(b.keys) AS k(name text)
                 WHERE b.relid = relation
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

-- Moves a table away, of which bin_keys_v1 has seen to the rest.
CREATE FUNCTION hotrollback.bin_v1(relation oid) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
DECLARE
    was hotrollback.bin;
BEGIN
    SELECT * INTO STRICT was FROM hotrollback.bin b WHERE b.relid = relation;
    EXECUTE format('ALTER TABLE %I.%I SET SCHEMA hotrollback_bin', was.schema, was.name);
    PERFORM hotrollback.rename_binned_v1(was.parts, true);
    INSERT INTO hotrollback.change (relid, op) VALUES (relation, 'B');
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
END $$;

-- Its foreign keys, when all that they point to is there again.
CREATE FUNCTION hotrollback.unbin_keys_v1(relation oid) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
DECLARE
    each record;
BEGIN
    FOR each IN SELECT b.schema, b.name AS owner, k.name, k.definition
                  FROM hotrollback.bin b, json_to_recordset(b.keys) AS k(name text, definition text)
                 WHERE b.relid = relation
    LOOP
        EXECUTE format('ALTER TABLE %I.%I ADD CONSTRAINT %I %s',
                       each.schema, each.owner, each.name, each.definition);
    END LOOP;
    DELETE FROM hotrollback.bin WHERE relid = relation;
END $$;
