-- The same audit table, written once per statement from transition tables. An updated row's halves
-- are joined by the primary key, which each table's own function names; a table without one has
-- its inserts and deletes written only.

CREATE TABLE audit (
    id bigserial PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    txid bigint NOT NULL DEFAULT txid_current(),
    relation text NOT NULL,
    op text NOT NULL,
    before jsonb,
    after jsonb
);

CREATE FUNCTION audit_insert() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO audit (relation, op, after)
    SELECT TG_TABLE_NAME, TG_OP, to_jsonb(n) FROM new_rows n;
    RETURN NULL;
END $$;

CREATE FUNCTION audit_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO audit (relation, op, before)
    SELECT TG_TABLE_NAME, TG_OP, to_jsonb(o) FROM old_rows o;
    RETURN NULL;
END $$;

SELECT format('CREATE TRIGGER audit_insert AFTER INSERT ON %1$s REFERENCING NEW TABLE AS new_rows'
              ' FOR EACH STATEMENT EXECUTE FUNCTION audit_insert()', oid::regclass),
       format('CREATE TRIGGER audit_delete AFTER DELETE ON %1$s REFERENCING OLD TABLE AS old_rows'
              ' FOR EACH STATEMENT EXECUTE FUNCTION audit_delete()', oid::regclass)
  FROM pg_class
 WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> 'audit' \gexec

WITH keyed AS (
    SELECT i.indrelid::regclass AS relation, 'audit_update_' || c.relname AS function,
           string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) AS key
      FROM pg_index i
      JOIN pg_class c ON c.oid = i.indrelid
      JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
     WHERE i.indisprimary AND c.relnamespace = 'public'::regnamespace AND c.relname <> 'audit'
     GROUP BY i.indrelid, c.relname
)
SELECT format($sql$
           CREATE FUNCTION %I() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN
               INSERT INTO audit (relation, op, before, after)
               SELECT TG_TABLE_NAME, TG_OP, to_jsonb(o), to_jsonb(n)
                 FROM old_rows o JOIN new_rows n USING (%s);
               RETURN NULL;
           END $$
       $sql$, function, key),
       format('CREATE TRIGGER audit_update AFTER UPDATE ON %s'
              ' REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows'
              ' FOR EACH STATEMENT EXECUTE FUNCTION %I()', relation, function)
  FROM keyed \gexec
