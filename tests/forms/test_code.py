"""What code writes: DO, CALL, functions of SQL, PL/pgSQL and C, in every place that calls them.

PL/Perl and PL/Python belong to neither server here; what they write is recorded as C's is.
"""

import pytest
from forms_bed import EVERY_WAY, SIMPLE, TWO_WAYS, Bed, Case

SETUP = """
CREATE TABLE t (id int PRIMARY KEY, v text);
INSERT INTO t SELECT g, 'v' || g FROM generate_series(1, 9) g;
CREATE TABLE other (id int, v text);
CREATE FUNCTION bump(i int) RETURNS text LANGUAGE plpgsql AS $$
  DECLARE r text; BEGIN UPDATE t SET v = v || '+' WHERE id = i RETURNING v INTO r; RETURN r; END $$;
CREATE FUNCTION with_sql(i int) RETURNS void LANGUAGE sql AS $$
  INSERT INTO other VALUES (i, 'sql'); WITH d AS (DELETE FROM t WHERE id = i RETURNING *)
  INSERT INTO other SELECT * FROM d; $$;
CREATE FUNCTION atomic(i int) RETURNS SETOF t LANGUAGE sql BEGIN ATOMIC
  INSERT INTO other VALUES (i, 'atomic'); UPDATE t SET v = 'atomic' WHERE id = i;
  DELETE FROM t WHERE id = i RETURNING *; END;
CREATE FUNCTION merging(i int) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
  MERGE INTO t USING (VALUES (i), (i + 1000)) s(id) ON s.id = t.id WHEN MATCHED THEN UPDATE SET v = 'm'
  WHEN NOT MATCHED THEN INSERT VALUES (s.id, 'n'); END $$;
CREATE FUNCTION dynamic(i int, what text) RETURNS int LANGUAGE plpgsql AS $$
  BEGIN EXECUTE format('UPDATE %I SET v = %L WHERE id = $1', 't', what) USING i; RETURN i; END $$;
CREATE FUNCTION loops() RETURNS int LANGUAGE plpgsql AS $$ DECLARE c CURSOR FOR SELECT * FROM t FOR UPDATE; r record;
  BEGIN FOR r IN c LOOP UPDATE t SET v = v || r.id WHERE CURRENT OF c; END LOOP;
  FOR r IN DELETE FROM t WHERE id > 7 RETURNING * LOOP INSERT INTO other VALUES (r.id, r.v); END LOOP;
  RETURN 1; END $$;
CREATE FUNCTION empties() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
  TRUNCATE t; INSERT INTO t VALUES (1, 'again'), (2, 'too'); DELETE FROM t WHERE id = 2; END $$;
CREATE FUNCTION definer() RETURNS void LANGUAGE sql SECURITY DEFINER AS 'DELETE FROM t WHERE id = 3';
CREATE FUNCTION refers() RETURNS refcursor LANGUAGE plpgsql AS $$ DECLARE c refcursor := 'mine';
  BEGIN UPDATE t SET v = 'opened' WHERE id = 1; OPEN c FOR SELECT id, dynamic(id, 'fetched') FROM t; RETURN c; END $$;
CREATE FUNCTION upsert(i int, what text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO t VALUES (i, what);
  EXCEPTION WHEN unique_violation THEN UPDATE t SET v = what WHERE id = i; END $$;
CREATE PROCEDURE stays(i int) LANGUAGE plpgsql AS $$ BEGIN DELETE FROM t WHERE id = i; END $$;
CREATE PROCEDURE stays_in_sql(i int) LANGUAGE sql BEGIN ATOMIC UPDATE t SET v = 'p' WHERE id = i; END;
CREATE PROCEDURE gives(INOUT i int) LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO t VALUES (i, 'given'); i := i + 1; END $$;
"""


def sent(*writes, ways=TWO_WAYS, **more) -> Case:
    return Case(writes, SETUP, ways, **more)


TABLE = {
    "do": sent(
        "DO $$ BEGIN DELETE FROM t WHERE id = 1; UPDATE t SET v = 'done' WHERE id = 2; END $$",
        "DO LANGUAGE plpgsql $x$ BEGIN EXECUTE 'INSERT INTO t VALUES (50, ''dyn'')'; END $x$",
    ),
    "what fails inside is caught": sent(
        "SELECT upsert(1, 'there'), upsert(80, 'new')",
        "DO $$ BEGIN DELETE FROM t WHERE id = 2; RAISE 'no'; EXCEPTION WHEN raise_exception THEN NULL; END $$",
        "INSERT INTO other SELECT 5 FROM upsert(2, 'two')",
    ),
    "do explains": sent(
        "DO $$ BEGIN EXECUTE 'EXPLAIN ANALYZE UPDATE t SET v = ''explained'' WHERE id = 6'; END $$"
    ),
    "call": sent("CALL stays(1)", "CALL stays_in_sql(2)", "CALL gives(70)"),
    "call in a block": sent(
        "BEGIN", "CALL stays(1)", "SAVEPOINT a", "CALL stays(2)", "ROLLBACK TO a", "COMMIT"
    ),
    "plpgsql": sent(
        "SELECT bump(1)", "SELECT bump(id) FROM t WHERE id IN (2, 3)", "SELECT merging(4)"
    ),
    "sql": sent("SELECT with_sql(1)", "SELECT * FROM with_sql(2)"),
    "begin atomic": sent("SELECT * FROM atomic(1)", "SELECT (atomic(2)).v"),
    "dynamic": sent("SELECT dynamic(1, 'one'), dynamic(2, 'two')"),
    "loops": sent("SELECT loops()"),
    "empties": sent("SELECT empties()"),
    "security definer": sent("SELECT definer()", grants="GRANT SELECT ON t TO app"),
    "a cursor that calls": sent(
        "BEGIN",
        "DECLARE c CURSOR FOR SELECT bump(id) FROM t ORDER BY id",
        "FETCH 2 FROM c",
        "MOVE 1 FROM c",
        "CLOSE c",
        "COMMIT",
    ),
    "a cursor that a function opens": sent(
        "BEGIN", "SELECT refers()", "FETCH 3 FROM mine", "COMMIT"
    ),
    "values of an insert": sent(
        "INSERT INTO other VALUES (1, bump(1))",
        "INSERT INTO other SELECT id, bump(id) FROM t WHERE id < 4 RETURNING bump(id)",
    ),
    "condition and list of an update": sent(
        "UPDATE t SET v = bump(id + 1) WHERE id = 1",
        "UPDATE other SET v = 'x' WHERE bump(3) IS NOT NULL",
        "DELETE FROM t WHERE id = 9 AND bump(8) > ''",
    ),
    "inside of a with": sent(
        "WITH x AS (SELECT bump(1) AS r), d AS (DELETE FROM t WHERE id = 2 RETURNING bump(3) AS r)"
        " INSERT INTO other SELECT 1, x.r || d.r FROM x, d"
    ),
    "explain analyze": sent("EXPLAIN ANALYZE SELECT bump(1)"),
    "several in one message": sent(
        "UPDATE t SET v = 'a' WHERE id = 1; SELECT bump(1); CALL stays(2); UPDATE t SET v = 'b' WHERE id = 3;"
        " SELECT empties(); DO $$ BEGIN PERFORM bump(1); END $$",
        ways=(SIMPLE,),
    ),
    "copies what it calls": Case(
        ("COPY (SELECT bump(id) FROM t) TO '/dev/null'",), SETUP, user="postgres"
    ),
    "functions of C": Case(
        (
            "INSERT INTO counted (v) VALUES ('x')",
            "UPDATE counted SET v = 'y' WHERE id = -1",
            "DELETE FROM parent WHERE id = 1",
            "UPDATE parent SET id = 20 WHERE id = 2",
        ),
        "CREATE SEQUENCE numbers; CREATE TABLE counted (id int, v text, at timestamp DEFAULT '-infinity');"
        "INSERT INTO counted VALUES (-1, 'a');"
        "CREATE TRIGGER counts BEFORE INSERT ON counted FOR EACH ROW EXECUTE FUNCTION autoinc (id, numbers);"
        "CREATE TRIGGER dates BEFORE UPDATE ON counted FOR EACH ROW EXECUTE FUNCTION moddatetime (at);"
        "GRANT ALL ON SEQUENCE numbers TO PUBLIC;"
        "CREATE TABLE parent (id int); CREATE TABLE child (id int, parent int);"
        "INSERT INTO parent VALUES (1), (2); INSERT INTO child VALUES (1, 1), (2, 2), (3, 1);"
        "CREATE TRIGGER cascades AFTER DELETE OR UPDATE ON parent FOR EACH ROW"
        " EXECUTE FUNCTION check_foreign_key (1, 'cascade', 'id', 'child', 'parent');",
        EVERY_WAY,
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_code(bed: Bed, name: str) -> None:
    bed.prove(TABLE[name])


COMMITTING = """CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a');
    CREATE PROCEDURE commits() LANGUAGE plpgsql AS $$ BEGIN
      INSERT INTO t VALUES (2, 'x'); COMMIT; UPDATE t SET v = 'y'; ROLLBACK;
      DELETE FROM t WHERE id = 1; CREATE TABLE made AS TABLE t; COMMIT; INSERT INTO made VALUES (4, 'm'); END $$"""


def test_procedures_that_commit(bed: Bed) -> None:
    """Nothing is compared of what they write: there is no table without a trigger."""
    block = "DO $$ BEGIN UPDATE t SET v = 'z'; COMMIT; DELETE FROM t; ROLLBACK; END $$"
    bed.prove(Case(("CALL commits()", block), COMMITTING))


def test_procedures_that_may_write_large_objects(bed_apart: Bed) -> None:
    """A gap is noted before they run, whatever comes of it: it stands in no transaction of theirs."""
    setup = (
        COMMITTING + "; CREATE FUNCTION large() RETURNS oid AS 'SELECT lo_create(0)' LANGUAGE sql"
    )
    bed_apart.prove(Case(("CALL commits()",), setup, gaps=frozenset([("procedure", None)])))
