-- TRUNCATE: a trigger copies the rows into the log before they go.

-- Bytes of a table (pg_table_size) whose rows are still copied; those of a bigger one are a gap.
ALTER TABLE hotrollback.meta ADD COLUMN truncate_limit bigint NOT NULL DEFAULT 268435456;

-- Records the rows of a table that is about to be truncated as deleted, with the rights and in the
-- name of whoever truncates it; how many they were, or null where it is too big or may not be read.
CREATE FUNCTION hotrollback.copy_truncated_v1(relation oid) RETURNS bigint
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog SET row_security = off SET "DateStyle" = 'ISO, YMD'
    SET "IntervalStyle" = 'postgres' SET extra_float_digits = 1
    AS $$
DECLARE
    copied bigint;
BEGIN
    IF pg_table_size(relation) > hotrollback.truncate_limit_v1() THEN
        RETURN NULL;
    END IF;
    EXECUTE (
        SELECT format('INSERT INTO hotrollback.change (relid, op, old_tid, key, before)'
                      ' SELECT %s, ''D'', r.ctid, %s, %s FROM ONLY %I.%I r',
                      relation, format(coalesce(hotrollback.key_hash_v1(relation), 'NULL'), 'r'),
                      format(hotrollback.image_v1(relation), 'r'), n.nspname, c.relname)
          FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = relation);
    GET DIAGNOSTICS copied = ROW_COUNT;
    RETURN copied;
EXCEPTION WHEN insufficient_privilege THEN
    RETURN NULL;
END $$;

CREATE FUNCTION hotrollback.truncate_limit_v1() RETURNS bigint
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog
    AS $$ SELECT truncate_limit FROM hotrollback.meta $$;

-- TRUNCATE of a table that has a capture trigger, wherever it comes from. The server does not count
-- rows that go by it, so that what it took is told to whoever compares (missing_v1). An older snapshot
-- need not show all rows that are there: they go unseen.
CREATE FUNCTION hotrollback.on_truncate_v1() RETURNS trigger
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog
    AS $$
DECLARE
    copied bigint;
BEGIN
    IF NOT has_schema_privilege('hotrollback', 'USAGE') THEN -- as in capture_body_v1
        RETURN NULL;
    END IF;
    PERFORM hotrollback.fence_v1();
    PERFORM set_config('hotrollback.emptied', (hotrollback.emptied_v1() || TG_RELID)::text, true);
    IF current_setting('transaction_isolation') = 'read committed' THEN
        copied := hotrollback.copy_truncated_v1(TG_RELID);
    END IF;
    IF copied IS NULL THEN
        PERFORM hotrollback.leave_once_v1(
            nullif(current_setting('hotrollback.statement', true), '')::bigint, TG_RELID, 'truncate');
    ELSE
        PERFORM set_config('hotrollback.truncated', (
            hotrollback.truncated_v1() || jsonb_build_object(TG_RELID::text, copied))::text, true);
    END IF;
    RETURN NULL;
END $$;
