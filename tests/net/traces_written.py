"""Conversations about statements that a proxy might read or write wrongly: encodings, constants,
comments, bodies of functions, texts that must stand alone, descriptions, tags. As in traces.py.
"""

import struct

from raw import (
    COPY_DONE,
    FLUSH,
    SYNC,
    bind,
    close,
    copy_data,
    describe,
    execute,
    extended,
    message,
    parse,
    query,
)
from traces import DELETE, FAILS, INSERT, UPDATE, Beside, Conversation, Step, by_name, said


def asked(*texts: str | bytes) -> tuple[Step, ...]:
    return tuple((query(text), "Z") for text in texts)


def both(name: str, *texts: str | bytes, before: tuple[str, ...] = ()) -> tuple[Conversation, ...]:
    """The same texts by simple queries and by the extended protocol."""
    pieces = tuple((extended(text), "Z") for text in texts)
    return (
        said(f"{name}, simple", *asked(*before, *texts), *asked("TABLE t")),
        said(f"{name}, extended", *asked(*before), *pieces, *asked("TABLE t")),
    )


# Characters whose second byte is a backslash, or another letter of the grammar.
ENCODED = {
    "SJIS": "表ソ能",
    "BIG5": "功許蓋",
    "GBK": "誠乗",
    "EUC_JP": "表ソ能",
    "EUC_KR": "한국",
    "UHC": "갂똠",
    "LATIN1": "äöü",
    "WIN1252": "€ü",
    "SQL_ASCII": "表ü",
}
CODECS = {"SJIS": "shift_jis", "UHC": "cp949", "SQL_ASCII": "utf-8", "WIN1252": "cp1252"}


def spoken(encoding: str) -> Conversation:
    text = ENCODED[encoding]
    steps = [
        f"SET client_encoding = '{encoding}'",
        f"UPDATE t SET v = '{text}' WHERE id = 1 RETURNING v",
        f"INSERT INTO t VALUES (20, '{text}'); DELETE FROM t WHERE v = '{text}' AND id = 1",
        f"UPDATE t SET v = '{text}', {text} = 1",
        f"DELETE FROM t /* {text} */ WHERE {text} = 1",
        "TABLE t",
    ]
    codec = CODECS.get(encoding, encoding)
    raw = [step.encode(codec) for step in steps]
    pieces = ((extended(raw[n]), "Z") for n in (1, 3, 4, 5))
    return said(encoding, *asked(*raw), *pieces)


ENCODINGS = (
    *map(spoken, ENCODED),
    said("another in a message", *asked("SET client_encoding = 'SJIS'; UPDATE t SET v = 'x' RETURNING v"),
         *asked("UPDATE t SET v = '表'".encode("shift_jis"), "RESET client_encoding", "TABLE t")),
)  # fmt: skip

CONSTANTS = (
    *both("standard", r"UPDATE t SET v = 'a\' WHERE id = 1", r"UPDATE t SET v = E'a\'b\\' WHERE id = 2 RETURNING v",
          r"UPDATE t SET v = U&'\0061\+000062' WHERE id = 3", r"UPDATE t SET v = U&'!0061' UESCAPE '!' WHERE id = 1 RETURNING v",
          r'UPDATE t SET U&"\0076" = $$a;b$$ WHERE id = 2', "UPDATE t SET v = $tag$ $1 $$ ' ; $tag$ WHERE id = 3",
          "UPDATE t SET v = 'a'\n  'b' WHERE id = 1", "UPDATE t SET n = B'101'::int + X'ff'::int - -1 WHERE id = 2",
          "UPDATE t SET n = 0x10 + 1_000 WHERE id = 3", "UPDATE t SET v = N'n' WHERE id = 1"),
    *both("not standard", r"UPDATE t SET v = 'a\'b' WHERE id = 1 RETURNING v", r"UPDATE t SET v = 'ü\\', nix = 1",
          r"INSERT INTO t VALUES (9, '\'); DELETE FROM t; --')", r"UPDATE t SET v = U&'x'", r"SELECT 'a\\b'", r"UPDATE t SET v = E'\\'",
          before=("SET standard_conforming_strings = off",)),
    *both("not standard nor warned", r"UPDATE t SET v = 'a\'b' WHERE id = 1 RETURNING v",
          before=("SET standard_conforming_strings = off", "SET escape_string_warning = off")),
    *both("quotes not by backslash", r"UPDATE t SET v = E'\'' WHERE id = 1", before=("SET backslash_quote = off",)),
    said("standard from the next message on", *asked(
        r"SET standard_conforming_strings = off; UPDATE t SET v = 'a\' WHERE id = 1; SELECT '\'",
        r"UPDATE t SET v = 'a\\b' WHERE id = 2 RETURNING v", "RESET standard_conforming_strings", r"DELETE FROM t WHERE v = '\' RETURNING v")),
    *both("comments", "/* hint /* nested */ */ UPDATE t SET v = 'c' WHERE id = 1 -- end", "--\nDELETE\n--;\nFROM t WHERE/*;*/id = 2",
          "UPDATE t SET n = 1 --\r WHERE id = 3", "/*+ IndexScan(t) */ SELECT 1", "UPDATE t SET n = 5 */* x */ 2", "/* open UPDATE t SET n = 1",
          "UPDATE t SET v = 'open", "UPDATE t SET v = $a$ open", 'UPDATE "t SET v = 1', "UPDATE t SET n = 1 WHERE id = 1e"),
    *both("operators", "UPDATE t SET n = n+-1 WHERE id=-1+2", "UPDATE t SET n = @ -3 WHERE NOT id<>1", "UPDATE t SET v=v||'x'WHERE id=1 RETURNING v||'y'AS w",
          "DELETE FROM t WHERE id=ANY('{1,2}'::int[])RETURNING(id)", "UPDATE t SET n=CASE WHEN id=1THEN 2ELSE 3END"),
)  # fmt: skip

ATOMIC = """CREATE FUNCTION body(x int) RETURNS int BEGIN ATOMIC
  UPDATE t SET n = CASE WHEN id = x THEN 5 ELSE n END; DELETE FROM t WHERE id = 3; SELECT n FROM t WHERE id = x; END"""
AUDIT = "CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO audit VALUES (current_query(), TG_OP); RETURN NULL; END $$"
BODIES = (
    *both("BEGIN ATOMIC", ATOMIC, "SELECT pg_get_functiondef('body'::regproc)", "SELECT body(1)"),
    *both("rules", "CREATE RULE r AS ON DELETE TO child DO ALSO (UPDATE t SET n = 9; INSERT INTO t VALUES (50, 'rule'))",
          "SELECT pg_get_ruledef(oid) FROM pg_rewrite WHERE rulename = 'r'", "DELETE FROM child", "DROP RULE r ON child"),
    *both("plpgsql", "CREATE FUNCTION p() RETURNS int LANGUAGE plpgsql AS $$ BEGIN UPDATE t SET v = 'a;b'; RETURN 1; END $$",
          "SELECT prosrc FROM pg_proc WHERE proname = 'p'", "SELECT p()"),
    *both("views", "CREATE VIEW w AS SELECT id, v FROM t WHERE id < 3", "SELECT pg_get_viewdef('w'::regclass)", "UPDATE w SET v = 'view' RETURNING *"),
    *both("instead", "CREATE VIEW w AS SELECT id, v FROM t",
          "CREATE FUNCTION i() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'instead %', TG_OP; UPDATE t SET n = 8 WHERE id = 1; RETURN coalesce(new, old); END $$",
          "CREATE TRIGGER i INSTEAD OF INSERT OR UPDATE OR DELETE ON w FOR EACH ROW EXECUTE FUNCTION i()",
          "INSERT INTO w VALUES (40, 'x') RETURNING id", "UPDATE w SET v = 'y' WHERE id = 1", "DELETE FROM w WHERE id < 3 RETURNING v"),
    *both("DO", "DO $x$ BEGIN UPDATE t SET v = 'do'; IF FOUND THEN RAISE NOTICE 'found'; END IF; END $x$", "DO LANGUAGE plpgsql 'BEGIN RAISE EXCEPTION ''no''; END'"),
    *both("the text as data", "UPDATE t SET v = current_query() WHERE id = 1 RETURNING v", "INSERT INTO t VALUES (30, pg_catalog.current_query())", "SELECT current_query(); DELETE FROM t WHERE id = 3", "BEGIN", "UPDATE t SET v = current_query() WHERE id = 1", "COMMIT",
          "DELETE FROM t WHERE v = current_query()", "WITH u AS (UPDATE t SET v = current_query() WHERE id = 2 RETURNING v) SELECT v FROM u", "SELECT loud(1), current_query()"),
    *both("the text as a trigger's data", "CREATE TABLE audit (q text, d text)", AUDIT, "CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION audit()",
          "UPDATE t SET v = 'é' WHERE id = 1 -- ü", "/* a */ DELETE FROM t WHERE id = 2 RETURNING v, loud(id); ", "BEGIN", "INSERT INTO t VALUES (4, 'four', 4) RETURNING *", "UPDATE t SET v = id", "ROLLBACK",
          "BEGIN", "UPDATE t SET v = 'b'", "SAVEPOINT s", "INSERT INTO t VALUES (1)", "ROLLBACK TO s", "DELETE FROM t WHERE id = 3", "COMMIT",
          "INSERT INTO t VALUES (1)", "UPDATE t SET v = nix", "UPDATE t SET v = ", "UPDATE t SET v = $1", "INSERT INTO t VALUES (5), (6)", "UPDATE t SET v = 'none' WHERE false", "DELETE FROM t WHERE id = 1 AND 1/0 = 1",
          r"SET standard_conforming_strings = off", r"UPDATE t SET v = 'a\b' WHERE id = 1", "RESET standard_conforming_strings", "LISTEN told", "WITH n AS (SELECT pg_notify('told', 'x')) UPDATE t SET v = 'n' FROM n WHERE id = 1",
          "SET CONSTRAINTS ALL DEFERRED", "INSERT INTO child VALUES (1, 99)", "TABLE audit"),
    said("an event trigger's data", *asked("CREATE TABLE audit (q text, d text)", "CREATE FUNCTION ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN IF current_user = 'app' THEN INSERT INTO w.audit VALUES (current_query(), TG_TAG); END IF; END $$"),
         (Beside("CREATE EVENT TRIGGER audit ON ddl_command_end EXECUTE FUNCTION w.ddl()"), ""),
         *asked("CREATE TABLE made (a int); ", "/* ü */ ALTER TABLE made ADD b text, ADD PRIMARY KEY (a) -- x", "CREATE TABLE made (a int)", "CREATE TABLE made2 AS SELECT 1 AS one, loud(3)", "SELECT 2 AS two INTO made3", "CREATE TABLE made4 AS SELECT $1", "CREATE VIEW vw AS SELECT $1",
                "CREATE FUNCTION body(int) RETURNS int BEGIN ATOMIC SELECT $1; END", "BEGIN", "DROP TABLE made", "TRUNCATE t CASCADE", "ROLLBACK", "TRUNCATE made2", "DROP TABLE made2, nix", "DROP TABLE IF EXISTS nix", "CREATE TABLE", "CREATE INDEX ON made (b)", "DROP TABLE made3",
                "COMMENT ON TABLE made IS 'x'", "GRANT SELECT ON made TO PUBLIC", "CREATE MATERIALIZED VIEW mv AS SELECT 1 AS x WITH NO DATA", "REFRESH MATERIALIZED VIEW mv", "ALTER TABLE made RENAME b TO c", "TABLE audit")),
    said("a trigger's data, in a pipeline", *asked("CREATE TABLE audit (q text, d text)", AUDIT, "CREATE TRIGGER audit AFTER UPDATE ON t EXECUTE FUNCTION audit()"),
         (parse(UPDATE) + bind() + execute() + query(UPDATE) + query("TABLE audit"), "ZZ"), (parse(UPDATE) + query(UPDATE) + execute() + SYNC, "ZZ"), (parse(UPDATE, "s") + bind(name="s") + query(UPDATE) + bind() + SYNC, "ZZ"), *asked("TABLE audit")),
    said("what was sent is what is seen", *asked("SELECT current_query() /* ü */", "/* a */ SELECT query FROM pg_stat_activity WHERE pid = pg_backend_pid() -- b"),
         (extended("SELECT current_query(), $1::text -- é", "x"), "Z"),
         *asked("PREPARE p AS UPDATE t SET n = $1 WHERE id = 1", "SELECT statement FROM pg_prepared_statements"),
         (parse("DELETE  FROM t /* as it is */", "s") + SYNC, "Z"), *asked("SELECT name, statement FROM pg_prepared_statements ORDER BY name")),
)  # fmt: skip

ALONE = (
    *both("alone", "CREATE INDEX CONCURRENTLY i ON t (n)", "REINDEX INDEX CONCURRENTLY i", "DROP INDEX CONCURRENTLY i", "VACUUM (ANALYZE) t", "CLUSTER"),
    said("not alone", *asked(*(f"{first}; {second}" for second in ("CREATE INDEX CONCURRENTLY i ON t (n)", "VACUUM t", "CREATE DATABASE nowhere", "DROP DATABASE nowhere")
                               for first in (UPDATE, "SELECT 1")), "TABLE t")),
    *both("in a block", "BEGIN", UPDATE, "VACUUM t", "ROLLBACK", "BEGIN", "CREATE INDEX CONCURRENTLY i ON t (n)", "ROLLBACK"),
    said("in a pipeline", (parse(UPDATE) + bind() + execute() + parse("VACUUM t") + bind() + execute() + SYNC, "Z"),
         (parse(UPDATE) + bind() + execute() + parse("CREATE INDEX CONCURRENTLY i ON t (n)") + bind() + execute() + SYNC, "Z"), *asked("TABLE t")),
    said("transactions in one message", *asked(
        f"{UPDATE}; COMMIT; {DELETE}; ROLLBACK; {INSERT}", f"BEGIN; {UPDATE}; COMMIT; {FAILS}; {DELETE}", f"{DELETE}; BEGIN; {INSERT}; {FAILS}", "COMMIT",
        f"BEGIN; SAVEPOINT a; {UPDATE}; ROLLBACK TO a; {DELETE}; COMMIT AND CHAIN; {UPDATE}", "ROLLBACK", f"{UPDATE}; ROLLBACK; {DELETE}", "TABLE t")),
    said("first of all", *asked("BEGIN", "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", UPDATE, "SET TRANSACTION ISOLATION LEVEL READ COMMITTED", "COMMIT",
         f"BEGIN; SET TRANSACTION READ ONLY; {UPDATE}", "ROLLBACK", f"START TRANSACTION READ ONLY; {DELETE} RETURNING *; COMMIT", "ROLLBACK",
         f"BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE; SELECT 1; {INSERT}", "ROLLBACK", "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", UPDATE, "TABLE t")),
    *both("read only", "SELECT 1", f"{UPDATE} RETURNING *", INSERT, DELETE, "TRUNCATE t", "CREATE TABLE x ()", "COPY t FROM STDIN", "SELECT nextval('nix')",
          "DO $$ BEGIN DELETE FROM t; END $$", "EXPLAIN (ANALYZE) DELETE FROM t", "WITH d AS (DELETE FROM t RETURNING id) SELECT * FROM d", "NOTIFY a", "SELECT loud(1)", "SET TimeZone = 'CET'",
          before=("SET default_transaction_read_only = on",)),
    *both("explained", *(f"EXPLAIN ({options}) {text}" for options in ("COSTS OFF", "COSTS OFF, VERBOSE", "ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF, BUFFERS OFF", "COSTS OFF, FORMAT JSON")
          for text in (UPDATE, f"{DELETE} RETURNING *", "WITH d AS (DELETE FROM t WHERE id = 3 RETURNING id) SELECT * FROM d")), "EXPLAIN ANALYZE UPDATE t SET", "EXPLAIN UPDATE nix SET a = 1"),
)  # fmt: skip

PREPARED = (
    "UPDATE t SET v = $1, n = $2 WHERE id = $3", "UPDATE t SET v = $1 WHERE v = $1 RETURNING $1", "UPDATE t SET v = $1 WHERE v <> $1::varchar",
    "INSERT INTO t VALUES ($1, $2, $3), ($1 + 1, $2, $3)", "INSERT INTO t (v, id) SELECT $1, $2", "DELETE FROM t WHERE id = $1 AND n > $2 RETURNING $3::numeric",
    "UPDATE t SET v = $2", "UPDATE t SET v = $1 WHERE id = $1", "DELETE FROM t WHERE $1", "DELETE FROM t WHERE $1 IS NULL", "INSERT INTO t VALUES ($1) ON CONFLICT (id) DO UPDATE SET v = $2, n = $1",
    "WITH a AS (SELECT $1 AS x) UPDATE t SET v = x FROM a", "WITH d AS (DELETE FROM t WHERE id = $1 RETURNING v) SELECT $2 || v FROM d", "UPDATE t SET n = $9", "DELETE FROM t WHERE id = $0", "UPDATE t SET v = $1 $2",
)  # fmt: skip
OIDS = ((), (25,), (0, 23), (20, 0, 1043), (23, 23, 23, 23, 23), (99999,))
VALUE = struct.pack("!i", 2)
LONG = struct.pack("!q", 3)
ROWS = "UPDATE t SET n = $1 WHERE id = $2 RETURNING id, v, n"
DESCRIBED = (
    *(said(f"{text}", *((close("s", "S") + parse(text, "s", oids) + describe("s", "S") + SYNC, "Z") for oids in OIDS),
           (bind("1", "2", "3", name="s") + describe() + execute() + SYNC, "Z")) for text in PREPARED),
    said("values in binary", *((parse(ROWS, oids=(23, 23)) + bind(*values, formats=formats, results=results) + describe() + execute() + SYNC, "Z")
         for values, formats in (((VALUE, VALUE), (1,)), ((VALUE, VALUE), (1, 1)), (("4", VALUE), (0, 1)), (("4", "1"), (0,)), ((None, "1"), (1, 0)), ((None, None), (1,)),
                                 ((LONG, VALUE), (1,)), ((b"", VALUE), (1,)), ((VALUE, VALUE), (2,)), ((VALUE, VALUE), (1, 1, 1)))
         for results in ((), (1,), (0, 1, 0), (1, 1), (1, 1, 1, 1), (7,)))),
    said("results of none", *((parse(text) + bind(results=results) + describe() + execute() + SYNC, "Z")
         for text in (UPDATE, INSERT, DELETE) for results in ((1,), (0, 1), (9,)))),
    said("a format for each", (parse("INSERT INTO t SELECT 20, 'all' WHERE cardinality(ARRAY[" + ",".join(f"${n}::int" for n in range(1, 4_097)) + "]) > 1 RETURNING id")
         + bind(*[VALUE, None] * 2_048, formats=(1, 0) * 2_048, results=(1,)) + execute() + SYNC, "Z")),
    said("more and more parameters", (parse("UPDATE t SET v = $1 || $65535") + SYNC, "Z"), (parse("UPDATE t SET v = $65536") + SYNC, "Z"), (parse("UPDATE t SET v = $99999999999") + SYNC, "Z")),
)  # fmt: skip

TAGGED = (
    *both("tags", "INSERT INTO t SELECT 20, 'x' WHERE false", "INSERT INTO t SELECT g FROM generate_series(21, 23) g", "UPDATE t SET n = 2", "DELETE FROM t WHERE id > 20",
          "CREATE TABLE made AS SELECT * FROM t", "SELECT * INTO made2 FROM t", "CREATE TABLE made3 AS SELECT 1 WITH NO DATA", "WITH d AS (DELETE FROM t WHERE id = 2 RETURNING *) INSERT INTO made SELECT * FROM d",
          "WITH d AS (UPDATE t SET n = 3) SELECT 1", "WITH d AS (UPDATE t SET n = 4 RETURNING id) DELETE FROM made USING d WHERE d.id = made.id", "TRUNCATE made, made2",
          "INSERT INTO t VALUES (1), (30) ON CONFLICT DO NOTHING", "INSERT INTO t VALUES (1), (31) ON CONFLICT (id) DO UPDATE SET n = 0 WHERE t.n > 90", "VALUES (1), (2)", "TABLE t",
          "SELECT FROM t", "COMMENT ON TABLE t IS 'x'", "LOCK TABLE t", "ANALYZE t", "SET CONSTRAINTS ALL IMMEDIATE", "DROP TABLE made, made2, made3",
          "PREPARE p AS UPDATE t SET n = 1 RETURNING id", "EXECUTE p", "PREPARE q AS SELECT 1", "EXECUTE q", "CREATE TABLE made AS EXECUTE q", "DEALLOCATE p"),
    *both("merged", "MERGE INTO t USING (VALUES (1), (40)) s(i) ON s.i = t.id WHEN MATCHED THEN UPDATE SET n = 6 WHEN NOT MATCHED THEN INSERT VALUES (s.i)",
          "MERGE INTO t USING (VALUES (1)) s(i) ON s.i = t.id WHEN MATCHED THEN DELETE", "MERGE INTO t USING (VALUES (1)) s(i) ON s.i = t.id WHEN MATCHED AND false THEN DO NOTHING"),
    *both("cursors", "DECLARE c CURSOR FOR SELECT 1", "BEGIN", "DECLARE c SCROLL CURSOR FOR SELECT * FROM t ORDER BY id", "FETCH 2 FROM c", "MOVE 1 FROM c", "FETCH PRIOR FROM c", "FETCH ABSOLUTE 1 FROM c",
          "DELETE FROM t WHERE CURRENT OF c RETURNING id", "UPDATE t SET v = 'c' WHERE CURRENT OF c", "FETCH ALL FROM c", "CLOSE c", "CLOSE c", "ROLLBACK",
          "BEGIN", "DECLARE c CURSOR FOR SELECT * FROM t ORDER BY id FOR UPDATE", "FETCH c", "UPDATE t SET v = 'here' WHERE CURRENT OF c RETURNING *", "FETCH c", "DELETE FROM t WHERE CURRENT OF c", "COMMIT",
          "BEGIN", "DECLARE h CURSOR WITH HOLD FOR SELECT id, loud(id) FROM t ORDER BY id", "COMMIT", "FETCH 1 FROM h", "FETCH ALL FROM h", "CLOSE h",
          "BEGIN", "DECLARE w CURSOR FOR DELETE FROM t RETURNING id", "ROLLBACK", "BEGIN", "DECLARE w CURSOR FOR WITH d AS (DELETE FROM t RETURNING id) SELECT * FROM d", "ROLLBACK",
          "BEGIN", "UPDATE t SET v = 'x' WHERE CURRENT OF nix", "ROLLBACK", "BEGIN", "DECLARE s CURSOR FOR SELECT id FROM t", "UPDATE t SET v = 'x' WHERE CURRENT OF s", "COMMIT"),
    said("a portal is a cursor", *asked("BEGIN"), (parse("SELECT * FROM t ORDER BY id FOR UPDATE") + bind(portal="c") + execute("c", 1) + SYNC, "Z"),
         *asked("UPDATE t SET v = 'here' WHERE CURRENT OF c RETURNING v", "FETCH 1 FROM c"), (parse("DELETE FROM t WHERE CURRENT OF c RETURNING id") + bind() + execute() + SYNC, "Z"), *asked("COMMIT", "TABLE t")),
    said("a cursor is a portal", *asked("BEGIN", "DECLARE c CURSOR FOR SELECT id FROM t ORDER BY id"), (describe("c") + execute("c", 1) + execute("c", 1) + SYNC, "Z"), *asked("CLOSE c"),
         (execute("c") + SYNC, "Z"), *asked("COMMIT")),
    said("notices between rows, extended", (extended("SELECT id, loud(id) FROM t ORDER BY id"), "Z"), (extended("UPDATE t SET v = loud(id) RETURNING id, loud(10 + id)"), "Z"),
         (parse("SELECT id, loud(id) FROM t ORDER BY id") + bind() + execute(limit=1) + execute(limit=2) + SYNC, "Z"),
         (parse("DELETE FROM t RETURNING loud(id)") + bind() + execute(limit=1) + FLUSH, "s"), (execute() + SYNC, "Z")),
    said("notices behind COPY", *asked("CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'row %', new.id; RETURN new; END $$",
         "CREATE TRIGGER note BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION note()"),
         (query("COPY t FROM STDIN"), "G"), (copy_data("7\ta\t1\n8\tb\t2\n") + COPY_DONE, "Z"), *asked("COPY (SELECT loud(id) FROM t) TO STDOUT", "UPDATE t SET n = 0 RETURNING id")),
    said("errors while copying a lot", (query("COPY t FROM STDIN"), "G"), (copy_data("x\ta\n") + copy_data("9\tb\t1\n") * 5000 + COPY_DONE, "Z"), *asked("SELECT 1"),
         (parse("COPY t FROM STDIN") + bind() + execute() + SYNC, "G"), (copy_data("1\ta\t1\n") + copy_data("9\tb\t1\n") * 5000 + COPY_DONE + SYNC, "Z"), *asked("SELECT 1"),
         (query("COPY t FROM STDIN"), "G"), (message("f", b"\xff\0"), "Z"), *asked("TABLE t")),
)  # fmt: skip

RAISES = """CREATE FUNCTION raises(int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN IF $1 = 2 THEN
    RAISE EXCEPTION 'no % ü', $1 USING ERRCODE = 'XX123', DETAIL = 'détail', HINT = 'hint', TABLE = 't', COLUMN = 'v', CONSTRAINT = 'c', SCHEMA = 'w', DATATYPE = 'd';
    END IF; RAISE NOTICE 'ü %', $1; RETURN $1; END $$"""
INNER = """CREATE FUNCTION inner_() RETURNS int LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'SELECT ''ü'', nix FROM t'; RETURN 1; END $$"""
SQL_INNER = "CREATE FUNCTION sql_inner() RETURNS int LANGUAGE sql AS 'SELECT 1/0'"
STACKED = "CREATE FUNCTION stacked() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN new.n := raises(new.id); RETURN new; END $$"
WRONG = (
    *both("raised", RAISES, INNER, SQL_INNER, "UPDATE t SET n = raises(id)", "UPDATE t SET n = raises(id) WHERE id = 1 RETURNING raises(3)", "INSERT INTO t VALUES (raises(2))", "DELETE FROM t WHERE id = raises(id)",
          "UPDATE t SET n = inner_()", "UPDATE t SET n = sql_inner()", "DELETE FROM t RETURNING inner_()", "INSERT INTO t SELECT sql_inner()", "WITH d AS (DELETE FROM t RETURNING id) SELECT raises(id) FROM d",
          STACKED, "CREATE TRIGGER stacked BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION stacked()", "UPDATE t SET v = 'ü' WHERE id = 2", "UPDATE t SET v = 'x' WHERE id = 1 RETURNING n"),
    *both("constraints", "ALTER TABLE t ADD CHECK (n < 50), ALTER v SET NOT NULL, ADD EXCLUDE (n WITH =) WHERE (n > 20)", "UPDATE t SET n = 60", "UPDATE t SET v = NULL", "INSERT INTO t (id) VALUES (60)", "UPDATE t SET id = 1",
          "INSERT INTO t VALUES (60, 'a', 30), (61, 'b', 30)", "INSERT INTO child VALUES (1, 1)", "DELETE FROM t WHERE id = 1", "UPDATE t SET n = 99999999999", "UPDATE t SET v = repeat('x', 300) WHERE id = 1",
          "ALTER TABLE t ALTER v TYPE varchar(3)", "INSERT INTO t VALUES (70, 'long ü')", "UPDATE t SET v = 'four' WHERE id = 3"),
    *both("places", "UPDATE t SET v = 'ü' WHERE id = 'x'::int", "UPDATE t SET v = 'üü', n = id + 'ä'", "UPDATE t SET v = 'ü' WHERE idd = 1", "UPDATE t AS x SET v = 'ü' WHERE t.id = 1", "INSERT INTO t (id, v) VALUES ('ü', 1, 2)",
          "INSERT INTO t (id, vv) VALUES (1, 'ü')", "INSERT INTO t VALUES (1, 'ü') RETURNING nope", "INSERT INTO t VALUES (1) ON CONFLICT (n) DO NOTHING", "INSERT INTO t VALUES (1, 'ü') ON CONFLICT (id) DO UPDATE SET zz = 1",
          "DELETE FROM t USING nix WHERE 'ü' = 'ä'", "DELETE FROM t WHERE 'ü' = nix(1)", "UPDATE t SET v = 'ü', v = 'ä'", "UPDATE t SET (v, n) = ('ü')", "DELETE FROM t WHERE id = max(id)", "UPDATE t SET n = (SELECT 1, 2)",
          "DELETE FROM t WHERE id = (SELECT id FROM t)", "UPDATE t SET n = rank() OVER ()", "WITH a AS (SELECT 'ü' AS x) UPDATE t SET v = y FROM a", "UPDATE t SET n = 1 RETURNING 'ü', id +", "DELETE FROM t RETURNING 'ü' ~ 1",
          "INSERT INTO t DEFAULT VALUES", "INSERT INTO t SELECT 'ü'", "INSERT INTO t (id) VALUES (1), (2, 3)", "UPDATE ONLY t* SET v = 'ü' oops", "DELETE FROM t WHERE v COLLATE \"nix\" = 'ü'", "UPDATE nowhere.t SET v = 'ü'", "UPDATE t SET v.x = 1"),
    said("places in one of several", *asked(*(f"SELECT 'ü'; {DELETE}; {text}; SELECT 'ä'" for text in ("UPDATE t SET v = 'ü', nix = 1", "INSERT INTO t VALUES (1, 'ü')", "UPDATE t SET n = 'ü'", "DELETE FORM t", "UPDATE t SET n = 1/0 RETURNING n")), "TABLE t")),
)  # fmt: skip


def deep(wrong: int, flush: int = 0) -> bytes:
    """A thousand statements with one Sync; one of them fails."""
    texts = (UPDATE, "SELECT 1", DELETE, "SELECT loud(1)", f"{UPDATE} RETURNING *")
    parts = []
    for number in range(1000):
        text = FAILS if number == wrong else texts[number % len(texts)]
        parts.append(parse(text) + bind() + describe() + execute())
        if flush and number % flush == 0:
            parts.append(FLUSH)
    return b"".join(parts) + SYNC


DEEP = (
    *(said(f"wrong at {wrong}", (deep(wrong), "Z"), *asked("TABLE t")) for wrong in (0, 1, 500, 999, 1000)),
    said("flushed meanwhile", (deep(777, flush=50) + query(UPDATE) + deep(2), "ZZZ"), *asked("TABLE t")),
    said("by name, wrong every 50th", (parse(UPDATE, "u") + parse(f"{DELETE} RETURNING v", "d") + parse("SELECT 1", "r") + parse(FAILS[:-1] + "(id - 1) FROM t WHERE id = 1", "f") + SYNC, "Z"),
         (b"".join(bind(name="f" if n % 50 == 49 else "udr"[n % 3]) + execute() + (SYNC if n % 7 == 0 else b"") for n in range(1000)) + SYNC, "Z" * 144), *asked("TABLE t")),
)  # fmt: skip

ALL_WRITTEN = by_name(
    ("encodings", ENCODINGS),
    ("constants", CONSTANTS),
    ("bodies", BODIES),
    ("alone", ALONE),
    ("described", DESCRIBED),
    ("tagged", TAGGED),
    ("wrong", WRONG),
    ("deep", DEEP),
)
