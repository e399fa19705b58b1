-- What the schema is made of, component by component: a relation, a column, a constraint, a function. DDL
-- is recorded like a write to a row: the image of each component that it changed, before and after.
--
-- Of what was before nothing is left in the catalog when an event trigger runs; so the images are
-- kept, and are right as long as every DDL statement passes here.
CREATE TABLE hotrollback.component (
    classid oid NOT NULL,
    objid oid NOT NULL,
    objsubid integer NOT NULL,
    relid oid NOT NULL, -- the relation that it belongs to, or 0
    image jsonb NOT NULL,
    PRIMARY KEY (classid, objid, objsubid)
);
CREATE INDEX component_relid ON hotrollback.component (relid);
CREATE INDEX component_parents ON hotrollback.component (relid) WHERE image ? 'parents';

-- Who may do what, as rows that can be compared: [grantor, grantee, privilege, with grant option].
CREATE FUNCTION hotrollback.acl_v1(acl aclitem[]) RETURNS jsonb
    LANGUAGE sql STABLE SET search_path = pg_catalog
    AS $$
    SELECT coalesce(jsonb_agg(x.entry ORDER BY x.entry::text), '[]')
      FROM (SELECT jsonb_build_array(
                       pg_get_userbyid(a.grantor),
                       CASE WHEN a.grantee = 0 THEN NULL ELSE pg_get_userbyid(a.grantee) END,
                       a.privilege_type, a.is_grantable) AS entry
              FROM aclexplode(acl) a) x
$$;

-- The same of what has its table's owner: without his own, and no name where he granted it.
CREATE FUNCTION hotrollback.others_acl_v1(acl aclitem[], owner oid) RETURNS jsonb
    LANGUAGE sql STABLE SET search_path = pg_catalog
    AS $$
    SELECT jsonb_agg(CASE WHEN e ->> 0 = pg_get_userbyid(owner) THEN jsonb_set(e, '{0}', '""') ELSE e END)
      FROM jsonb_array_elements(hotrollback.acl_v1(acl)) e
     WHERE e ->> 1 IS DISTINCT FROM pg_get_userbyid(owner)
$$;

-- Whether an object is a member of an extension, which then is what made it.
CREATE FUNCTION hotrollback.of_extension_v1(class regclass, object oid) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog
    AS $$
    SELECT EXISTS (SELECT FROM pg_depend d
                    WHERE d.classid = class AND d.objid = object AND d.deptype = 'e')
$$;

-- Relations whose components are kept.
CREATE FUNCTION hotrollback.kept_relations_v1(wanted oid[]) RETURNS SETOF oid
    LANGUAGE sql STABLE SET search_path = pg_catalog
    AS $$
    SELECT c.oid
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE (wanted IS NULL OR c.oid = ANY (wanted))
       AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c', 'S') AND c.relpersistence <> 't'
       AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'hotrollback',
                             'hotrollback_bin')
       AND NOT hotrollback.of_extension_v1('pg_class', c.oid)
       -- The sequence of an identity column is a part of the column.
       AND NOT (c.relkind = 'S' AND EXISTS (
               SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                                         AND d.deptype = 'i'))
$$;

CREATE FUNCTION hotrollback.sequence_v1(relation oid) RETURNS jsonb
    LANGUAGE sql STABLE SET search_path = pg_catalog
    AS $$
    SELECT jsonb_build_object('type', format_type(s.seqtypid, NULL), 'start', s.seqstart,
                              'increment', s.seqincrement, 'minimum', s.seqmin, 'maximum', s.seqmax,
                              'cache', s.seqcache, 'cycle', s.seqcycle)
      FROM pg_sequence s WHERE s.seqrelid = relation
$$;

CREATE FUNCTION hotrollback.relation_images_v1(relations oid[])
    RETURNS TABLE (classid oid, objid oid, objsubid integer, relid oid, image jsonb)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog SET quote_all_identifiers = off
    AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT 'pg_class'::regclass::oid, c.oid, 0, c.oid, jsonb_strip_nulls(jsonb_build_object(
               'kind', CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'table' WHEN 'v' THEN 'view'
                                      WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence'
                                      WHEN 'f' THEN 'foreign table' ELSE 'composite type' END,
               'schema', n.nspname, 'name', c.relname, 'owner', pg_get_userbyid(c.relowner),
               'acl', hotrollback.acl_v1(CASE WHEN c.relkind = 'c' THEN
                   (SELECT coalesce(t.typacl, acldefault('T', t.typowner)) FROM pg_type t
                     WHERE t.oid = c.reltype)
                   ELSE coalesce(c.relacl, acldefault(
                       CASE c.relkind WHEN 'S' THEN 's'::"char" ELSE 'r'::"char" END, c.relowner)) END),
               'comment', obj_description(c.oid, 'pg_class'),
               'persistence', c.relpersistence, 'options', c.reloptions,
               'toast', (SELECT t.reloptions FROM pg_class t WHERE t.oid = c.reltoastrelid),
               'method', CASE WHEN c.relkind IN ('r', 'm') THEN
                         (SELECT a.amname FROM pg_am a WHERE a.oid = c.relam) END,
               'tablespace', (SELECT t.spcname FROM pg_tablespace t WHERE t.oid = c.reltablespace),
               'row_security', nullif(c.relrowsecurity, false),
               'force_row_security', nullif(c.relforcerowsecurity, false),
               'replica_identity', CASE c.relreplident
                   WHEN 'f' THEN 'FULL' WHEN 'n' THEN 'NOTHING'
                   WHEN 'i' THEN (SELECT format('USING INDEX %I', x.relname) FROM pg_index i
                                    JOIN pg_class x ON x.oid = i.indexrelid
                                   WHERE i.indrelid = c.oid AND i.indisreplident) END,
               'clustered', (SELECT x.relname FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
                              WHERE i.indrelid = c.oid AND i.indisclustered),
               'of', nullif(c.reloftype, 0)::regtype,
               'partition_by', CASE WHEN c.relkind = 'p' THEN pg_get_partkeydef(c.oid) END,
               'bound', pg_get_expr(c.relpartbound, c.oid),
               'parents', (SELECT jsonb_agg(i.inhparent::regclass ORDER BY i.inhseqno)
                             FROM pg_inherits i WHERE i.inhrelid = c.oid),
               'definition', CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END,
               'named', CASE WHEN c.relkind IN ('v', 'm') THEN
                        (SELECT jsonb_agg(a.attname ORDER BY a.attnum) FROM pg_attribute a
                          WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) END,
               'populated', CASE WHEN c.relkind = 'm' THEN c.relispopulated END,
               'sequence', CASE WHEN c.relkind = 'S' THEN hotrollback.sequence_v1(c.oid) END,
               'owned_by', (SELECT format('%s.%I', d.refobjid::regclass, a.attname)
                              FROM pg_depend d
                              JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
                             WHERE c.relkind = 'S' AND d.classid = 'pg_class'::regclass
                               AND d.objid = c.oid AND d.refclassid = 'pg_class'::regclass
                               AND d.deptype = 'a'),
               'server', (SELECT s.srvname FROM pg_foreign_table f
                            JOIN pg_foreign_server s ON s.oid = f.ftserver WHERE f.ftrelid = c.oid),
               'server_options', (SELECT to_jsonb(f.ftoptions) FROM pg_foreign_table f
                                   WHERE f.ftrelid = c.oid)))
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.oid = ANY (relations);
END $$;

-- Without what the server notes there for itself (15.18 does).
CREATE FUNCTION hotrollback.attribute_options_v1(options text[]) RETURNS text[]
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog
    AS $$ SELECT array_agg(o) FROM unnest(options) o WHERE o NOT LIKE 'pg\_attver=%' $$;

-- Columns; of a view only what can be said of its columns apart.
CREATE FUNCTION hotrollback.column_images_v1(relations oid[])
    RETURNS TABLE (classid oid, objid oid, objsubid integer, relid oid, image jsonb)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog SET quote_all_identifiers = off
    AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT 'pg_class'::regclass::oid, a.attrelid, a.attnum::integer, a.attrelid,
           jsonb_strip_nulls(jsonb_build_object(
               'kind', CASE WHEN c.relkind = 'c' THEN 'attribute' WHEN c.relkind IN ('v', 'm') THEN 'view column'
                                 ELSE 'column' END, 'name', a.attname,
               'type', CASE WHEN c.relkind NOT IN ('v', 'm') THEN format_type(a.atttypid, a.atttypmod) END,
               'collation', CASE WHEN a.attcollation <> t.typcollation THEN
                   (SELECT format('%I.%I', n.nspname, l.collname)
                      FROM pg_collation l JOIN pg_namespace n ON n.oid = l.collnamespace
                     WHERE l.oid = a.attcollation) END,
               -- From 18 on it is a constraint.
               'not_null', nullif(a.attnotnull AND NOT EXISTS (
                   SELECT FROM pg_constraint k
                    WHERE k.conrelid = a.attrelid AND k.contype = 'n' AND k.conkey[1] = a.attnum), false),
               'default', CASE WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, d.adrelid) END,
               'generated', CASE WHEN a.attgenerated <> '' THEN
                   jsonb_build_array(a.attgenerated, pg_get_expr(d.adbin, d.adrelid)) END,
               'identity', CASE WHEN a.attidentity <> '' THEN
                   (SELECT jsonb_build_object('when', a.attidentity, 'name', s.relname,
                                              'sequence', hotrollback.sequence_v1(s.oid),
                                              'acl', hotrollback.others_acl_v1(s.relacl, s.relowner),
                                              'comment', obj_description(s.oid, 'pg_class'))
                      FROM pg_depend e JOIN pg_class s ON s.oid = e.objid AND s.relkind = 'S'
                     WHERE e.classid = 'pg_class'::regclass AND e.refclassid = 'pg_class'::regclass
                       AND e.refobjid = a.attrelid AND e.refobjsubid = a.attnum
                       AND e.deptype = 'i') END,
               'storage', CASE WHEN c.relkind IN ('r', 'p', 'f') THEN
                   CASE a.attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL'
                                     WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END END,
               'compression', CASE a.attcompression WHEN 'p' THEN 'pglz' WHEN 'l' THEN 'lz4' END,
               'statistics', nullif(a.attstattarget, -1), 'options', hotrollback.attribute_options_v1(a.attoptions),
               'server_options', a.attfdwoptions,
               'acl', CASE WHEN a.attacl IS NOT NULL THEN hotrollback.acl_v1(a.attacl) END,
               'comment', col_description(a.attrelid, a.attnum),
               'inherited', nullif(a.attinhcount > 0, false),
               'local', CASE WHEN a.attinhcount > 0 THEN a.attislocal END))
      FROM pg_attribute a
      JOIN pg_class c ON c.oid = a.attrelid
      JOIN pg_type t ON t.oid = a.atttypid
      LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
     WHERE a.attrelid = ANY (relations) AND a.attnum > 0 AND NOT a.attisdropped
       AND (c.relkind IN ('r', 'p', 'f', 'c')
            OR (c.relkind IN ('v', 'm')
                AND (a.attacl IS NOT NULL OR d.oid IS NOT NULL OR hotrollback.attribute_options_v1(a.attoptions) IS NOT NULL
                     OR coalesce(a.attstattarget, -1) <> -1
                     OR col_description(a.attrelid, a.attnum) IS NOT NULL)));
END $$;

-- What is attached to relations. Not what comes of an inheritance parent's, and with it.
CREATE FUNCTION hotrollback.attached_images_v1(relations oid[])
    RETURNS TABLE (classid oid, objid oid, objsubid integer, relid oid, image jsonb)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog SET quote_all_identifiers = off
    AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT 'pg_constraint'::regclass::oid, k.oid, 0, k.conrelid, jsonb_strip_nulls(jsonb_build_object(
               'kind', 'constraint', 'name', k.conname, 'type', k.contype,
               'definition', pg_get_constraintdef(k.oid),
               'columns', (SELECT jsonb_agg(a.attname ORDER BY x.n)
                             FROM unnest(k.conkey) WITH ORDINALITY AS x(attnum, n)
                             JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = x.attnum),
               'refers', nullif(k.confrelid, 0)::regclass,
               'inherited', nullif(k.coninhcount > 0, false),
               'local', CASE WHEN k.coninhcount > 0 THEN true END,
               'comment', obj_description(k.oid, 'pg_constraint')))
      FROM pg_constraint k
     WHERE k.conrelid = ANY (relations) AND k.contype <> 't' AND k.conparentid = 0
       AND (k.conislocal OR k.coninhcount = 0)
    UNION ALL
    SELECT 'pg_class'::regclass::oid, i.indexrelid, 0, i.indrelid, jsonb_strip_nulls(jsonb_build_object(
               'kind', 'index', 'schema', n.nspname, 'name', c.relname,
               'definition', pg_get_indexdef(i.indexrelid), 'invalid', nullif(NOT i.indisvalid, false),
               'tablespace', (SELECT t.spcname FROM pg_tablespace t WHERE t.oid = c.reltablespace),
               'options', c.reloptions, 'comment', obj_description(c.oid, 'pg_class'),
               'statistics', (SELECT jsonb_object_agg(a.attnum, a.attstattarget) FROM pg_attribute a
                               WHERE a.attrelid = c.oid AND coalesce(a.attstattarget, -1) <> -1)))
      FROM pg_index i
      JOIN pg_class c ON c.oid = i.indexrelid
      JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE i.indrelid = ANY (relations)
       AND NOT EXISTS (SELECT FROM pg_constraint k
                        WHERE k.conindid = c.oid AND k.conrelid = i.indrelid
                          AND k.contype IN ('p', 'u', 'x'))
       AND NOT EXISTS (SELECT FROM pg_inherits h WHERE h.inhrelid = c.oid)
    UNION ALL
    SELECT 'pg_trigger'::regclass::oid, t.oid, 0, t.tgrelid, jsonb_strip_nulls(jsonb_build_object(
               'kind', 'trigger', 'name', t.tgname, 'definition', pg_get_triggerdef(t.oid),
               'enabled', t.tgenabled, 'comment', obj_description(t.oid, 'pg_trigger')))
      FROM pg_trigger t
     WHERE t.tgrelid = ANY (relations) AND NOT t.tgisinternal AND t.tgparentid = 0
       AND t.tgname NOT IN ('hotrollback_capture', 'hotrollback_truncate', 'hotrollback_foreign')
    UNION ALL
    SELECT 'pg_rewrite'::regclass::oid, r.oid, 0, r.ev_class, jsonb_strip_nulls(jsonb_build_object(
               'kind', 'rule', 'name', r.rulename, 'definition', pg_get_ruledef(r.oid),
               'enabled', r.ev_enabled, 'comment', obj_description(r.oid, 'pg_rewrite')))
      FROM pg_rewrite r
     WHERE r.ev_class = ANY (relations) AND r.rulename <> '_RETURN'
    UNION ALL
    SELECT 'pg_policy'::regclass::oid, p.oid, 0, p.polrelid, jsonb_strip_nulls(jsonb_build_object(
               'kind', 'policy', 'name', p.polname, 'command', p.polcmd, 'permissive', p.polpermissive,
               'roles', (SELECT jsonb_agg(CASE WHEN x = 0 THEN NULL ELSE pg_get_userbyid(x) END)
                           FROM unnest(p.polroles) x),
               'using', pg_get_expr(p.polqual, p.polrelid),
               'check', pg_get_expr(p.polwithcheck, p.polrelid),
               'comment', obj_description(p.oid, 'pg_policy')))
      FROM pg_policy p WHERE p.polrelid = ANY (relations)
    UNION ALL
    SELECT 'pg_statistic_ext'::regclass::oid, s.oid, 0, s.stxrelid, jsonb_strip_nulls(jsonb_build_object(
               'kind', 'statistics', 'schema', n.nspname, 'name', s.stxname,
               'owner', pg_get_userbyid(s.stxowner), 'definition', pg_get_statisticsobjdef(s.oid),
               'target', nullif(s.stxstattarget, -1),
               'comment', obj_description(s.oid, 'pg_statistic_ext')))
      FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace
     WHERE s.stxrelid = ANY (relations);
END $$;

-- What is no part of a relation.
CREATE FUNCTION hotrollback.other_images_v1(class oid, objects oid[])
    RETURNS TABLE (classid oid, objid oid, objsubid integer, relid oid, image jsonb)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog SET quote_all_identifiers = off
    AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT 'pg_namespace'::regclass::oid, n.oid, 0, 0::oid, jsonb_strip_nulls(jsonb_build_object(
               'kind', 'schema', 'name', n.nspname, 'owner', pg_get_userbyid(n.nspowner),
               'acl', hotrollback.acl_v1(coalesce(n.nspacl, acldefault('n', n.nspowner))),
               'comment', obj_description(n.oid, 'pg_namespace')))
      FROM pg_namespace n
     WHERE coalesce(class, 'pg_namespace'::regclass) = 'pg_namespace'::regclass
       AND (objects IS NULL OR n.oid = ANY (objects))
       AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'hotrollback', 'hotrollback_bin')
       AND n.nspname !~ '^pg_' AND NOT hotrollback.of_extension_v1('pg_namespace', n.oid)
    UNION ALL
    SELECT 'pg_proc'::regclass::oid, p.oid, 0, 0::oid, jsonb_strip_nulls(jsonb_build_object(
               'kind', CASE p.prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate'
                                      ELSE 'function' END,
               'schema', n.nspname, 'name', p.proname,
               'arguments', pg_get_function_identity_arguments(p.oid),
               'definition', CASE WHEN p.prokind <> 'a' THEN pg_get_functiondef(p.oid) END,
               'owner', pg_get_userbyid(p.proowner),
               'acl', hotrollback.acl_v1(coalesce(p.proacl, acldefault('f', p.proowner))),
               'comment', obj_description(p.oid, 'pg_proc')))
      FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
     WHERE coalesce(class, 'pg_proc'::regclass) = 'pg_proc'::regclass
       AND (objects IS NULL OR p.oid = ANY (objects))
       AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'hotrollback', 'hotrollback_bin')
       AND n.nspname !~ '^pg_' AND NOT hotrollback.of_extension_v1('pg_proc', p.oid)
       -- A range's come and go with it.
       AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid
                                                 AND d.refclassid = 'pg_type'::regclass AND d.deptype = 'i')
    UNION ALL
    -- The types of relations and arrays come and go with these.
    SELECT 'pg_type'::regclass::oid, t.oid, 0, 0::oid, jsonb_strip_nulls(jsonb_build_object(
               'kind', CASE t.typtype WHEN 'e' THEN 'enum' WHEN 'd' THEN 'domain'
                                      WHEN 'r' THEN 'range' ELSE 'base type' END,
               'schema', n.nspname, 'name', t.typname, 'owner', pg_get_userbyid(t.typowner),
               'acl', hotrollback.acl_v1(coalesce(t.typacl, acldefault('T', t.typowner))),
               'comment', obj_description(t.oid, 'pg_type'),
               'labels', (SELECT jsonb_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_enum e
                           WHERE e.enumtypid = t.oid),
               'base', CASE t.typtype WHEN 'd' THEN format_type(t.typbasetype, t.typtypmod) END,
               'collation', (SELECT format('%I.%I', cn.nspname, l.collname)
                               FROM pg_type b, pg_collation l JOIN pg_namespace cn ON cn.oid = l.collnamespace
                              WHERE t.typtype = 'd' AND b.oid = t.typbasetype
                                AND t.typcollation <> b.typcollation AND l.oid = t.typcollation),
               'default', CASE t.typtype WHEN 'd' THEN t.typdefault END,
               'not_null', CASE WHEN t.typtype = 'd' AND NOT EXISTS (
                       SELECT FROM pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'n')
                   THEN nullif(t.typnotnull, false) END,
               'constraints', (SELECT jsonb_agg(jsonb_build_array(k.conname, pg_get_constraintdef(k.oid))
                                                ORDER BY k.conname)
                                 FROM pg_constraint k WHERE k.contypid = t.oid),
               'range', (SELECT jsonb_strip_nulls(jsonb_build_object(
                                'subtype', format_type(r.rngsubtype, NULL),
                                'multirange_type_name', r.rngmultitypid::regtype,
                                'subtype_diff', nullif(r.rngsubdiff, 0)::regproc,
                                'canonical', nullif(r.rngcanonical, 0)::regproc))
                           FROM pg_range r WHERE r.rngtypid = t.oid)))
      FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
     WHERE coalesce(class, 'pg_type'::regclass) = 'pg_type'::regclass
       AND (objects IS NULL OR t.oid = ANY (objects))
       AND (t.typtype IN ('e', 'd', 'r') OR (t.typtype = 'b' AND t.typelem = 0))
       AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'hotrollback', 'hotrollback_bin')
       AND n.nspname !~ '^pg_' AND NOT hotrollback.of_extension_v1('pg_type', t.oid)
    UNION ALL
    SELECT 'pg_extension'::regclass::oid, e.oid, 0, 0::oid, jsonb_strip_nulls(jsonb_build_object(
               'kind', 'extension', 'name', e.extname, 'schema', n.nspname, 'version', e.extversion,
               'comment', obj_description(e.oid, 'pg_extension')))
      FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
     WHERE coalesce(class, 'pg_extension'::regclass) = 'pg_extension'::regclass
       AND (objects IS NULL OR e.oid = ANY (objects)) AND e.extname <> 'plpgsql';
END $$;

-- All components of relations, or of the database.
CREATE FUNCTION hotrollback.images_v1(relations oid[])
    RETURNS TABLE (classid oid, objid oid, objsubid integer, relid oid, image jsonb)
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog SET jit = off
    AS $$
DECLARE
    kept oid[] := ARRAY(SELECT hotrollback.kept_relations_v1(relations));
BEGIN
    RETURN QUERY SELECT * FROM hotrollback.relation_images_v1(kept);
    RETURN QUERY SELECT * FROM hotrollback.column_images_v1(kept);
    RETURN QUERY SELECT * FROM hotrollback.attached_images_v1(kept);
    IF relations IS NULL THEN
        RETURN QUERY SELECT * FROM hotrollback.other_images_v1(NULL, NULL);
    END IF;
END $$;

-- An index that is being made CONCURRENTLY, or whose making failed half-way: nobody's until it is valid.
CREATE FUNCTION hotrollback.unfinished_v1(object oid, image jsonb) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog
    AS $$
    SELECT image ? 'invalid' AND EXISTS (SELECT FROM pg_class c WHERE c.oid = object AND c.relkind = 'i')
           AND NOT EXISTS (SELECT FROM hotrollback.component k
                            WHERE (k.classid, k.objid) = ('pg_class'::regclass, object))
$$;

-- What is kept becomes what is there, and nothing is said of it: at the first time, of all; of some after what
-- changes their texts without changing them, as a name does. `objects`: [class, object].
CREATE FUNCTION hotrollback.refresh_components_v1(relations oid[] DEFAULT NULL, objects jsonb DEFAULT '[]')
    RETURNS void
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog
    AS $$
    -- What another transaction has written in the meantime is newer than what was read here.
    WITH apart AS MATERIALIZED (
        SELECT (o ->> 0)::oid AS classid, (o ->> 1)::oid AS objid FROM jsonb_array_elements(objects) o
    ), was AS MATERIALIZED (
        SELECT c.*, c.xmin AS version FROM hotrollback.component c
         WHERE relations IS NULL OR c.relid = ANY (relations)
            OR (c.classid, c.objid) IN (SELECT a.classid, a.objid FROM apart a)
    ), there AS MATERIALIZED (
        SELECT i.* FROM hotrollback.images_v1(relations) i
         WHERE NOT hotrollback.unfinished_v1(i.objid, i.image)
            OR NOT EXISTS (SELECT FROM hotrollback.component)
         UNION ALL
        SELECT i.* FROM (SELECT a.classid, array_agg(a.objid) AS objects FROM apart a GROUP BY 1) a
         CROSS JOIN LATERAL hotrollback.other_images_v1(a.classid, a.objects) i
    ), renewed AS (
        UPDATE hotrollback.component c SET image = t.image, relid = t.relid
          FROM was w JOIN there t USING (classid, objid, objsubid)
         WHERE (c.classid, c.objid, c.objsubid) = (w.classid, w.objid, w.objsubid)
           AND c.xmin = w.version AND (t.image, t.relid) IS DISTINCT FROM (w.image, w.relid)
    ), gone AS (
        DELETE FROM hotrollback.component c USING was w
         WHERE (c.classid, c.objid, c.objsubid) = (w.classid, w.objid, w.objsubid)
           AND c.xmin = w.version
           AND NOT EXISTS (SELECT FROM there t WHERE (t.classid, t.objid, t.objsubid)
                                                   = (w.classid, w.objid, w.objsubid))
    )
    INSERT INTO hotrollback.component SELECT t.* FROM there t
     WHERE NOT EXISTS (SELECT FROM was w WHERE (t.classid, t.objid, t.objsubid)
                                             = (w.classid, w.objid, w.objsubid))
    ON CONFLICT DO NOTHING
$$;
