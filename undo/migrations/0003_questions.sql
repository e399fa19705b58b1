-- What the proxy asks on a client's own connection before a write.

-- Whether a default of the relation calls current_query(), whose number is 817. pg_get_expr would
-- wait for a lock on the table.
CREATE FUNCTION hotrollback.sees_query_v1(relation oid) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog
    AS $$
    SELECT EXISTS (SELECT FROM pg_attrdef d
                    WHERE d.adrelid = relation AND d.adbin::text LIKE '%:funcid 817 %')
$$;

-- All of a relation that the images of its rows, and how they are taken, rest upon, as a number. Also
-- inside relations_v1, so that it neither raises nor waits for a lock.
CREATE FUNCTION hotrollback.shape_v1(relation oid) RETURNS bigint
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog SET jit = off
    AS $$
BEGIN
    RETURN (
        SELECT hashtextextended(json_build_array(
                   c.relname, c.relkind, c.relhasrules, c.relrowsecurity, c.relhassubclass,
                   (SELECT json_agg(json_build_array(a.attnum, a.attname, a.atttypid, a.atttypmod,
                                        a.attgenerated, a.attidentity,
                                        (SELECT d.adbin::text FROM pg_attrdef d
                                          WHERE d.adrelid = c.oid AND d.adnum = a.attnum),
                                        CASE WHEN a.atttypid >= 16384
                                             THEN hotrollback.kind_v1(a.atttypid) END)
                                    ORDER BY a.attnum)
                      FROM pg_attribute a
                     WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
                   (SELECT json_agg(json_build_array(t.tgfoid, t.tgenabled) ORDER BY t.oid)
                      FROM pg_trigger t
                     WHERE t.tgrelid = c.oid AND NOT t.tgisinternal
                       AND t.tgname !~ '^hotrollback_'),
                   (SELECT json_agg(k.oid ORDER BY k.oid) FROM pg_constraint k
                     WHERE k.conrelid = c.oid AND k.contype = 'c'),
                   (SELECT i.indkey::text FROM pg_index i
                     WHERE i.indrelid = c.oid AND i.indisprimary))::text, 0)
          FROM pg_class c WHERE c.oid = relation);
END $$;

-- In a statement that was made when the schema was another one: whether what it rests upon is, too.
-- Under an older snapshot the catalog shows what was, and not what is in force.
CREATE FUNCTION hotrollback.changed_v1(relation oid, shape bigint) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
BEGIN
    IF current_setting('transaction_isolation') IN ('repeatable read', 'serializable') THEN
        RETURN true;
    END IF;
    RETURN nullif(hotrollback.shape_v1(relation) IS DISTINCT FROM shape, false);
END $$;

-- What the catalog says of relations, as one JSON array in the order asked; null where there is none.
-- asked_names: JSON array of [schema or null, name]. Must never raise: it runs inside the client's
-- transaction; so no to_regclass (which raises without USAGE on the schema), only look-ups. Names are
-- qualified rather than search_path set, because visibility is the caller's; IN is an operator, too.
-- Compiling it by JIT would cost a hundred times what running it does; without nested loops, which a
-- session may have turned off, it takes seconds among thousands of relations.
CREATE FUNCTION hotrollback.relations_v1(asked_names json) RETURNS json
    LANGUAGE plpgsql STABLE
    SET jit = off
    SET enable_nestloop = on SET enable_indexscan = on SET enable_hashjoin = on
    AS $$
BEGIN
    RETURN (
    WITH RECURSIVE asked AS (
        SELECT e.ord, e.value ->> 0 AS nsp, e.value ->> 1 AS rel
          FROM pg_catalog.json_array_elements(asked_names) WITH ORDINALITY AS e(value, ord)
    ), found AS (
        SELECT a.ord, (SELECT c.oid
                         FROM pg_catalog.pg_class c
                         JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
                        WHERE c.relname OPERATOR(pg_catalog.=) a.rel::pg_catalog.name
                          AND CASE WHEN a.nsp IS NULL THEN pg_catalog.pg_table_is_visible(c.oid)
                                   ELSE n.nspname OPERATOR(pg_catalog.=) a.nsp::pg_catalog.name END
                        LIMIT 1) AS root
          FROM asked a
    ), roots AS (
        SELECT DISTINCT root FROM found WHERE root IS NOT NULL
    ), member(root, oid) AS (
        SELECT root, root FROM roots
        UNION
        SELECT m.root, i.inhrelid
          FROM member m
          JOIN pg_catalog.pg_inherits i ON i.inhparent OPERATOR(pg_catalog.=) m.oid
    ), cascade(root, oid) AS (
        SELECT m.root, f.conrelid
          FROM member m
          JOIN pg_catalog.pg_constraint f
            ON f.confrelid OPERATOR(pg_catalog.=) m.oid AND f.contype OPERATOR(pg_catalog.=) 'f'
           AND (f.confdeltype OPERATOR(pg_catalog.=) ANY ('{c,n,d}'::pg_catalog."char"[])
                OR f.confupdtype OPERATOR(pg_catalog.=) ANY ('{c,n,d}'::pg_catalog."char"[]))
        UNION
        SELECT s.root, f.conrelid
          FROM cascade s
          JOIN pg_catalog.pg_constraint f
            ON f.confrelid OPERATOR(pg_catalog.=) s.oid AND f.contype OPERATOR(pg_catalog.=) 'f'
           AND (f.confdeltype OPERATOR(pg_catalog.=) ANY ('{c,n,d}'::pg_catalog."char"[])
                OR f.confupdtype OPERATOR(pg_catalog.=) ANY ('{c,n,d}'::pg_catalog."char"[]))
    ), referrer(root, oid) AS (
        SELECT m.root, f.conrelid
          FROM member m
          JOIN pg_catalog.pg_constraint f
            ON f.confrelid OPERATOR(pg_catalog.=) m.oid AND f.contype OPERATOR(pg_catalog.=) 'f'
        UNION
        SELECT s.root, f.conrelid
          FROM referrer s
          JOIN pg_catalog.pg_constraint f
            ON f.confrelid OPERATOR(pg_catalog.=) s.oid AND f.contype OPERATOR(pg_catalog.=) 'f'
    ), captured AS (
        SELECT t.tgrelid AS oid
          FROM pg_catalog.pg_trigger t
         WHERE t.tgname OPERATOR(pg_catalog.=) 'hotrollback_capture'
           AND t.tgenabled OPERATOR(pg_catalog.=) 'A'
    ), heaps AS (
        SELECT m.root, m.oid, c.relkind, captured.oid IS NOT NULL AS captured
          FROM member m
          JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) m.oid
          LEFT JOIN captured ON captured.oid OPERATOR(pg_catalog.=) m.oid
         WHERE c.relkind OPERATOR(pg_catalog.<>) 'p'
    ), triggers AS (
        SELECT m.root, t.tgdeferrable, p.prosrc
          FROM member m
          JOIN pg_catalog.pg_trigger t ON t.tgrelid OPERATOR(pg_catalog.=) m.oid
          JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) t.tgfoid
         WHERE NOT t.tgisinternal AND t.tgenabled OPERATOR(pg_catalog.<>) 'D'
           AND t.tgname OPERATOR(pg_catalog.!~) '^hotrollback_'
    )
    SELECT pg_catalog.json_agg(j.facts ORDER BY found.ord)
      FROM found
      LEFT JOIN LATERAL (
        SELECT pg_catalog.json_build_object(
            'oid', c.oid::pg_catalog.int8,
            'schema', n.nspname,
            'name', c.relname,
            'kind', c.relkind,
            'shape', hotrollback.shape_v1(c.oid),
            'temporary', c.relpersistence OPERATOR(pg_catalog.=) 't',
            'row_security', pg_catalog.row_security_active(c.oid),
            'rules', EXISTS (SELECT FROM pg_catalog.pg_rewrite r
                              WHERE r.ev_class OPERATOR(pg_catalog.=) c.oid
                                AND r.rulename OPERATOR(pg_catalog.<>) '_RETURN'
                                AND r.ev_enabled OPERATOR(pg_catalog.<>) 'D'),
            'foreign', EXISTS (SELECT FROM heaps h WHERE h.root OPERATOR(pg_catalog.=) c.oid
                                  AND h.relkind OPERATOR(pg_catalog.=) 'f'),
            'inherited', c.relkind OPERATOR(pg_catalog.=) 'r'
                         AND EXISTS (SELECT FROM pg_catalog.pg_inherits i
                                      WHERE i.inhparent OPERATOR(pg_catalog.=) c.oid),
            'triggers', EXISTS (SELECT FROM triggers t WHERE t.root OPERATOR(pg_catalog.=) c.oid),
            'deferred', EXISTS (SELECT FROM triggers t WHERE t.root OPERATOR(pg_catalog.=) c.oid
                                   AND t.tgdeferrable),
            'query_seen', EXISTS (SELECT FROM triggers t WHERE t.root OPERATOR(pg_catalog.=) c.oid
                                     AND t.prosrc OPERATOR(pg_catalog.~*) 'current_query')
                          OR hotrollback.sees_query_v1(c.oid),
            'volatile', EXISTS (
                SELECT FROM member m
                  JOIN pg_catalog.pg_attrdef d ON d.adrelid OPERATOR(pg_catalog.=) m.oid
                  JOIN pg_catalog.pg_depend u
                    ON u.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_attrdef'::pg_catalog.regclass
                   AND u.objid OPERATOR(pg_catalog.=) d.oid
                   AND u.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
                  JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) u.refobjid
                 WHERE m.root OPERATOR(pg_catalog.=) c.oid
                   AND p.provolatile OPERATOR(pg_catalog.=) 'v')
                OR EXISTS (
                SELECT FROM member m
                  JOIN pg_catalog.pg_constraint k
                    ON k.conrelid OPERATOR(pg_catalog.=) m.oid AND k.contype OPERATOR(pg_catalog.=) 'c'
                  JOIN pg_catalog.pg_depend u
                    ON u.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_constraint'::pg_catalog.regclass
                   AND u.objid OPERATOR(pg_catalog.=) k.oid
                   AND u.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
                  JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) u.refobjid
                 WHERE m.root OPERATOR(pg_catalog.=) c.oid
                   AND p.provolatile OPERATOR(pg_catalog.=) 'v'),
            -- Functions of users that may write and that a text calls without naming them. The same
            -- for every relation: it is asked once.
            'implicit', (SELECT EXISTS (
                SELECT FROM pg_catalog.pg_proc p
                  JOIN pg_catalog.pg_depend u
                    ON u.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
                   AND u.refobjid OPERATOR(pg_catalog.=) p.oid
                 WHERE p.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid
                   AND p.provolatile OPERATOR(pg_catalog.=) 'v'
                   AND (u.classid OPERATOR(pg_catalog.=) ANY (ARRAY[
                            'pg_catalog.pg_operator', 'pg_catalog.pg_cast', 'pg_catalog.pg_rewrite',
                            'pg_catalog.pg_type', 'pg_catalog.pg_constraint'
                        ]::pg_catalog.regclass[]::pg_catalog.oid[])
                        OR EXISTS (SELECT FROM pg_catalog.pg_aggregate a
                                    WHERE u.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
                                      AND a.aggfnoid::pg_catalog.oid OPERATOR(pg_catalog.=) u.objid))
                   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e
                                    WHERE e.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
                                      AND e.objid OPERATOR(pg_catalog.=) p.oid
                                      AND e.deptype OPERATOR(pg_catalog.=) 'e'))),
            'heaps', (SELECT pg_catalog.json_agg(h.oid::pg_catalog.int8) FROM heaps h
                       WHERE h.root OPERATOR(pg_catalog.=) c.oid),
            'uncaptured', (SELECT pg_catalog.count(*) FROM heaps h
                            WHERE h.root OPERATOR(pg_catalog.=) c.oid AND NOT h.captured),
            'cascades', COALESCE((SELECT pg_catalog.json_agg(s.oid::pg_catalog.int8) FROM cascade s
                                   JOIN pg_catalog.pg_class k ON k.oid OPERATOR(pg_catalog.=) s.oid
                                  WHERE s.root OPERATOR(pg_catalog.=) c.oid
                                    AND k.relkind OPERATOR(pg_catalog.=) 'r'), '[]'),
            'referrers', (SELECT pg_catalog.json_agg(s.oid::pg_catalog.int8) FROM referrer s
                           JOIN pg_catalog.pg_class k ON k.oid OPERATOR(pg_catalog.=) s.oid
                          WHERE s.root OPERATOR(pg_catalog.=) c.oid
                            AND k.relkind OPERATOR(pg_catalog.=) 'r'),
            'cascades_uncaptured', (
                SELECT pg_catalog.count(*) FROM cascade s
                  JOIN pg_catalog.pg_class k ON k.oid OPERATOR(pg_catalog.=) s.oid
                  LEFT JOIN captured ON captured.oid OPERATOR(pg_catalog.=) s.oid
                 WHERE s.root OPERATOR(pg_catalog.=) c.oid
                   AND ((k.relkind OPERATOR(pg_catalog.<>) 'p' AND captured.oid IS NULL)
                        OR EXISTS (SELECT FROM pg_catalog.pg_trigger t
                                    WHERE t.tgrelid OPERATOR(pg_catalog.=) s.oid
                                      AND NOT t.tgisinternal
                                      AND t.tgenabled OPERATOR(pg_catalog.<>) 'D'
                                      AND t.tgname OPERATOR(pg_catalog.!~) '^hotrollback_'))),
            'selectable', (SELECT pg_catalog.bool_and(
                                      pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT'))
                             FROM pg_catalog.pg_attribute a
                            WHERE a.attrelid OPERATOR(pg_catalog.=) c.oid
                              AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped),
            'key', (SELECT pg_catalog.json_agg(a.attname ORDER BY k.ord)
                      FROM pg_catalog.pg_index x
                     CROSS JOIN LATERAL pg_catalog.unnest(x.indkey) WITH ORDINALITY AS k(attnum, ord)
                      JOIN pg_catalog.pg_attribute a
                        ON a.attrelid OPERATOR(pg_catalog.=) c.oid
                       AND a.attnum OPERATOR(pg_catalog.=) k.attnum
                     WHERE x.indrelid OPERATOR(pg_catalog.=) c.oid AND x.indisprimary)
        ) AS facts
          FROM pg_catalog.pg_class c
          JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
         WHERE c.oid OPERATOR(pg_catalog.=) found.root
      ) j ON true
    );
END $$;

-- Of some function names, those that have a volatile function of a user: it may write anything. One
-- that is not volatile may still call one that is, which its body would name. C functions of
-- extensions are trusted to write nothing.
CREATE FUNCTION hotrollback.volatile_v1(names text[]) RETURNS text[]
    LANGUAGE sql STABLE SET search_path = pg_catalog
    AS $$
    WITH RECURSIVE theirs AS MATERIALIZED (
        SELECT p.oid, p.proname::text AS name, p.provolatile = 'v' AS writes, l.lanname IN ('c', 'internal')
               OR p.prokind = 'a' AS closed,
               EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass
                          AND d.objid = p.oid AND d.deptype = 'e') AS extension
          FROM pg_proc p
          JOIN pg_language l ON l.oid = p.prolang
         WHERE p.oid >= 16384
           AND p.pronamespace NOT IN ('pg_catalog'::regnamespace, 'hotrollback'::regnamespace)
           AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
    ), reached(asked, oid) AS (
        SELECT t.name, t.oid FROM theirs t WHERE t.name = ANY (names)
        UNION
        SELECT r.asked, c.oid
          FROM reached r
          JOIN theirs t ON t.oid = r.oid AND NOT (t.writes OR t.closed OR t.extension)
         CROSS JOIN LATERAL (SELECT lower(coalesce(pg_get_function_sqlbody(p.oid), p.prosrc)) AS body
                               FROM pg_proc p WHERE p.oid = t.oid OFFSET 0) b
          JOIN theirs c ON c.oid <> t.oid AND strpos(b.body, lower(c.name)) > 0
    )
    SELECT array_agg(DISTINCT r.asked)
      FROM reached r
      JOIN theirs t ON t.oid = r.oid
     WHERE t.writes AND NOT (t.closed AND t.extension)
$$;

-- Of some procedure names, those that may end the transaction of their caller.
CREATE FUNCTION hotrollback.commits_v1(names text[]) RETURNS text[]
    LANGUAGE sql STABLE SET search_path = pg_catalog
    AS $$
    SELECT array_agg(DISTINCT p.proname::text)
      FROM pg_proc p
      JOIN pg_language l ON l.oid = p.prolang
     WHERE p.proname = ANY (names::name[]) AND p.prokind = 'p'
       AND CASE l.lanname WHEN 'sql' THEN false
                          WHEN 'plpgsql' THEN p.prosrc ~* E'\\m(commit|rollback|call)\\M'
                          ELSE true END
$$;
