-- How capture triggers follow changes of the schema, and how the proxy hears of them.

-- An epoch that was never there before. Not nextval: a client would see it in lastval().
CREATE FUNCTION hotrollback.bump_v1() RETURNS void
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog
    AS $$
    SELECT setval('hotrollback.epoch',
                  greatest((SELECT last_value FROM hotrollback.epoch) + 1,
                           (extract(epoch FROM clock_timestamp()) * 1000000)::bigint))
$$;

-- Attaches where it is needed, renews where it is attached, and keeps the names. Anybody may call
-- it, since it does nothing but what install would do.
CREATE FUNCTION hotrollback.follow_v1(relations oid[]) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog SET quote_all_identifiers = off
    AS $$
DECLARE
    needing oid;
BEGIN
    INSERT INTO hotrollback.relation (relid, name)
    SELECT c.oid, format('%I.%I', n.nspname, c.relname)
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.oid = ANY (relations) AND c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
       AND n.nspname <> 'hotrollback_bin'
    ON CONFLICT DO NOTHING;
    FOR needing IN
        SELECT relid FROM hotrollback.needs_v1(relations) WHERE captured OR reasons <> '{}'
         ORDER BY relid
    LOOP
        PERFORM hotrollback.attach_v1(needing);
    END LOOP;
END $$;

-- DDL in a transaction that is not committed yet: the epoch grows once more when it commits, since
-- whoever asks the catalog in between sees the old state. Unlogged: in no publication.
CREATE UNLOGGED TABLE hotrollback.ddl (tag text NOT NULL);
GRANT INSERT ON hotrollback.ddl TO PUBLIC;

CREATE FUNCTION hotrollback.on_commit_v1() RETURNS trigger
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog
    AS $$
BEGIN
    PERFORM hotrollback.bump_v1();
    DELETE FROM hotrollback.ddl WHERE ctid = NEW.ctid;
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN -- a client's DDL must not fail for us; the first bump has been made
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER on_commit AFTER INSERT ON hotrollback.ddl
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hotrollback.on_commit_v1();
ALTER TABLE hotrollback.ddl ENABLE ALWAYS TRIGGER on_commit;

-- After DDL of anybody. It never fails, but before a fence, and waits for no lock worth speaking of: what it could not
-- do is a gap.
CREATE FUNCTION hotrollback.on_ddl_v1() RETURNS event_trigger
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog SET lock_timeout = '100ms' SET client_min_messages = error
    AS $$
DECLARE
    touched oid[];
    relevant boolean;
BEGIN
    IF TG_TAG IN ('COMMENT', 'SECURITY LABEL', 'REFRESH MATERIALIZED VIEW', 'CREATE STATISTICS',
                  'ALTER STATISTICS', 'ALTER DEFAULT PRIVILEGES') OR TG_TAG LIKE 'DROP %' THEN
        RETURN;
    END IF;
    SELECT count(*) = 0 OR bool_or(c.schema_name IS DISTINCT FROM 'pg_temp'
                                   AND c.schema_name IS DISTINCT FROM 'hotrollback'),
           array_agg(DISTINCT r.oid) FILTER (WHERE NOT c.in_extension AND r.oid IS NOT NULL)
      INTO relevant, touched
      FROM pg_event_trigger_ddl_commands() c
     CROSS JOIN LATERAL (
           SELECT CASE c.classid
                       WHEN 'pg_class'::regclass THEN c.objid
                       WHEN 'pg_trigger'::regclass THEN
                            (SELECT t.tgrelid FROM pg_trigger t
                              WHERE t.oid = c.objid
                                AND t.tgname NOT IN ('hotrollback_capture', 'hotrollback_truncate'))
                       WHEN 'pg_rewrite'::regclass THEN
                            (SELECT w.ev_class FROM pg_rewrite w WHERE w.oid = c.objid)
                       WHEN 'pg_policy'::regclass THEN
                            (SELECT p.polrelid FROM pg_policy p WHERE p.oid = c.objid)
                  END) AS r(oid);
    IF NOT relevant THEN
        RETURN;
    END IF;
    PERFORM hotrollback.fence_v1();
    PERFORM hotrollback.bump_v1();
    INSERT INTO hotrollback.ddl (tag) VALUES (TG_TAG);
    IF TG_TAG LIKE '% CAST' OR TG_TAG LIKE '% EXTENSION' THEN -- may change how values are kept
        touched := touched || ARRAY(SELECT t.tgrelid FROM pg_trigger t
                                     WHERE t.tgname = 'hotrollback_capture');
    END IF;
    WITH RECURSIVE below(oid) AS (
        SELECT unnest(touched)
        UNION
        SELECT i.inhrelid FROM below b JOIN pg_inherits i ON i.inhparent = b.oid
    )
    SELECT array_agg(b.oid) INTO touched
      FROM below b JOIN pg_class c ON c.oid = b.oid AND c.relkind IN ('r', 'p', 'f');
    IF touched IS NOT NULL THEN
        PERFORM hotrollback.follow_v1(touched);
    END IF;
    IF TG_TAG IN ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO', 'CREATE SCHEMA') THEN
        PERFORM hotrollback.made_v1(ARRAY(
            SELECT c.objid FROM pg_event_trigger_ddl_commands() c
             WHERE c.command_tag IN ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO')
               AND c.object_type = 'table' AND NOT c.in_extension));
    END IF;
EXCEPTION WHEN SQLSTATE 'RB004' THEN
    RAISE;
WHEN OTHERS THEN
    DECLARE
        reported constant text := TG_TAG || ': ' || SQLERRM;
    BEGIN
        INSERT INTO hotrollback.gap (reason, statement) VALUES ('event_trigger', reported);
    EXCEPTION WHEN OTHERS THEN -- not even that: the log is gone, and its absence says so
        RETURN;
    END;
END $$;

CREATE FUNCTION hotrollback.keep_names_v1(relations oid[], names text[]) RETURNS void
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog
    AS $$
    INSERT INTO hotrollback.relation (relid, name)
    SELECT r.relid, r.name FROM unnest(relations, names) AS r(relid, name)
     WHERE r.relid >= 16384 AND length(r.name) < 300
    ON CONFLICT DO NOTHING
$$;

CREATE FUNCTION hotrollback.on_drop_v1() RETURNS event_trigger
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog SET client_min_messages = error SET quote_all_identifiers = off
    AS $$
DECLARE
    relevant boolean;
    dropped oid[];
    names text[];
BEGIN
    SELECT bool_or(true),
           array_agg(d.objid ORDER BY d.objid) FILTER (WHERE d.object_type = 'table'),
           array_agg(d.object_identity ORDER BY d.objid) FILTER (WHERE d.object_type = 'table')
      INTO relevant, dropped, names
      FROM pg_event_trigger_dropped_objects() d
     WHERE NOT d.is_temporary AND d.schema_name IS DISTINCT FROM 'hotrollback'
       AND d.schema_name IS DISTINCT FROM 'pg_temp';
    IF relevant IS NULL OR to_regclass('hotrollback.ddl') IS NULL THEN
        RETURN;
    END IF;
    PERFORM hotrollback.fence_v1();
    PERFORM hotrollback.bump_v1();
    INSERT INTO hotrollback.ddl (tag) VALUES (TG_TAG);
    IF dropped IS NOT NULL THEN
        PERFORM hotrollback.keep_names_v1(dropped, names);
    END IF;
EXCEPTION WHEN SQLSTATE 'RB004' THEN
    RAISE;
WHEN OTHERS THEN
    DECLARE
        reported constant text := TG_TAG || ': ' || SQLERRM;
    BEGIN
        INSERT INTO hotrollback.gap (reason, statement) VALUES ('event_trigger', reported);
    EXCEPTION WHEN OTHERS THEN -- not even that: the log is gone, and its absence says so
        RETURN;
    END;
END $$;
