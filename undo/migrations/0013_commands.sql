-- DDL statements, as hotrollback.change has rows: relid is 0 where one touched several relations. Nobody
-- writes here but what read the catalog itself, since an undo runs what it finds here.
CREATE TABLE hotrollback.command (LIKE hotrollback.change INCLUDING DEFAULTS);
CREATE INDEX command_xid ON hotrollback.command (xid);
CREATE INDEX command_at ON hotrollback.command (at);

-- All that was recorded, rows and DDL.
CREATE VIEW hotrollback.record AS
SELECT * FROM hotrollback.change UNION ALL SELECT * FROM hotrollback.command;

-- What DDL took away or changed and no inverse can give back, in the words of the gap that it leaves.
CREATE FUNCTION hotrollback.lost_v1(before json, after json, others jsonb, dropped jsonb)
    RETURNS TABLE (relation oid, what text, kind text, name text)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog
    AS $$
BEGIN
    RETURN QUERY
    WITH was AS (
        SELECT (e -> 'id')::jsonb AS id, (e -> 'id' ->> 3)::oid AS relid, (e -> 'image')::jsonb AS image,
               e -> 'kept' AS kept
          FROM json_array_elements(before) e
    ), now AS (
        SELECT (e -> 'id')::jsonb AS id, (e -> 'image')::jsonb AS image FROM json_array_elements(after) e
    )
    SELECT nullif(w.relid, 0), format('%s %s', w.image ->> 'kind', w.image ->> 'name'),
           w.image ->> 'kind', w.image ->> 'name'
      FROM was w LEFT JOIN now n ON n.id = w.id
      LEFT JOIN pg_class c ON c.oid = w.relid
     WHERE CASE w.image ->> 'kind'
           WHEN 'table' THEN n.id IS NULL
           WHEN 'column' THEN
               c.relkind IN ('r', 'p', 'm') AND w.kept IS NULL AND w.image -> 'generated' IS NULL
               AND w.image ->> 'type' IS DISTINCT FROM n.image ->> 'type' AND w.image -> 'inherited' IS NULL
           WHEN 'sequence' THEN n.id IS NULL AND w.kept IS NULL
           WHEN 'enum' THEN
               n.id IS NOT NULL
               AND jsonb_array_length(w.image -> 'labels') <> jsonb_array_length(n.image -> 'labels')
           WHEN 'aggregate' THEN w.image - ARRAY['acl', 'owner', 'comment', 'name', 'schema']
                                 IS DISTINCT FROM n.image - ARRAY['acl', 'owner', 'comment', 'name', 'schema']
           -- It comes back as the last one, and without what is stored: values are read in their order.
           WHEN 'attribute' THEN
               c.relkind = 'c'
               AND EXISTS (SELECT FROM pg_attribute a
                            WHERE a.attrelid = c.oid AND a.attnum = (w.id ->> 2)::integer AND a.attisdropped)
               AND (EXISTS (SELECT FROM pg_attribute a
                             WHERE a.attrelid = c.oid AND NOT a.attisdropped
                               AND a.attnum > (w.id ->> 2)::integer)
                    OR EXISTS (SELECT FROM pg_type t
                                 JOIN pg_depend d ON d.refclassid = 'pg_type'::regclass
                                                 AND d.refobjid IN (t.oid, t.typarray)
                                WHERE t.oid = c.reltype AND d.deptype = 'n'
                                  AND d.classid IN ('pg_class'::regclass, 'pg_type'::regclass)))
           WHEN 'base type' THEN n.id IS NULL
           WHEN 'extension' THEN true
           WHEN 'foreign table' THEN n.id IS NULL
           ELSE false END
    UNION ALL
    SELECT NULL, o ->> 3, NULL, NULL FROM jsonb_array_elements(others) o WHERE NOT (o ->> 2)::boolean
    UNION ALL
    -- Of what stays in the bin.
    SELECT NULL, coalesce(d ->> 3 || ' ' || (d ->> 4), format('default of %s', (d ->> 1)::oid::regclass)),
           'binned', NULL
      FROM jsonb_array_elements(dropped) d
     WHERE CASE WHEN (d ->> 0)::oid = 'pg_class'::regclass AND (d ->> 2)::integer <> 0
                THEN (d ->> 1)::oid IN (SELECT b.relid FROM hotrollback.bin b JOIN pg_class k ON k.oid = b.relid)
                ELSE d ->> 3 IN ('index', 'table constraint', 'trigger', 'policy', 'rule')
                     AND d ->> 4 ~ '(^| on )hotrollback_bin\.'
                     AND NOT EXISTS (SELECT FROM jsonb_array_elements(dropped) t
                                      WHERE t ->> 3 = 'table' AND t ->> 4 LIKE 'hotrollback\_bin.%') END
    UNION ALL
    SELECT NULL, format('%s %s', d ->> 3, d ->> 4), NULL, NULL FROM jsonb_array_elements(dropped) d
     WHERE (d ->> 0)::oid NOT IN (
               'pg_class'::regclass, 'pg_trigger'::regclass, 'pg_rewrite'::regclass, 'pg_policy'::regclass,
               'pg_statistic_ext'::regclass, 'pg_proc'::regclass, 'pg_type'::regclass,
               'pg_namespace'::regclass, 'pg_extension'::regclass, 'pg_constraint'::regclass,
               'pg_attrdef'::regclass)
       -- A range's to its multirange comes and goes with it.
       AND NOT EXISTS (SELECT FROM json_array_elements(before) e
                        WHERE d ->> 3 = 'cast' AND e -> 'image' ->> 'kind' = 'range'
                          AND d ->> 4 = format('(%I.%I AS %s)', e -> 'image' ->> 'schema', e -> 'image' ->> 'name',
                                               e -> 'image' -> 'range' ->> 'multirange_type_name'))
       -- A script of an extension does as it likes.
       AND NOT (current_query() ~* '\mextension\M' AND EXISTS (
               SELECT FROM pg_extension e
                WHERE hotrollback.ours_v1(e.xmin, pg_current_xact_id()::text::bigint)));
END $$;

-- What this transaction has changed the owner or the rights of, and no images are kept of: `others` of
-- record_ddl_v1.
CREATE FUNCTION hotrollback.unkept_v1(tag text) RETURNS jsonb
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog
    AS $$
DECLARE
    top constant bigint := pg_current_xact_id()::text::bigint;
    low constant bigint := top & 4294967295;
    -- A parameter that nobody has a right on any more is in no catalog.
    parameters constant oid[] := nullif(current_setting('hotrollback.parameters', true), '')::oid[];
    class regclass;
    found jsonb;
    told jsonb := '[]';
BEGIN
    FOREACH class IN ARRAY ARRAY['pg_foreign_data_wrapper', 'pg_foreign_server', 'pg_language', 'pg_database',
                                 'pg_tablespace', 'pg_parameter_acl', 'pg_default_acl']::regclass[]
        || CASE WHEN tag = 'REASSIGN OWNED' THEN
           ARRAY['pg_collation', 'pg_conversion', 'pg_operator', 'pg_opclass', 'pg_opfamily', 'pg_ts_config',
                 'pg_ts_dict', 'pg_extension', 'pg_publication', 'pg_subscription', 'pg_event_trigger']::regclass[]
           ELSE '{}' END
    LOOP
        CONTINUE WHEN NOT has_table_privilege(class, 'SELECT');
        EXECUTE format($query$
            SELECT jsonb_agg(jsonb_build_array(0, 0, false, i.type || coalesce(' ' || i.identity, '')))
              FROM %2$s x CROSS JOIN LATERAL pg_identify_object(%1$L::regclass, x.oid, 0) i
             WHERE x.xmin::text::bigint >= $1 AND hotrollback.ours_v1(x.xmin, $2)
               AND NOT EXISTS (SELECT FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
                                WHERE d.classid = %1$L::regclass AND d.objid = x.oid AND d.deptype = 'e'
                                  AND hotrollback.ours_v1(e.xmin, $2))
               AND NOT EXISTS (SELECT FROM hotrollback.command c, json_array_elements(c.after -> 'components') e
                                WHERE c.xid = $2 AND e -> 'id' ->> 0 = (%1$L::regclass::oid)::text
                                  AND e -> 'id' ->> 1 = x.oid::text)$query$, class, class)
            INTO found USING low, top;
        told := told || coalesce(found, '[]');
    END LOOP;
    IF tag = 'DROP OWNED' AND EXISTS (SELECT unnest(parameters) EXCEPT SELECT p.oid FROM pg_parameter_acl p) THEN
        told := told || '[[0, 0, false, "parameter ACL"]]';
    END IF;
    RETURN told;
END $$;

-- Keeps the images of what DDL has touched, and records those that it changed: as they were, and as they
-- are. `objects`, `others` (of whose kinds no images are kept) and `dropped`: [class, object, part of it].
-- Relations in the bin are nobody's, and those that go and come as a whole are not told of.
CREATE FUNCTION hotrollback.swap_components_v1(tag text, writer oid, relations oid[], objects jsonb,
                                               dropped jsonb, whole oid[], others jsonb,
                                               OUT lost jsonb, OUT renamed boolean, OUT looked_at oid[])
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog SET jit = off
    AS $$
DECLARE
    before json;
    after json;
    sole oid;
    kept constant jsonb := coalesce(nullif(current_setting('hotrollback.kept', true), ''), '{}')::jsonb;
BEGIN
    whole := whole || ARRAY(SELECT b.relid FROM hotrollback.bin b);
    relations := relations || ARRAY(
        SELECT k.oid FROM jsonb_array_elements(dropped) d JOIN pg_class k ON k.oid = (d ->> 1)::oid
         WHERE (d ->> 0)::oid = 'pg_class'::regclass
         UNION
        SELECT c.relid FROM jsonb_array_elements(dropped) d
          JOIN hotrollback.component c
            ON (c.classid, c.objid) = ((d ->> 0)::oid, (d ->> 1)::oid) AND c.relid <> 0);
    -- Of partitions and children that are not below any more the catalog does not tell.
    relations := relations || ARRAY(
        SELECT c.relid FROM hotrollback.component c
         WHERE c.objid = c.relid AND c.objsubid = 0 AND c.image ? 'parents'
           AND EXISTS (SELECT FROM unnest(relations) r
                        WHERE c.image -> 'parents' ? r::regclass::text));
    -- Of what has got its first partition, or is referred to for the first time, the catalog changes, too.
    relations := relations || ARRAY(
        SELECT i.inhparent FROM pg_inherits i WHERE i.inhrelid = ANY (relations)
         UNION
        SELECT k.confrelid FROM pg_constraint k WHERE k.conrelid = ANY (relations) AND k.contype = 'f');
    WITH gone AS MATERIALIZED (
        SELECT (d ->> 0)::oid AS classid, (d ->> 1)::oid AS objid, (d ->> 2)::integer AS objsubid
          FROM jsonb_array_elements(dropped) d
    ), touched AS MATERIALIZED (
        SELECT (o ->> 0)::oid AS classid, (o ->> 1)::oid AS objid FROM jsonb_array_elements(objects) o
    ), now AS MATERIALIZED (
        SELECT i.* FROM hotrollback.images_v1(relations) i
         WHERE relations <> '{}' AND NOT hotrollback.unfinished_v1(i.objid, i.image)
        UNION ALL
        SELECT i.* FROM (SELECT t.classid, array_agg(t.objid) AS objects FROM touched t GROUP BY 1) t
         CROSS JOIN LATERAL hotrollback.other_images_v1(t.classid, t.objects) i
    ), was AS MATERIALIZED ( -- by indexes, as one OR would not be
        SELECT c.* FROM hotrollback.component c WHERE c.relid = ANY (relations)
         UNION
        SELECT c.* FROM hotrollback.component c JOIN touched t USING (classid, objid)
         UNION
        SELECT c.* FROM hotrollback.component c JOIN gone g USING (classid, objid, objsubid)
         UNION
        SELECT c.* FROM hotrollback.component c
          JOIN gone g ON g.classid = 'pg_class'::regclass AND g.objsubid = 0 AND c.relid = g.objid
         WHERE c.relid <> 0
    ), difference AS MATERIALIZED (
        SELECT coalesce(n.classid, w.classid) AS classid, coalesce(n.objid, w.objid) AS objid,
               coalesce(n.objsubid, w.objsubid) AS objsubid, coalesce(n.relid, w.relid) AS relid,
               w.image AS was, n.image AS now
          FROM now n FULL JOIN was w USING (classid, objid, objsubid)
         WHERE n.image IS DISTINCT FROM w.image
    ), forgotten AS (
        DELETE FROM hotrollback.component c USING difference d
         WHERE d.now IS NULL
           AND (c.classid, c.objid, c.objsubid) = (d.classid, d.objid, d.objsubid)
    ), kept AS (
        INSERT INTO hotrollback.component AS c
        SELECT d.classid, d.objid, d.objsubid, d.relid, d.now FROM difference d WHERE d.now IS NOT NULL
        ON CONFLICT (classid, objid, objsubid)
        DO UPDATE SET image = EXCLUDED.image, relid = EXCLUDED.relid
    ), told AS (
        SELECT d.*, json_build_array(d.classid::bigint, d.objid::bigint, d.objsubid, d.relid::bigint) AS id
          FROM difference d
         WHERE NOT (d.relid = ANY (whole) OR hotrollback.belongs_v1(d.relid, whole))
    )
    SELECT json_agg(json_strip_nulls(json_build_object(
                        'id', t.id, 'on', t.relid::regclass, 'image', t.was,
                        'kept', CASE WHEN t.classid = 'pg_class'::regclass THEN
                                kept -> format('%s.%s', t.objid, t.objsubid) END))
                    ORDER BY t.classid, t.objid, t.objsubid) FILTER (WHERE t.was IS NOT NULL),
           json_agg(json_build_object('id', t.id, 'on', t.relid::regclass, 'image', t.now)
                    ORDER BY t.classid, t.objid, t.objsubid) FILTER (WHERE t.now IS NOT NULL),
           coalesce(bool_or(t.was -> 'name' <> t.now -> 'name' OR t.was -> 'schema' <> t.now -> 'schema'
                            OR t.was -> 'labels' <> t.now -> 'labels'
                            OR t.now ->> 'kind' = 'view'), -- a column of it, as only its text tells
                    false)
      INTO before, after, renamed FROM told t;
    IF others <> '[]' THEN
        SELECT json_agg(x.o) INTO after
          FROM (SELECT json_array_elements(after) UNION ALL
                SELECT json_build_object(
                           'id', json_build_array((o ->> 0)::bigint, (o ->> 1)::bigint, 0, 0),
                           'image', json_build_object('kind', 'other', 'type', i.type, 'identity', i.identity))
                  FROM jsonb_array_elements(others) o
                 CROSS JOIN LATERAL pg_identify_object((o ->> 0)::oid, (o ->> 1)::oid, 0) i
                 WHERE (o ->> 2)::boolean AND i.identity IS NOT NULL) AS x(o);
    END IF;
    IF before IS NOT NULL OR after IS NOT NULL THEN
        SELECT CASE WHEN count(DISTINCT x.e -> 'id' ->> 3) = 1 THEN min(x.e -> 'id' ->> 3)::oid END
          INTO sole
          FROM (SELECT json_array_elements(before) UNION ALL
                SELECT json_array_elements(after)) AS x(e);
        INSERT INTO hotrollback.command (role, relid, op, before, after)
        VALUES (writer, coalesce(sole, 0), 'S',
                json_build_object('command', tag, 'components', coalesce(before, '[]')),
                json_build_object('command', tag, 'components', coalesce(after, '[]')));
    END IF;
    looked_at := relations;
    lost := coalesce((SELECT jsonb_agg(jsonb_build_array(l.relation::bigint, l.what, l.kind, l.name))
                        FROM hotrollback.lost_v1(before, after, others, dropped) l), '[]');
END $$;

-- The indexes of a table that are not finished, where it is for the rest as it is known to be; NULL where
-- it is not.
CREATE FUNCTION hotrollback.unfinished_indexes_v1(relation oid) RETURNS regclass[]
    LANGUAGE sql VOLATILE SET search_path = pg_catalog
    AS $$
    WITH now AS MATERIALIZED (SELECT * FROM hotrollback.images_v1(ARRAY[relation]))
    SELECT CASE WHEN bool_and(n.image IS NOT DISTINCT FROM w.image
                              OR hotrollback.unfinished_v1(n.objid, n.image)) THEN
           coalesce(array_agg(n.objid::regclass) FILTER (WHERE hotrollback.unfinished_v1(n.objid, n.image)),
                    '{}') END
      FROM now n
      FULL JOIN (SELECT c.* FROM hotrollback.component c WHERE c.relid = relation) w
        USING (classid, objid, objsubid)
$$;

-- What this transaction has lost since an LSN.
CREATE FUNCTION hotrollback.lost_since_v1(since pg_lsn) RETURNS TABLE (reason text, relid oid)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog
    AS $$
    SELECT g.reason, g.relid FROM hotrollback.gap g
     WHERE g.xid = pg_current_xact_id_if_assigned()::text::bigint AND g.reason = 'lost' AND g.lsn >= since
     LIMIT 1
$$;

-- What needs one of these objects, and what that is a part of; and they themselves. `objects`: [class, object].
CREATE FUNCTION hotrollback.resting_on_v1(objects jsonb) RETURNS TABLE (class oid, oid oid, sub integer)
    LANGUAGE sql STABLE SET search_path = pg_catalog
    AS $$
    WITH RECURSIVE goes(class, oid, sub) AS (
        SELECT (o ->> 0)::oid, (o ->> 1)::oid, 0 FROM jsonb_array_elements(objects) o
         UNION
        SELECT n.class, n.oid, n.sub
          FROM goes g
         CROSS JOIN LATERAL (
             SELECT d.classid, d.objid, d.objsubid FROM pg_depend d
              WHERE (d.refclassid, d.refobjid) = (g.class, g.oid) AND g.sub IN (0, d.refobjsubid)
              UNION ALL
             SELECT d.refclassid, d.refobjid, d.refobjsubid FROM pg_depend d
              WHERE (d.classid, d.objid, d.objsubid) = (g.class, g.oid, g.sub) AND d.deptype = 'i'
         ) AS n(class, oid, sub))
    SELECT g.class, g.oid, g.sub FROM goes g
$$;

CREATE FUNCTION hotrollback.relations_as_objects_v1(relations oid[]) RETURNS jsonb
    LANGUAGE sql STABLE SET search_path = pg_catalog
    AS $$
    SELECT coalesce(jsonb_agg(jsonb_build_array('pg_class'::regclass::oid::bigint, r::bigint)), '[]')
      FROM unnest(relations) r
$$;

-- After a change of their names: the texts of what speaks of them.
CREATE FUNCTION hotrollback.spell_again_v1(named jsonb) RETURNS void
    LANGUAGE sql VOLATILE SET search_path = pg_catalog
    AS $$
    SELECT hotrollback.refresh_components_v1(
               coalesce(array_agg(DISTINCT s.relid) FILTER (WHERE s.relid IS NOT NULL), '{}'),
               coalesce(jsonb_agg(DISTINCT s.object) FILTER (WHERE s.relid IS NULL), '[]'))
      FROM (SELECT hotrollback.relation_of_v1(r.class, r.oid) AS relid,
                   CASE WHEN k.contypid IS NULL THEN jsonb_build_array(r.class::bigint, r.oid::bigint)
                        ELSE jsonb_build_array('pg_type'::regclass::oid::bigint, k.contypid::bigint) END AS object
              FROM hotrollback.resting_on_v1(named) r
              LEFT JOIN pg_constraint k ON r.class = 'pg_constraint'::regclass AND k.oid = r.oid
                                       AND k.contypid <> 0) s
$$;

-- After DDL: one record for all that it changed. What cannot be given back is a gap, too.
CREATE FUNCTION hotrollback.record_ddl_v1(tag text, relations oid[], objects jsonb, dropped jsonb,
                                          whole oid[], others jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
DECLARE
    changed record;
BEGIN
    SELECT * INTO changed
      FROM hotrollback.swap_components_v1(
               tag, quote_ident(current_user)::regrole::oid, relations, objects, dropped, whole, others);
    INSERT INTO hotrollback.gap (fingerprint, relid, reason, statement)
    SELECT nullif(current_setting('hotrollback.statement', true), '')::bigint, (l ->> 0)::oid, 'lost',
           format('%s: %s', tag, l ->> 1)
               || coalesce(' (' || nullif(current_setting('hotrollback.unspared', true), '') || ')', '')
      FROM jsonb_array_elements(changed.lost) l;
    PERFORM set_config('hotrollback.lost', jsonb_build_object(
        'tag', tag, 'lost', changed.lost, 'dropped', dropped,
        'temporary', coalesce(nullif(current_setting('hotrollback.temporary', true), ''), '[]')::jsonb)::text,
        true);
    -- What is made last goes first when it is taken back.
    INSERT INTO hotrollback.change (relid, op) SELECT w, 'C' FROM unnest(whole) w;
    IF changed.renamed THEN
        PERFORM hotrollback.spell_again_v1(objects || hotrollback.relations_as_objects_v1(changed.looked_at));
    END IF;
    PERFORM set_config('hotrollback.shaped', (hotrollback.shaped_v1() || changed.looked_at)::text, true);
END $$;
