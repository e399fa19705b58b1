"""Conversations about DDL, most of it such as destroys something, which a proxy may send in another form.
As in traces.py.
"""

from raw import FLUSH, SYNC, bind, close, describe, execute, extended, parse, query
from traces import DELETE, FAILS, UPDATE, Beside, Conversation, by_name, said
from traces_written import asked, both

DROP = "DROP TABLE t CASCADE"
# What is not t's.
OTHERS = """
CREATE TABLE other (id int PRIMARY KEY, v varchar(9) DEFAULT 'ü', n int GENERATED ALWAYS AS IDENTITY);
CREATE VIEW seen AS SELECT id, v FROM other; CREATE VIEW seen2 AS SELECT id FROM seen; CREATE SEQUENCE s;
CREATE TYPE mood AS ENUM ('sad', 'glad'); CREATE DOMAIN positive AS int CHECK (value > 0);
CREATE TABLE moods (m mood, p positive, a int DEFAULT nextval('s')); CREATE TYPE pair AS (a int, b text);
CREATE TABLE parts (k int, v text) PARTITION BY LIST (k);
CREATE TABLE part1 PARTITION OF parts FOR VALUES IN (1);
CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT $1'; INSERT INTO other (id) VALUES (1), (2)
"""
THERE = (
    "SELECT relname, relkind FROM pg_class WHERE relnamespace = 'w'::regnamespace ORDER BY 1",
    "SELECT attrelid::regclass, attname, atttypid::regtype FROM pg_attribute WHERE attnum > 0 AND NOT attisdropped"
    " AND attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'w'::regnamespace) ORDER BY attrelid::regclass::text, attname",
    "SELECT conname, conrelid::regclass, pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'w'::regnamespace ORDER BY 1, 2::text",
    "SELECT typname FROM pg_type WHERE typnamespace = 'w'::regnamespace ORDER BY 1", "SELECT m::text, p, a FROM moods", "TABLE other",
)  # fmt: skip

PLAIN = (
    "DROP TABLE child", "DROP TABLE IF EXISTS child, nix, moods", "DROP TABLE parts", "DROP TABLE other CASCADE", DROP, "DROP TABLE part1",
    "DROP SEQUENCE s CASCADE", "DROP TYPE mood CASCADE", "DROP DOMAIN positive CASCADE", "DROP TYPE pair", "DROP VIEW seen CASCADE",
    "DROP FUNCTION f", "DROP SCHEMA w CASCADE", "DROP OWNED BY app CASCADE", "DROP OWNED BY app", "REASSIGN OWNED BY app TO postgres",
    "ALTER TABLE other DROP COLUMN v CASCADE", "ALTER TABLE t DROP v, DROP COLUMN IF EXISTS nix, ADD COLUMN x int DEFAULT 7",
    "ALTER TABLE t ALTER COLUMN n TYPE text USING n || 'ü'", "ALTER TABLE t ALTER v SET DATA TYPE varchar(20), DROP CONSTRAINT t_pkey CASCADE",
    "ALTER TABLE t RENAME COLUMN v TO type", "ALTER TABLE IF EXISTS nix DROP COLUMN a", "ALTER TYPE pair DROP ATTRIBUTE b",
    "ALTER TYPE pair ALTER ATTRIBUTE a TYPE bigint", "ALTER DOMAIN positive DROP CONSTRAINT positive_check", "ALTER TYPE mood ADD VALUE 'mad'",
    "/* ü */ ALTER TABLE t DROP v -- it's a \\ test", "ALTER TABLE t ALTER v TYPE text USING E'\\'' || $$ü\\'$$ || U&'\\00fc'", "DROP TABLE IF EXISTS nix CASCADE",
    "CREATE TABLE made (a serial PRIMARY KEY, b int REFERENCES t)", "CREATE TABLE IF NOT EXISTS t ()", "ALTER TABLE t ADD COLUMN a int", "ALTER TABLE t ADD COLUMN IF NOT EXISTS v int",
    "CREATE INDEX ON t (v)", "DROP INDEX IF EXISTS nix", "COMMENT ON COLUMN t.v IS 'ü'", "GRANT SELECT ON t TO PUBLIC", "ALTER TABLE t RENAME TO t9; ALTER TABLE t9 RENAME TO t",
    "CREATE OR REPLACE VIEW seen AS SELECT id, v, 1 AS one FROM other", "CREATE MATERIALIZED VIEW mv AS TABLE t", "TRUNCATE t, child",
)  # fmt: skip
# The error, and where it is, is the server's; in a block, too.
FAILING = (
    "DROP TABLE nix", "DROP TABLE t", "DROP TABLE other", "DROP TABLE t, nix", "DROP TYPE mood", "DROP SEQUENCE s", "DROP SCHEMA nowhere", "DROP SCHEMA w", "DROP VIEW t",
    "DROP TABLE pg_class", "DROP TABLE seen", "DROP TABLE", "DROP TABLE t CASCADE RESTRICT", "DROP TABLE 'ü'", "DROP SCHEMA pg_catalog", "DROP OWNED BY nobody_here", "DROP OWNED BY postgres", "REASSIGN OWNED BY postgres TO app",
    "REASSIGN OWNED BY app TO nobody_here", "REASSIGN OWNED BY app",
    "ALTER TABLE t DROP COLUMN nix", "ALTER TABLE nix DROP COLUMN a", "ALTER TABLE other DROP COLUMN v", "ALTER TABLE t ALTER n TYPE nix", "/* ü */ ALTER TABLE t ALTER COLUMN v TYPE int",
    "ALTER TABLE t ALTER v TYPE int USING nix", "ALTER TABLE t ALTER v TYPE int USING 'ü'", "ALTER TABLE t ALTER v TYPE int USING 1/0", "ALTER TABLE t ALTER v TYPE", "ALTER TABLE t DROP",
    "ALTER TABLE t ALTER n TYPE int USING $1", "ALTER TABLE part1 DROP COLUMN v", "ALTER TYPE pair DROP ATTRIBUTE nix", "ALTER TABLE t DROP v, DROP v", "DROP TABLE t; ;",
    "CREATE TABLE t ()", "ALTER TABLE t ADD COLUMN v int", "CREATE INDEX ON t (nix)", "ALTER TABLE t ADD CHECK (nix > 0)", "CREATE VIEW seen3 AS SELECT nix FROM t", "CREATE ROLE somebody",
    "CREATE INDEX CONCURRENTLY ON t (nix)", "DROP INDEX CONCURRENTLY nix",
)  # fmt: skip
SINGLE = [text for text in (*PLAIN, *FAILING) if ";" not in text]


def rolled(*texts: str) -> list[str]:
    return [part for text in texts for part in ("BEGIN", text, "SELECT 1", "ROLLBACK")]


def batched(text: str) -> list[bytes]:
    """Among other statements of one message, in which nothing may be seen to be done if it is no SQL."""
    return [
        query(f"/* ü */ SELECT 'ü'; {text}; SELECT 2"),
        query(f"BEGIN; {UPDATE}; {text}; {DELETE}; COMMIT"),
        query("ROLLBACK"),
        query(f"SAVEPOINT a; {text}"),
        query(f"{UPDATE}; COMMIT; {text}"),
        query("BEGIN"),
        query(f"/* ü */ SAVEPOINT a; {text}; SELECT 3"),
        query("ROLLBACK"),
    ]


BLOCK = (
    said("destroyed and made again", *asked(OTHERS, "BEGIN", DROP, "SAVEPOINT a", "DROP TABLE other CASCADE", "ROLLBACK TO a", "CREATE TABLE t (id int, v text)", "INSERT INTO t VALUES (9, 'nine')",
         "ALTER TABLE t DROP COLUMN v", "SAVEPOINT b", FAILS, "ROLLBACK TO b", "ALTER TABLE t ADD COLUMN v int", "COMMIT", "TABLE t", *THERE)),
    said("destroyed in one message", *asked(OTHERS, f"{UPDATE}; {DROP}; CREATE TABLE t (id int); INSERT INTO t VALUES (9); ALTER TABLE t RENAME id TO v; ALTER TABLE t DROP v; TABLE t",
         "BEGIN; DROP TABLE other CASCADE; DROP SEQUENCE s CASCADE", "CREATE SEQUENCE s; SELECT nextval('s')", "COMMIT", *THERE)),
    said("what the bin needs", *asked(OTHERS, "DROP TABLE moods", "DROP TYPE mood", "DROP DOMAIN positive", "DROP SEQUENCE s", "DROP TABLE other CASCADE",
         "CREATE FUNCTION g() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'", "CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION g()", "DROP FUNCTION g", DROP, "DROP FUNCTION g", "DROP FUNCTION g")),
    said("temporary", *asked("CREATE TEMP TABLE mine (a int, b text)", "CREATE TEMP VIEW mine2 AS SELECT v FROM t", "ALTER TABLE mine DROP b", "ALTER TABLE mine ALTER a TYPE text", "DROP TABLE mine, child",
         DROP, "SELECT relname FROM pg_class WHERE relname LIKE 'mine%'", "CREATE TEMP TABLE t (a int)", "DROP TABLE t", "DROP TABLE t")),
    said("pending", *asked("BEGIN", "INSERT INTO child VALUES (1, 1)", DROP, "ROLLBACK", "BEGIN", "DECLARE c CURSOR FOR TABLE t", "FETCH c", "DROP TABLE t CASCADE", "ROLLBACK", "TABLE t")),
    said("read only", *asked("BEGIN READ ONLY", DROP, "ROLLBACK", "SET default_transaction_read_only = on", "ALTER TABLE t DROP v", "SET default_transaction_read_only = off",
         "BEGIN ISOLATION LEVEL SERIALIZABLE", "SELECT 1", "ALTER TABLE t DROP v", "COMMIT", "BEGIN ISOLATION LEVEL REPEATABLE READ", DROP, "COMMIT")),
    said("backslashes", *asked("SET standard_conforming_strings = off", "SET escape_string_warning = off", r"ALTER TABLE t ALTER v TYPE text USING 'a\\b\'c'", "SELECT v FROM t", r"ALTER TABLE t ALTER v TYPE int USING 'a\'ü'")),
    said("too late", *asked("SET lock_timeout = 20"), (Beside("BEGIN; LOCK TABLE w.t"), ""), *asked("DROP TABLE t CASCADE", "ALTER TABLE t DROP v"), (Beside("ROLLBACK"), ""), *asked("TABLE t")),
    said("others'", (Beside("CREATE TABLE w.theirs (a int, b int)"), ""), *asked("DROP TABLE theirs", "ALTER TABLE theirs DROP b", "BEGIN", "DROP TABLE theirs", "SELECT 1", "ROLLBACK")),
    said("quiet", *asked("SET client_min_messages = error", "DROP TABLE IF EXISTS nix", DROP, "SHOW client_min_messages", "SET client_min_messages = log", "DROP TABLE IF EXISTS nix", "SHOW client_min_messages")),
)  # fmt: skip

EXTENDED = (
    said("each alone", (parse(DROP, "s") + FLUSH, "1"), (describe("s", "S") + FLUSH, "tn"), (bind(name="s", portal="p") + FLUSH, "2"), (describe("p") + FLUSH, "n"),
         (execute("p") + FLUSH, "C"), (close("p") + FLUSH, "3"), (SYNC, "Z"), (bind(name="s") + execute() + SYNC, "Z")),
    said("in a pipeline", (parse(UPDATE) + bind() + execute() + parse(DROP) + bind() + describe() + execute() + parse("CREATE TABLE t (a int)") + bind() + execute() + SYNC, "Z"),
         (extended("TABLE t"), "Z"), (parse("ALTER TABLE t DROP a") + bind() + execute() + parse(FAILS) + bind() + execute() + SYNC, "Z"), *asked("TABLE t")),
    said("with parameters", (extended("ALTER TABLE t ALTER n TYPE int USING $1", "1"), "Z"), (parse("DROP TABLE nix", oids=(23,)) + bind("1") + execute() + SYNC, "Z"),
         (parse("DROP TABLE child", oids=(23, 25)) + bind("1", None) + execute() + SYNC, "Z")),
    said("results asked for", (parse("DROP TABLE child") + bind(results=(1,)) + execute() + SYNC, "Z")),
    said("by query in the pipeline", (parse(UPDATE) + bind() + execute() + query(DROP) + parse("SELECT 1") + bind() + execute() + SYNC, "ZZ"), *asked("TABLE t", "TABLE child")),
    said("in a block", *((extended(text), "Z") for text in rolled(*SINGLE[:12], *FAILING[:6]) if ";" not in text)),
    said("prepared by name", (parse("ALTER TABLE t DROP COLUMN IF EXISTS v", "s") + SYNC, "Z"), *(((bind(name="s") + execute() + SYNC), "Z"),) * 3, *asked("TABLE t")),
)  # fmt: skip


def each(texts: tuple[str, ...]) -> list[Conversation]:
    found = [conversation for text in texts for conversation in both(text, text, before=(OTHERS,))]
    return [
        Conversation(conversation.name, (*conversation.steps, *asked(*THERE)))
        for conversation in found
        if ";" not in conversation.name or conversation.name.endswith("simple")
    ]


WRONG = [text for text in FAILING if ";" not in text]
ALL_DDL = by_name(
    ("ddl", each(PLAIN)),
    ("ddl fails", both("alone", *WRONG, before=(OTHERS,))),
    ("ddl fails", (said("in a block", *asked(OTHERS, *rolled(*FAILING))),)),
    (
        "ddl among others",
        (
            said(text, *asked(OTHERS, *batched(text), "ROLLBACK", *THERE))
            for text in (*PLAIN[::3], *FAILING)
        ),
    ),
    ("ddl", BLOCK),
    ("ddl extended", EXTENDED),
)
