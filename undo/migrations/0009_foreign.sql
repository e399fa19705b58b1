-- Foreign tables: their rows are on another server, which knows no tids and may count differently. That
-- they were written is a gap, whoever wrote them, also a function that nobody sees in a text.

CREATE FUNCTION hotrollback.on_foreign_v1() RETURNS trigger
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
BEGIN
    IF has_schema_privilege('hotrollback', 'USAGE') THEN -- as in capture_body_v1
        INSERT INTO hotrollback.gap (fingerprint, relid, reason)
        SELECT nullif(current_setting('hotrollback.statement', true), '')::bigint, TG_RELID,
               'foreign_table'
         WHERE NOT hotrollback.noted_v1(TG_RELID, 'foreign_table');
    END IF;
    RETURN NULL;
END $$;

-- As attach_v1, which calls it. Its trigger has the name of the others, so that it is found as they are.
-- A statement on its parent fires only triggers for rows of a partition.
CREATE FUNCTION hotrollback.attach_foreign_v1(target text, partition boolean, enabled "char")
    RETURNS text
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
BEGIN
    IF enabled = 'A' THEN
        RETURN NULL;
    ELSIF enabled IS NULL THEN
        EXECUTE format('CREATE TRIGGER hotrollback_capture AFTER INSERT OR UPDATE OR DELETE %s ON %s'
                       ' FOR EACH %s EXECUTE FUNCTION hotrollback.on_foreign_v1()',
                       CASE WHEN current_setting('server_version_num')::integer >= 160000
                                 AND NOT partition THEN 'OR TRUNCATE' END,
                       target, CASE WHEN partition THEN 'ROW' ELSE 'STATEMENT' END);
    END IF;
    EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER hotrollback_capture', target);
    RETURN CASE WHEN enabled IS NULL THEN 'attached' ELSE 'enabled' END;
END $$;
