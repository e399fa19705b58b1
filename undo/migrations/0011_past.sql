-- Rows as they were: the rows that are there now, less what later changes made of them, plus what
-- these changes found. As sets that holds in whatever order they came, and of undos as of any other
-- change; where a row that the log left is not there, something was written that is not recorded.
--
-- All of it runs with the rights of whoever asks, also the code of his types' checks. The log is seen
-- through views that have the records of tables whose every row and column he may read himself: in a
-- view, current_user is who asks.

-- Tables that the current user may read whole, by themselves or as partitions of others.
CREATE FUNCTION hotrollback.readable_v1() RETURNS SETOF oid
    LANGUAGE sql STABLE SET search_path = pg_catalog
    AS $$
    SELECT c.oid FROM pg_class c
     WHERE c.relkind IN ('r', 'p') AND c.oid >= 16384
       AND (has_table_privilege(c.oid, 'SELECT') AND NOT row_security_active(c.oid)
            OR c.relispartition AND EXISTS (
               SELECT FROM pg_partition_ancestors(c.oid) a(relid)
                WHERE has_table_privilege(a.relid, 'SELECT') AND NOT row_security_active(a.relid)))
$$;

CREATE VIEW hotrollback.readable_change WITH (security_barrier) AS
SELECT c.lsn, c.xid, c.at, c.old_tid, c.new_tid, c.relid, c.new_relid, c.op, c.stale, c.before, c.after
  FROM hotrollback.change c
 WHERE c.relid IN (SELECT r FROM hotrollback.readable_v1() r)
   AND (c.new_relid IS NULL OR c.new_relid IN (SELECT r FROM hotrollback.readable_v1() r));

-- A gap of no known table may be one of any.
CREATE VIEW hotrollback.readable_gap WITH (security_barrier) AS
SELECT g.lsn, g.xid, g.at, g.relid, g.reason
  FROM hotrollback.gap g
 WHERE g.relid IS NULL OR g.relid IN (SELECT r FROM hotrollback.readable_v1() r);

CREATE VIEW hotrollback.readable_restore_point AS
SELECT p.name, p.at, p.snapshot FROM hotrollback.restore_point p;

GRANT SELECT ON hotrollback.readable_change, hotrollback.readable_gap,
    hotrollback.readable_restore_point TO PUBLIC;

-- Since when everything is here that was recorded.
CREATE FUNCTION hotrollback.begins_v1() RETURNS timestamptz
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog
    AS $$
    SELECT greatest((SELECT installed FROM hotrollback.meta),
                    (SELECT min(to_date(right(c.relname, 8), 'YYYYMMDD')::timestamp AT TIME ZONE 'UTC')
                       FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                      WHERE i.inhparent = 'hotrollback.change'::regclass
                        AND c.relname ~ '^change_[0-9]{8}$'))
$$;

-- Transactions that wrote before a moment and were not over then: they committed later, where that is
-- kept; otherwise they wrote later, too.
CREATE FUNCTION hotrollback.not_over_v1(moment timestamptz) RETURNS bigint[]
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog SET jit = off
    AS $$
DECLARE
    found bigint[];
    newest constant bigint := pg_snapshot_xmax(pg_current_snapshot())::text::bigint;
BEGIN
    found := ARRAY(
        SELECT DISTINCT c.xid FROM hotrollback.change c
         WHERE c.at <= moment
           AND c.xid >= (SELECT min(x.xid) FROM hotrollback.change x WHERE x.at > moment)
           AND c.xid IN (SELECT x.xid FROM hotrollback.change x WHERE x.at > moment));
    IF current_setting('track_commit_timestamp')::boolean THEN
        -- The server is asked by 32 bits: of what is older it would tell another's.
        found := found || ARRAY(
            SELECT x.xid
              FROM (SELECT DISTINCT c.xid FROM hotrollback.change c
                     WHERE c.at <= moment AND c.xid > newest - 2147483648
                       AND c.xid >= (SELECT coalesce(max(pg_snapshot_xmin(p.snapshot)::text::bigint), 0)
                                       FROM hotrollback.restore_point p WHERE p.at <= moment)) x
             WHERE pg_xact_commit_timestamp((x.xid & 4294967295)::text::xid) > moment);
    END IF;
    RETURN found;
END $$;

-- Fails where the log does not tell what is there.
CREATE FUNCTION hotrollback.agrees_v1(relation oid, missing bigint) RETURNS boolean
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog
    AS $$
BEGIN
    IF missing > 0 THEN
        RAISE EXCEPTION 'what % was then is not known: % rows are not what the log left',
            relation::regclass, missing USING ERRCODE = 'RB001',
            HINT = 'they were written around capture, or their columns were altered';
    END IF;
    RETURN false;
END $$;

-- What the past of a table cannot be told for; `since` is SQL that tells a record (c) from later.
CREATE FUNCTION hotrollback.check_past_v1(relation oid, heaps oid[], since text, moment timestamptz)
    RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog
    AS $$
DECLARE
    told text;
    names text[];
BEGIN
    IF relation NOT IN (SELECT c.oid FROM pg_class c
                         WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
                           AND c.oid >= 16384) OR relation IS NULL THEN
        RAISE EXCEPTION 'the past is only known of tables: give NULL::schema.table'
            USING ERRCODE = '42809';
    ELSIF relation NOT IN (SELECT r FROM hotrollback.readable_v1() r) THEN
        IF has_table_privilege(relation, 'SELECT') THEN
            RAISE EXCEPTION 'row-level security of % is active for %: which rows it would have shown'
                            ' then is not known', relation::regclass, current_user
                USING ERRCODE = '42501';
        END IF;
        RAISE EXCEPTION 'permission denied for table %', relation::regclass USING ERRCODE = '42501',
            DETAIL = 'Its past takes SELECT on the whole table.';
    ELSIF moment < hotrollback.begins_v1() THEN
        RAISE EXCEPTION 'what was before % is not in the log (any more)', hotrollback.begins_v1()
            USING ERRCODE = 'RB001';
    END IF;
    EXECUTE format(
        'SELECT string_agg(format(''%%s in transaction %%s'', g.reason, g.xid), '', '')'
        '  FROM (SELECT c.reason, c.xid FROM hotrollback.readable_gap c'
        '         WHERE (c.relid IS NULL OR c.relid = ANY ($1)) AND c.reason <> ''lost'' AND %1$s'
        '         UNION'
        '        SELECT ''stale_catalog'', c.xid FROM hotrollback.readable_change c'
        '         WHERE c.stale AND (c.relid = ANY ($1) OR c.new_relid = ANY ($1)) AND %1$s'
        '           AND NOT EXISTS (SELECT FROM hotrollback.readable_change x'
        '                WHERE x.xid = c.xid AND x.relid = c.relid AND x.op = c.op'
        '                  AND x.stale IS NOT TRUE AND x.old_tid IS NOT DISTINCT FROM c.old_tid'
        '                  AND x.new_tid IS NOT DISTINCT FROM c.new_tid)'
        '         UNION'
        '        SELECT ''made since'', c.xid FROM hotrollback.readable_change c'
        '         WHERE c.op IN (''C'', ''B'') AND c.relid = $2 AND %1$s'
        '         LIMIT 5) g', since)
        INTO told USING heaps, relation;
    IF told IS NOT NULL THEN
        RAISE EXCEPTION 'what % was then is not known: not everything was recorded since',
            relation::regclass USING ERRCODE = 'RB001', DETAIL = told;
    END IF;
    names := ARRAY(SELECT c.name FROM hotrollback.columns_v1(ARRAY[relation]) c
                    WHERE c.generated <> 'v');
    EXECUTE format(
        'SELECT string_agg(DISTINCT n, '', '')'
        '  FROM (SELECT i.image FROM hotrollback.readable_change c'
        '         CROSS JOIN LATERAL (VALUES (c.before), (c.after)) AS i(image)'
        '         WHERE c.op IN (''I'', ''U'', ''D'') AND c.stale IS NOT TRUE'
        '           AND (c.relid = ANY ($1) OR c.new_relid = ANY ($1)) AND %s'
        '           AND i.image IS NOT NULL'
        '           AND NOT ARRAY(SELECT json_object_keys(i.image)) @> $2) m'
        ' CROSS JOIN unnest($2) n WHERE (m.image -> n) IS NULL', since)
        INTO told USING heaps, names;
    IF told IS NOT NULL THEN
        RAISE EXCEPTION 'what % was then is not known: columns were added or renamed since: %',
            relation::regclass, told USING ERRCODE = 'RB001';
    END IF;
END $$;

-- A query for the rows of a table as they were. Raises what is missing.
CREATE FUNCTION hotrollback.past_v1(relation oid, since text, moment timestamptz) RETURNS text
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog
    AS $$
DECLARE
    heaps constant oid[] := ARRAY(SELECT t.relid::oid FROM pg_partition_tree(relation) t) || relation;
    source constant text := (
        SELECT format('%s %I.%I', CASE c.relkind WHEN 'p' THEN '' ELSE 'ONLY' END, n.nspname, c.relname)
          FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = relation);
    names text; typed text; taken text; cast_ text; compared text; made text; known text;
BEGIN
    PERFORM hotrollback.check_past_v1(relation, heaps, since, moment);
    -- As undo.image has them (read_back, same); %1$s stands for an alias.
    SELECT string_agg('%1$s.' || replace(c.ident, '%', '%%'), ', ' ORDER BY c.attnum),
           replace(string_agg(c.ident || ' ' || CASE c.kind WHEN 'json' THEN 'pg_catalog.text'
                                                           ELSE c.type_sql END, ', ')
                       FILTER (WHERE c.generated <> 'v'), '%', '%%'),
           replace(string_agg('hotrollback_r.' || c.ident
                              || CASE c.kind WHEN 'json' THEN '::' || c.type_sql ELSE '' END
                              || ' AS ' || c.ident, ', ')
                       FILTER (WHERE c.generated <> 'v'), '%', '%%'),
           string_agg('x.' || c.ident || '::' || c.type || ' AS ' || c.ident, ', ')
               FILTER (WHERE c.generated <> 'v'),
           string_agg(CASE WHEN c.kind IN ('plain', 'oid')
                           THEN '%1$s.' || replace(c.ident, '%', '%%')
                           ELSE 'pg_catalog.format(''%%L'', %1$s.' || replace(c.ident, '%', '%%')
                                || ')' END, ', '
                      ORDER BY c.attnum) FILTER (WHERE c.generated = ''),
           string_agg(', ' || pg_get_expr(d.adbin, relation) || ' AS ' || c.ident, '')
               FILTER (WHERE c.generated = 'v')
      INTO names, typed, taken, cast_, compared, made
      FROM (SELECT c.*, '"' || replace(c.name, '"', '""') || '"' AS ident
              FROM hotrollback.columns_v1(ARRAY[relation]) c) c
      LEFT JOIN pg_attrdef d ON d.adrelid = relation AND d.adnum = c.attnum AND c.generated = 'v';
    IF typed IS NULL THEN
        RAISE EXCEPTION '% has no columns', relation::regclass USING ERRCODE = '42809';
    END IF;
    compared := 'ROW(' || coalesce(compared, '') || ')::pg_catalog.text';
    known := format('LATERAL (SELECT %s FROM pg_catalog.json_to_record(%%s) AS hotrollback_r(%s)) x',
                    taken, typed);
    RETURN format($query$
WITH hotrollback_c AS MATERIALIZED (
    SELECT CASE WHEN c.relid = ANY (%1$L::pg_catalog.oid[]) THEN c.before END AS before,
           CASE WHEN COALESCE(c.new_relid, c.relid) = ANY (%1$L::pg_catalog.oid[]) THEN c.after END
               AS after
      FROM hotrollback.readable_change c
     WHERE c.op IN ('I', 'U', 'D') AND c.stale IS NOT TRUE AND %2$s
       AND (c.relid = ANY (%1$L::pg_catalog.oid[]) OR c.new_relid = ANY (%1$L::pg_catalog.oid[]))
), hotrollback_was AS MATERIALIZED (
    SELECT y.*, %3$s AS hotrollback_k, %4$s AS hotrollback_y
      FROM hotrollback_c c CROSS JOIN %5$s CROSS JOIN LATERAL (SELECT %6$s) y
     WHERE c.before IS NOT NULL
), hotrollback_net AS MATERIALIZED (
    SELECT s.k, pg_catalog.sum(s.n) AS n
      FROM (SELECT w.hotrollback_k AS k, 1 AS n FROM hotrollback_was w
             UNION ALL
            SELECT %3$s, -1 FROM hotrollback_c c CROSS JOIN %7$s WHERE c.after IS NOT NULL) s
     GROUP BY s.k HAVING pg_catalog.sum(s.n) <> 0
), hotrollback_now AS MATERIALIZED (
    SELECT x.*, %3$s AS hotrollback_k FROM %8$s x
), hotrollback_met AS MATERIALIZED (
    SELECT w.*, n.n AS hotrollback_n,
           pg_catalog.row_number() OVER (PARTITION BY w.hotrollback_k) AS hotrollback_i
      FROM hotrollback_now w JOIN hotrollback_net n ON n.k = w.hotrollback_k AND n.n < 0
), hotrollback_missing AS MATERIALIZED (
    SELECT pg_catalog.count(*) AS n FROM (
        SELECT FROM hotrollback_net n
          LEFT JOIN (SELECT m.hotrollback_k AS k, pg_catalog.count(*) AS n FROM hotrollback_met m
                      GROUP BY m.hotrollback_k) m ON m.k = n.k
         WHERE n.n < -COALESCE(m.n, 0)
         UNION ALL
        SELECT FROM hotrollback_was w WHERE w.hotrollback_k <> w.hotrollback_y) x
)
SELECT %9$s FROM hotrollback_now w
 WHERE NOT EXISTS (SELECT FROM hotrollback_net n WHERE n.n < 0 AND n.k = w.hotrollback_k)
 UNION ALL
SELECT %10$s FROM hotrollback_met m WHERE m.hotrollback_i > -m.hotrollback_n
 UNION ALL
SELECT %11$s
  FROM (SELECT DISTINCT ON (b.hotrollback_k) b.*%12$s FROM hotrollback_was b
         ORDER BY b.hotrollback_k) b
  JOIN hotrollback_net n ON n.k = b.hotrollback_k AND n.n > 0
 CROSS JOIN LATERAL pg_catalog.generate_series(1, n.n)
 UNION ALL
SELECT %11$s
  FROM (SELECT b.*%12$s FROM hotrollback_was b) b
 RIGHT JOIN hotrollback_missing m ON false
 WHERE hotrollback.agrees_v1(%13$s::pg_catalog.oid, m.n)
$query$,
        heaps, since, format(compared, 'x'), format(compared, 'y'), format(known, 'c.before'),
        cast_, format(known, 'c.after'), source, format(names, 'w'), format(names, 'm'),
        format(names, 'b'), coalesce(made, ''), relation);
END $$;

-- SELECT * FROM hotrollback.as_of('2026-01-31 09:10', NULL::shop.orders)
CREATE FUNCTION hotrollback.as_of(moment timestamptz, row_of anyelement) RETURNS SETOF anyelement
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog SET jit = off
    SET "DateStyle" = 'ISO, YMD' SET "IntervalStyle" = 'postgres' SET "TimeZone" = 'UTC'
    SET extra_float_digits = 1 SET bytea_output = 'hex' SET lc_monetary = 'C'
    SET xmloption = 'content' SET array_nulls = on
    AS $$
BEGIN
    IF moment IS NULL THEN
        RAISE EXCEPTION 'the moment must not be null' USING ERRCODE = '22004';
    ELSIF moment > clock_timestamp() THEN
        RAISE EXCEPTION '% is still to come: here it is %', moment, clock_timestamp() USING ERRCODE = '22023';
    END IF;
    RETURN QUERY EXECUTE hotrollback.past_v1(
        (SELECT t.typrelid FROM pg_type t WHERE t.oid = pg_typeof(row_of)),
        format('(c.at > %L::pg_catalog.timestamptz OR c.xid = ANY (%L::pg_catalog.int8[]))',
               moment, hotrollback.not_over_v1(moment)),
        moment);
END $$;

CREATE FUNCTION hotrollback.as_of_restore_point(restore_point text, row_of anyelement)
    RETURNS SETOF anyelement
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog SET jit = off
    SET "DateStyle" = 'ISO, YMD' SET "IntervalStyle" = 'postgres' SET "TimeZone" = 'UTC'
    SET extra_float_digits = 1 SET bytea_output = 'hex' SET lc_monetary = 'C'
    SET xmloption = 'content' SET array_nulls = on
    AS $$
DECLARE
    point record;
BEGIN
    SELECT p.at, p.snapshot INTO point FROM hotrollback.readable_restore_point p
     WHERE p.name = restore_point;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no restore point "%" is known', restore_point USING ERRCODE = 'RB001';
    END IF;
    RETURN QUERY EXECUTE hotrollback.past_v1(
        (SELECT t.typrelid FROM pg_type t WHERE t.oid = pg_typeof(row_of)),
        format('(c.xid >= %s AND NOT pg_catalog.pg_visible_in_snapshot('
               'c.xid::pg_catalog.text::pg_catalog.xid8, %L::pg_catalog.pg_snapshot))',
               pg_snapshot_xmin(point.snapshot), point.snapshot),
        point.at);
END $$;
