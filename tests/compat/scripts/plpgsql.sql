-- What a function sees of its statements, and what is told of where it fails.
CREATE TABLE t (id serial PRIMARY KEY, v text);
CREATE FUNCTION many() RETURNS text LANGUAGE plpgsql AS $$
DECLARE n int; said text; r record; first int;
BEGIN
    INSERT INTO t (v) SELECT 'row ' || g FROM generate_series(1, 5) g;
    GET DIAGNOSTICS n = ROW_COUNT;
    said := 'inserted ' || n;
    UPDATE t SET v = upper(v) WHERE id > 3;
    GET DIAGNOSTICS n = ROW_COUNT;
    said := said || format(', updated %s (%s)', n, FOUND);
    UPDATE t SET v = '' WHERE false;
    said := said || format(', nothing (%s)', FOUND);
    DELETE FROM t WHERE id = 1 RETURNING id INTO STRICT first;
    FOR r IN UPDATE t SET v = v || '!' RETURNING id, v LOOP
        said := said || format(', %s=%s', r.id, r.v);
    END LOOP;
    RETURN said;
END $$;
SELECT many();
SELECT lastval(), currval('t_id_seq');
CREATE FUNCTION wrong(int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    CASE $1
    WHEN 1 THEN INSERT INTO t VALUES (2, 'twice');
    WHEN 2 THEN EXECUTE 'UPDATE t SET nix = 1';
    WHEN 3 THEN PERFORM 1 / (SELECT count(*) - 4 FROM t);
    WHEN 4 THEN RAISE EXCEPTION 'own' USING ERRCODE = 'HR999', HINT = 'a hint', DETAIL = 'a detail';
    WHEN 5 THEN RAISE NOTICE 'about to'; EXECUTE 'SELEC 1';
    END CASE;
END $$;
SELECT wrong(1);
SELECT wrong(2);
SELECT wrong(3);
SELECT wrong(4);
SELECT wrong(5);
SELECT wrong(6);
INSERT INTO t (v) SELECT wrong(1)::text;
UPDATE t SET v = wrong(2)::text WHERE id = 2;
DO $$ DECLARE c CURSOR FOR SELECT * FROM t ORDER BY id FOR UPDATE; r record; BEGIN
    FOR r IN c LOOP
        IF r.id % 2 = 0 THEN UPDATE t SET v = 'even' WHERE CURRENT OF c;
        ELSE DELETE FROM t WHERE CURRENT OF c; END IF;
    END LOOP;
END $$;
TABLE t ORDER BY id;
DO $$ BEGIN INSERT INTO t (v) VALUES ('caught'); PERFORM wrong(4); EXCEPTION WHEN OTHERS THEN
    RAISE NOTICE 'caught % %', SQLSTATE, SQLERRM; INSERT INTO t (v) VALUES ('after'); END $$;
CREATE PROCEDURE steps() LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO t (v) VALUES ('kept'); COMMIT;
    INSERT INTO t (v) VALUES ('lost'); ROLLBACK;
    INSERT INTO t (v) VALUES ('also kept');
END $$;
CALL steps();
BEGIN;
CALL steps();
COMMIT;
SELECT v FROM t ORDER BY id;
