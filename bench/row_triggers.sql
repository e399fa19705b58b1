-- What is usually written by hand to know who changed what: one audit table, and on every other
-- table a trigger that writes each row there, before and after.

CREATE TABLE audit (
    id bigserial PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    txid bigint NOT NULL DEFAULT txid_current(),
    relation text NOT NULL,
    op text NOT NULL,
    before jsonb,
    after jsonb
);

CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO audit (relation, op, after) VALUES (TG_TABLE_NAME, TG_OP, to_jsonb(NEW));
    ELSIF TG_OP = 'UPDATE' THEN
        INSERT INTO audit (relation, op, before, after)
        VALUES (TG_TABLE_NAME, TG_OP, to_jsonb(OLD), to_jsonb(NEW));
    ELSE
        INSERT INTO audit (relation, op, before) VALUES (TG_TABLE_NAME, TG_OP, to_jsonb(OLD));
    END IF;
    RETURN NULL;
END $$;

SELECT format('CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON %s'
              ' FOR EACH ROW EXECUTE FUNCTION audit()', oid::regclass)
  FROM pg_class
 WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> 'audit' \gexec
