-- Values of columns that are about to be dropped, or to get another type, with what tells their rows apart:
-- the primary key, or all that is left of the row.
CREATE TABLE hotrollback.kept (
    name text PRIMARY KEY, -- of the table in hotrollback_bin
    relid oid NOT NULL,
    schema name NOT NULL, -- its names then
    "table" name NOT NULL,
    keys name[] NOT NULL, -- empty: by all that is left, and a number among those that are the same
    columns name[] NOT NULL,
    stands jsonb NOT NULL, -- of the sequences of identity columns: {column: [last value, is called]}
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Who took them away, as hotrollback.change has it.
    xid bigint NOT NULL DEFAULT (pg_current_xact_id()::text::bigint),
    pid integer NOT NULL DEFAULT pg_backend_pid(),
    role oid NOT NULL,
    tag text DEFAULT (nullif(current_setting('hotrollback.tag', true), '')),
    pinned boolean NOT NULL DEFAULT false, -- they stay until somebody names them
    goes timestamptz -- when upkeep lets them go, if that was said already
);
-- Bytes of a table whose values are still kept; those of a bigger one are a gap.
ALTER TABLE hotrollback.meta ADD COLUMN keep_limit bigint NOT NULL DEFAULT 268435456;

CREATE FUNCTION hotrollback.stands_v1(relation oid) RETURNS jsonb
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
DECLARE
    stands jsonb;
BEGIN
    EXECUTE format('SELECT jsonb_build_array(last_value, is_called) FROM %s', relation::regclass)
       INTO stands;
    RETURN stands;
END $$;

-- A column of a row as it is kept, under another name: what is made of users' types or collations as text, since
-- these may be dropped later.
CREATE FUNCTION hotrollback.value_v1(relation oid, column_ name, alias text, called text) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog
    AS $$
    SELECT format(CASE WHEN t.oid >= 16384 OR t.typelem >= 16384 THEN 'hotrollback.pinned_v1(%2$s.%1$I) AS %3$s'
                       WHEN a.attcollation <> 0 THEN '%2$s.%1$I COLLATE pg_catalog."default" AS %3$s'
                       ELSE '%2$s.%1$I AS %3$s' END, column_, alias, called)
      FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
     WHERE a.attrelid = relation AND a.attname = column_
$$;

-- Some columns of a row, as text that can be compared. Nobody's cast is called, as to_jsonb() of the row would.
CREATE FUNCTION hotrollback.rest_v1(relation oid, alias text, columns name[]) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog
    AS $$
    SELECT format('(SELECT pg_catalog.to_jsonb(r)::pg_catalog.text FROM (SELECT %s) r)',
                  string_agg(hotrollback.value_v1(relation, c, quote_ident(alias), quote_ident(c)), ', '))
      FROM unnest(columns) c
$$;

-- Whether a column rests on what a role might drop: its type, or what that is made of.
CREATE FUNCTION hotrollback.may_take_v1(role name, relation oid, number integer) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog
    AS $$
    WITH RECURSIVE needed(class, oid) AS (
        SELECT d.refclassid, d.refobjid FROM pg_depend d
         WHERE (d.classid, d.objid, d.objsubid) = ('pg_class'::regclass, relation, number)
         UNION
        SELECT d.refclassid, d.refobjid
          FROM needed n JOIN pg_depend d ON (d.classid, d.objid) = (n.class, n.oid)
         WHERE n.oid <> relation)
    SELECT EXISTS (
        SELECT FROM needed n
          LEFT JOIN pg_type t ON n.class = 'pg_type'::regclass AND t.oid = n.oid
          LEFT JOIN pg_class c ON n.class = 'pg_class'::regclass AND c.oid = n.oid
          LEFT JOIN pg_namespace s ON n.class = 'pg_namespace'::regclass AND s.oid = n.oid
         WHERE n.oid <> relation AND pg_has_role(role, coalesce(t.typowner, c.relowner, s.nspowner), 'USAGE'))
$$;

-- Nothing is copied for whoever could not drop them. What is kept is told to record_ddl_v1. Returns
-- whether there was nothing to keep, or it is kept.
CREATE FUNCTION hotrollback.keep_v1(relation oid, columns name[]) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog SET row_security = off
    AS $$
DECLARE
    place text := relation::regclass::text;
    numbers integer[] := ARRAY(SELECT a.attnum FROM pg_attribute a
                                WHERE a.attrelid = relation AND a.attname = ANY (columns)
                                  AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '');
    keys name[];
    called text;
    told jsonb := coalesce(nullif(current_setting('hotrollback.kept', true), ''), '{}')::jsonb;
    small boolean;
BEGIN
    SELECT sum(pg_table_size(c.oid)) <= (SELECT m.keep_limit FROM hotrollback.meta m)
           AND (bool_and(pg_has_role(session_user, c.relowner, 'MEMBER'))
                OR (SELECT bool_and(hotrollback.may_take_v1(session_user, relation, n)) FROM unnest(numbers) n))
      INTO small
      FROM pg_class c
     WHERE c.relkind IN ('r', 'p')
       AND (c.oid = relation OR c.oid IN (SELECT t.relid FROM pg_partition_tree(relation) t));
    IF small IS NOT TRUE THEN
        RETURN false;
    ELSIF numbers = '{}' THEN
        RETURN true;
    END IF;
    columns := ARRAY(SELECT a.attname FROM pg_attribute a
                      WHERE a.attrelid = relation AND a.attnum = ANY (numbers) ORDER BY a.attnum);
    SELECT coalesce(array_agg(a.attname ORDER BY x.n), '{}') INTO keys
      FROM pg_constraint k CROSS JOIN LATERAL unnest(k.conkey) WITH ORDINALITY AS x(attnum, n)
      JOIN pg_attribute a ON a.attrelid = relation AND a.attnum = x.attnum
     WHERE k.conrelid = relation AND k.contype = 'p' AND NOT k.conkey && numbers::smallint[];
    IF to_regnamespace('hotrollback_bin') IS NULL THEN
        CREATE SCHEMA hotrollback_bin;
    END IF;
    called := format('kept_%s_%s', relation, pg_current_xact_id()::text);
    called := called || '_' || (SELECT count(*) FROM hotrollback.kept k WHERE starts_with(k.name, called));
    EXECUTE format(
        'CREATE TABLE hotrollback_bin.%I AS SELECT %s, %s FROM %s t', called,
        CASE WHEN keys = '{}' THEN
            format('%1$s AS key, row_number() OVER (PARTITION BY %1$s) AS number',
                   hotrollback.rest_v1(relation, 't', ARRAY(
                       SELECT a.attname FROM pg_attribute a
                        WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped
                          AND a.attname <> ALL (columns))))
        ELSE (SELECT string_agg(hotrollback.value_v1(relation, u.name, 't', 'key_' || u.n), ', ')
                FROM unnest(keys) WITH ORDINALITY AS u(name, n)) END,
        (SELECT string_agg(hotrollback.value_v1(relation, u.name, 't', 'value_' || u.n), ', ')
           FROM unnest(columns) WITH ORDINALITY AS u(name, n)),
        place);
    INSERT INTO hotrollback.kept (name, relid, schema, "table", role, keys, columns, stands)
    VALUES (called, relation,
            (SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
              WHERE c.oid = relation),
            (SELECT c.relname FROM pg_class c WHERE c.oid = relation),
            -- The function's own role is another one.
            quote_ident(coalesce(nullif(current_setting('role'), 'none'), session_user))::regrole::oid,
            keys, columns,
            coalesce((SELECT jsonb_object_agg(a.attname, hotrollback.stands_v1(d.objid))
                        FROM pg_attribute a
                        JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = relation
                                        AND d.refobjsubid = a.attnum AND d.deptype = 'i'
                                        AND d.classid = 'pg_class'::regclass
                       WHERE a.attrelid = relation AND a.attnum = ANY (numbers)
                         AND a.attidentity <> ''), '{}'));
    SELECT told || jsonb_object_agg(format('%s.%s', relation, u.number), called) INTO told
      FROM unnest(numbers) AS u(number);
    PERFORM set_config('hotrollback.kept', told::text, true);
    RETURN true;
END $$;

-- Where a sequence stands that is about to be dropped.
CREATE FUNCTION hotrollback.keep_sequence_v1(relation oid) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog
    AS $$
DECLARE
    stands jsonb := hotrollback.stands_v1(relation);
BEGIN
    PERFORM set_config('hotrollback.kept', (
        coalesce(nullif(current_setting('hotrollback.kept', true), ''), '{}')::jsonb
        || jsonb_build_object(format('%s.0', relation),
                              format('%s %s', stands ->> 0, stands ->> 1)))::text, true);
END $$;
