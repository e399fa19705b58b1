-- What is in the bin is published no more: who follows a publication would look for it in vain.

ALTER TABLE hotrollback.bin
    ADD COLUMN publications json NOT NULL DEFAULT '[]'; -- [{oid, columns, filter}], of those that name the table

CREATE FUNCTION hotrollback.unpublish_v1(relation oid) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
DECLARE
    each record;
BEGIN
    UPDATE hotrollback.bin b
       SET publications = (
           SELECT coalesce(json_agg(json_build_object(
                      'oid', p.prpubid::bigint, 'filter', pg_get_expr(p.prqual, p.prrelid),
                      'columns', (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY k.ord)
                                    FROM unnest(p.prattrs::smallint[]) WITH ORDINALITY AS k(attnum, ord)
                                    JOIN pg_attribute a ON a.attrelid = p.prrelid AND a.attnum = k.attnum))), '[]')
             FROM pg_publication_rel p WHERE p.prrelid = relation)
     WHERE b.relid = relation;
    FOR each IN SELECT p.pubname, b.schema, b.name
                  FROM hotrollback.bin b, json_to_recordset(b.publications) AS x(oid oid)
                  JOIN pg_publication p ON p.oid = x.oid
                 WHERE b.relid = relation
    LOOP
        EXECUTE format('ALTER PUBLICATION %I DROP TABLE %I.%I', each.pubname, each.schema, each.name);
    END LOOP;
END $$;

-- In those that are there still.
CREATE FUNCTION hotrollback.publish_v1(relation oid) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
DECLARE
    each record;
BEGIN
    FOR each IN SELECT p.pubname, b.schema, b.name, x.columns, x.filter
                  FROM hotrollback.bin b,
                       json_to_recordset(b.publications) AS x(oid oid, columns text, filter text)
                  JOIN pg_publication p ON p.oid = x.oid
                 WHERE b.relid = relation
    LOOP
        EXECUTE format('ALTER PUBLICATION %I ADD TABLE ONLY %I.%I', each.pubname, each.schema, each.name)
                || coalesce(' (' || each.columns || ')', '') || coalesce(' WHERE (' || each.filter || ')', '');
    END LOOP;
END $$;
