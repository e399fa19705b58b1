-- Foreign tables: their rows are on another server, which knows no tids and may count differently. That
-- they were written is a gap, whoever wrote them, also a function that nobody sees in a text.

CREATE FUNCTION hotrollback.on_foreign_v1() RETURNS trigger
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
BEGIN
    IF has_schema_privilege('hotrollback', 'USAGE') THEN -- as in capture_body_v1
        PERFORM hotrollback.fence_v1();
        PERFORM hotrollback.leave_once_v1(
            nullif(current_setting('hotrollback.statement', true), '')::bigint, TG_RELID,
            'foreign_table');
    END IF;
    RETURN NULL;
END $$;
