-- How a column's value is kept in an image. The words are those of undo.image.ColumnKind.

-- The word for a type. Domains count as what they are made of.
CREATE FUNCTION hotrollback.kind_v1(type oid) RETURNS text
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog
    AS $$
DECLARE
    t record;
    element text;
BEGIN
    SELECT typname, typtype, typbasetype, typelem, typnamespace,
           typsubscript = 'array_subscript_handler'::regproc AS is_array,
           EXISTS (SELECT FROM pg_cast WHERE castsource = p.oid AND castfunc <> 0
                      AND castsource >= 16384
                      AND casttarget IN ('json'::regtype, 'text'::regtype)) AS has_cast
      INTO STRICT t FROM pg_type p WHERE p.oid = type;
    IF t.typtype = 'd' THEN
        RETURN hotrollback.kind_v1(t.typbasetype);
    ELSIF t.has_cast THEN -- row_to_json would call it: a user's code, and not what the value is
        RETURN 'pinned';
    ELSIF t.is_array THEN
        element := hotrollback.kind_v1(t.typelem);
        RETURN CASE
            WHEN element IN ('plain', 'text', 'json')
                 THEN CASE WHEN t.typname IN ('_date', '_timestamp', '_timestamptz')
                           THEN 'sensitive_text' ELSE 'text' END
            WHEN element IN ('sensitive', 'sensitive_text') THEN 'sensitive_text'
            ELSE 'pinned'
        END;
    ELSIF t.typtype IN ('r', 'm') THEN
        SELECT hotrollback.kind_v1(rngsubtype) INTO STRICT element
          FROM pg_range WHERE type IN (rngtypid, rngmultitypid);
        RETURN CASE WHEN element IN ('plain', 'text', 'sensitive', 'sensitive_text', 'json')
                    THEN 'sensitive' ELSE 'pinned' END;
    ELSIF t.typtype = 'e' THEN
        RETURN 'plain';
    ELSIF t.typtype <> 'b' OR type >= 16384 OR t.typnamespace <> 'pg_catalog'::regnamespace THEN
        RETURN 'pinned';
    END IF;
    RETURN CASE
        WHEN t.typname IN ('bool', 'int2', 'int4', 'int8', 'numeric', 'text', 'varchar', 'bpchar',
            'name', 'char', 'uuid', 'date', 'timestamp', 'timestamptz', 'time', 'timetz', 'inet',
            'cidr', 'macaddr', 'macaddr8', 'bit', 'varbit', 'bytea', 'tsvector', 'pg_lsn', 'oid',
            'tid', 'xid', 'xid8', 'cid', 'pg_snapshot', 'txid_snapshot', 'refcursor') THEN 'plain'
        WHEN t.typname IN ('float4', 'float8', 'interval', 'point', 'lseg', 'path', 'box',
            'polygon', 'line', 'circle') THEN 'sensitive'
        WHEN t.typname IN ('json', 'jsonb') THEN 'json'
        WHEN t.typname IN ('xml', 'tsquery', 'jsonpath') THEN 'text'
        WHEN t.typname LIKE 'reg%' THEN 'oid'
        ELSE 'pinned'
    END;
END $$;

-- Whether hash_record can hash a column of this type without calling a user's code. Types that
-- borrow another's operators are left out but for varchar and cidr: a hash less is only slower.
CREATE FUNCTION hotrollback.hashable_v1(type oid) RETURNS boolean
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog
    AS $$
BEGIN
    IF type IN ('integer'::regtype, 'bigint'::regtype, 'text'::regtype, 'varchar'::regtype, 'uuid'::regtype,
                'smallint'::regtype, 'date'::regtype) THEN
        RETURN true; -- what nearly all keys are of, without a look at the catalog
    END IF;
    RETURN (WITH RECURSIVE base(type) AS (
        SELECT type
        UNION ALL
        SELECT t.typbasetype FROM base b JOIN pg_type t ON t.oid = b.type WHERE t.typtype = 'd'
    ), plain AS (
        SELECT CASE b.type WHEN 'varchar'::regtype THEN 'text'::regtype::oid
                           WHEN 'cidr'::regtype THEN 'inet'::regtype::oid
                           ELSE CASE WHEN t.typtype = 'e' THEN 'anyenum'::regtype::oid
                                     ELSE b.type END END AS type
          FROM base b JOIN pg_type t ON t.oid = b.type
         WHERE t.typtype <> 'd'
    )
    SELECT EXISTS (
        SELECT FROM plain b
          JOIN pg_opclass c ON c.opcintype = b.type AND c.opcdefault
          JOIN pg_am m ON m.oid = c.opcmethod AND m.amname = 'hash'
          JOIN pg_amproc f ON f.amprocfamily = c.opcfamily AND f.amproclefttype = b.type
                          AND f.amprocrighttype = b.type AND f.amprocnum = 1
          JOIN pg_proc p ON p.oid = f.amproc
          JOIN pg_language l ON l.oid = p.prolang AND l.lanname IN ('internal', 'c')));
END $$;

-- What undo.image must know of the columns of relations, in the order of their numbers. The names of
-- types are those that mean the same under any search_path that begins with pg_catalog.
CREATE FUNCTION hotrollback.columns_v1(relations oid[])
    RETURNS TABLE (relid bigint, attnum integer, name text, kind text, type text, type_sql text,
                   generated text, identity text, not_null boolean, hashable boolean)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog SET jit = off
    AS $$
BEGIN
    RETURN QUERY
    WITH types AS MATERIALIZED (
        SELECT d.atttypid, hotrollback.kind_v1(d.atttypid) AS kind
          FROM (SELECT DISTINCT a.atttypid FROM pg_attribute a
                 WHERE a.attrelid = ANY (relations) AND a.attnum > 0 AND NOT a.attisdropped) d
    )
    SELECT a.attrelid::bigint, a.attnum::integer, a.attname::text, t.kind,
           format_type(a.atttypid, a.atttypmod), format_type(a.atttypid, -1),
           a.attgenerated::text, a.attidentity::text, a.attnotnull,
           EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisprimary
                      AND a.attnum = ANY (i.indkey::smallint[]))
           AND hotrollback.hashable_v1(a.atttypid)
      FROM pg_attribute a
      JOIN types t ON t.atttypid = a.atttypid
     WHERE a.attrelid = ANY (relations) AND a.attnum > 0 AND NOT a.attisdropped
     ORDER BY a.attrelid, a.attnum;
END $$;
