"""Conversations that a proxy must not change: what is sent, and which answers are awaited before the
next is sent. Each is held with PostgreSQL itself and through the proxy; the traces must be equal.

A step is (bytes, awaited): the kinds of messages to wait for, in order; "b" waits for one byte, "."
for the end, "!" says that nothing more will be sent and waits for the end. Instead of bytes it may be
what somebody else does meanwhile. At the end of every conversation Terminate is sent and what is left
is read.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from raw import (
    COPY_DONE,
    FLUSH,
    SSL_REQUEST,
    SYNC,
    TERMINATE,
    bind,
    close,
    copy_data,
    describe,
    execute,
    extended,
    message,
    packet,
    parse,
    query,
    startup,
)


class Slowly(bytes):
    """Sent byte by byte."""


@dataclass(frozen=True, slots=True)
class Beside:
    """A superuser's session past the proxy does this."""

    text: str


class Cancel:
    """Asks the server to cancel what the conversation's session runs."""


CANCEL = Cancel()

Step = tuple[bytes | Beside | Cancel, str]

DATABASE = "conversed_with"  # stands for a database whose name is as long


@dataclass(frozen=True, slots=True)
class Conversation:
    name: str
    steps: tuple[Step, ...]
    login: bool = True
    # The proxy answers for itself: where in PostgreSQL's source, and which versions, is not its to say.
    ours: bool = False

    def __str__(self) -> str:
        return self.name


def said(name: str, *steps: Step) -> Conversation:
    """After login."""
    return Conversation(name, steps)


def by_name(*groups: tuple[str, Iterable[Conversation]]) -> dict[str, Conversation]:
    """Each under its subject and its name."""
    return {f"{subject}: {said}": said for subject, group in groups for said in group}


def first(name: str, *steps: Step, ours: bool = False) -> Conversation:
    """From the first byte."""
    return Conversation(name, steps, login=False, ours=ours)


def hello(version: tuple[int, int] = (3, 0), /, **more: str) -> bytes:
    """`more` may take back what is said by default, with an empty text."""
    given = {"user": "app", "database": DATABASE, **more}
    return startup(version, **{name: value for name, value in given.items() if value})


def again(*parts: bytes) -> bytes:
    return b"".join(parts)


INSERT = "INSERT INTO t (id, v) VALUES (10, 'ten')"
UPDATE = "UPDATE t SET v = 'new' WHERE id = 1"
DELETE = "DELETE FROM t WHERE id = 2"
FAILS = "SELECT 1/0"

STARTUP = (
    first("plain", (hello(), "Z")),
    first("application name", (hello(application_name="Träger"), "Z")),
    first("3.2", (hello((3, 2)), "Z")),
    first("3.1", (hello((3, 1)), "Z")),
    first(
        "newer minor and unknown option", (hello((3, 9999), **{"_pq_.x": "1", "_pq_.y": ""}), "Z")
    ),
    first("unknown option, 3.0", (hello(**{"_pq_.x": "1"}), "Z")),
    first("2.0", (hello((2, 0)), ".")),
    first("4.0", (hello((4, 0)), ".")),
    first("SSLRequest", (SSL_REQUEST, "b"), (hello(), "Z")),
    first("SSL twice", (SSL_REQUEST, "b"), (SSL_REQUEST, "."), ours=True),
    first("bytes behind SSLRequest", (SSL_REQUEST + hello(), "b."), ours=True),
    first("too long", (packet(0x30000, b"user\0app\0" + b"x" * 10_000), ".")),
    first("as long as may be", (packet(0x30000, b"user\0app\0".ljust(10_000 - 4, b"x")), ".")),
    first("too short", (b"\0\0\0\7\0\3\0", ".")),
    first("no length at all", (b"\0\0\0\0", ".")),
    first("negative length", (b"\xff\xff\xff\xff\0\3\0\0", ".")),
    first("HTTP", (b"GET / HTTP/1.1\r\nHost: db\r\n\r\n", ".")),
    first("TLS without asking", (bytes.fromhex("16030100c8010000c40303"), ".")),
    first("no terminator", (packet(0x30000, b"user\0app\0database"), ".")),
    first("more behind the terminator", (packet(0x30000, b"user\0app\0\0more\0"), ".")),
    first("value without its end", (packet(0x30000, b"user"), ".")),
    first("no user", (hello(user="", database="postgres"), ".")),
    first("no such role", (hello(user="nobody_here"), ".")),
    first("no such database", (hello(database="nowhere"), ".")),
    first("database is the user's", (hello(database=""), ".")),
    first("unknown setting", (hello(nonsense="1"), ".")),
    first("wrong value", (hello(DateStyle="never"), ".")),
    first("settings", (hello(DateStyle="German", extra_float_digits="0", TimeZone="CET"), "Z")),
    first("encoding", (hello(client_encoding="LATIN1"), "Z"), (query("SELECT 'é'"), "Z")),
    *(
        first(f"options {options}", (hello(options=options), "Z"), (query("SHOW work_mem"), "Z"))
        for options in (
            "-c work_mem=1MB",
            "-cwork_mem=1MB",
            "--work_mem=1MB",
            "--work-mem=1MB",
            "-c work_mem=1MB -c my.setting=a\\ b",
        )
    ),
    *(
        first(f"options {options}", (hello(options=options), "."))
        for options in ("-c=", "-c", "-c nonsense", "--nonsense=1", "+c", "-c work_mem=x")
    ),
    first("replication", (hello(replication="database"), "Z"), (query("SHOW work_mem"), "Z")),
    first("replication, extended", (hello(replication="on"), "Z"), (extended("SELECT 1"), "Z")),
    first("replication off", (hello(replication="fal"), "Z"), (query(UPDATE), "Z")),
    first("replication, wrong", (hello(replication="perhaps"), ".")),
    first("query behind the startup packet", (hello() + query("SELECT 1"), "ZZ")),
    first("second startup behind the first", (hello() + hello(), "Z.")),
    first("SSLRequest behind the startup packet", (hello() + SSL_REQUEST, "Z.")),
    first("goodbye behind the startup packet", (hello() + TERMINATE, ".")),
    said("second startup", (hello(), ".")),
    said("password after login", (message("p", b"secret\0"), ".")),
)

SIMPLE = (
    said("empty", (query(""), "Z"), (query(" ; ; "), "Z"), (query("-- nothing"), "Z")),
    said("comment before", (query("/* a */ SELECT 1 -- b"), "Z")),
    said("several", (query("SELECT 1; SELECT 2; SELECT 3"), "Z")),
    said("several writes", (query(f"{INSERT}; {UPDATE}; {DELETE}; SELECT * FROM t"), "Z")),
    said("error in the middle", (query(f"{INSERT}; {FAILS}; {DELETE}"), "Z"), (query("TABLE t"), "Z")),
    said("syntax error", (query("UPDATE t SET"), "Z"), (query("SELEC 'ü', 1"), "Z")),
    said("unknown column", (query("UPDATE t SET v = 'ü', nix = 1"), "Z")),
    said("unknown table", (query("INSERT INTO nix VALUES (1)"), "Z")),
    said("duplicate key", (query("INSERT INTO t VALUES (1)"), "Z")),
    said("division in a row", (query("SELECT 1 / (3 - id), v FROM t ORDER BY id"), "Z")),
    said("division in a write", (query("UPDATE t SET n = 1 / (3 - id)"), "Z"), (query("TABLE t"), "Z")),
    *(said(f"simple {text}", (query(text), "Z")) for text in (INSERT, UPDATE, DELETE)),
    *(
        said(f"returning {text}", (query(f"{text} RETURNING *, id + 1 AS more"), "Z"))
        for text in (INSERT, UPDATE, DELETE)
    ),
    said("no rows", (query("UPDATE t SET v = '' WHERE false"), "Z"), (query("DELETE FROM t WHERE id = 99"), "Z")),
    said("upsert", (query("INSERT INTO t VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET v = 'up'"), "Z")),
    said("upsert nothing", (query("INSERT INTO t VALUES (1, 'x') ON CONFLICT DO NOTHING"), "Z")),
    said("with", (query(f"WITH a AS (SELECT 3 AS x) {UPDATE} OR id IN (SELECT x FROM a)"), "Z")),
    said("no columns", (query("SELECT FROM t"), "Z"), (query(f"{UPDATE} RETURNING NULL"), "Z")),
    said("transaction", (query("BEGIN"), "Z"), (query(UPDATE), "Z"), (query("COMMIT"), "Z")),
    said("rolled back", (query("BEGIN"), "Z"), (query(UPDATE), "Z"), (query("ROLLBACK"), "Z")),
    said(
        "failed transaction",
        *((query(text), "Z") for text in ("BEGIN", FAILS, UPDATE, "SELECT 1", "COMMIT", "TABLE t")),
    ),
    said(
        "savepoints",
        *((query(text), "Z") for text in ("BEGIN", INSERT, "SAVEPOINT a", INSERT, "ROLLBACK TO a", UPDATE)),
        (query("COMMIT"), "Z"),
    ),
    said("all in one message", (query(f"BEGIN; {UPDATE}; COMMIT; {DELETE}"), "Z")),
    said("read only", (query("BEGIN READ ONLY"), "Z"), (query(UPDATE), "Z"), (query("END"), "Z")),
    said("vacuum alone", (query("VACUUM t"), "Z"), (query(f"{UPDATE}; VACUUM t"), "Z")),
    said("deferred constraint", (query("INSERT INTO child VALUES (1, 99)"), "Z")),
    said("notice", (query("DO $$ BEGIN RAISE NOTICE 'a'; RAISE WARNING 'b' USING HINT = 'c'; END $$"), "Z")),
    said("notices between rows", (query("SELECT id, loud(id) FROM t ORDER BY id"), "Z")),
    said("notices of a write", (query("UPDATE t SET v = loud(id)"), "Z")),
    said("settings change", *((query(text), "Z") for text in (
        "SET DateStyle = 'German'", "SET LOCAL TimeZone = 'CET'", "BEGIN; SET TimeZone = 'CET'",
        "ROLLBACK", "RESET ALL", "SET client_encoding = 'LATIN1'", "SET standard_conforming_strings = off",
    ))),
    said("notify oneself", (query("LISTEN a"), "Z"), (query("NOTIFY a, 'x'"), "Z"),
         (query(f"BEGIN; NOTIFY a, 'y'; {UPDATE}; COMMIT"), "Z")),
    said("query without its end", (message("Q", b"SELECT 1"), "Z"), (query("SELECT 2"), "Z")),
    said("bytes behind the end", (message("Q", b"SELECT 1\0SELECT 2\0"), "Z")),
    said("bytes of no encoding", (query(b"SELECT '\xff'"), "Z"), (query(b"UPDATE t SET v = '\xc3'"), "Z")),
    said("a megabyte", (query(f"SELECT length('{'x' * 1_100_000}')"), "Z")),
    said("a megabyte in a write", (query(f"UPDATE t SET v = '{'x' * 1_100_000}' WHERE id = 1"), "Z"),
         (query("SELECT length(v) FROM t ORDER BY id"), "Z")),
    said("sql prepared", *((query(text), "Z") for text in (
        "PREPARE p(int) AS UPDATE t SET v = 'p' WHERE id = $1", "EXECUTE p(1)", "EXECUTE p(99)",
        "DEALLOCATE p", "EXECUTE p(1)", "DISCARD ALL", "DEALLOCATE ALL",
    ))),
    said("cursor", *((query(text), "Z") for text in (
        "BEGIN", "DECLARE c CURSOR FOR SELECT * FROM t ORDER BY id FOR UPDATE", "FETCH 2 FROM c",
        "UPDATE t SET v = 'c' WHERE CURRENT OF c", "CLOSE c", "COMMIT", "TABLE t",
    ))),
    said("function call", (message("F", b"\0\0\0\x34" + b"\0\0" + b"\0\0" + b"\0\0"), "Z")),
    said("function call, wrong", (message("F", b"\0\0\0\0\0\0\0\0\0\0"), "Z")),
    said("kills itself", (query("SELECT pg_terminate_backend(pg_backend_pid())"), ".")),
    said("too slow", (query("SET statement_timeout = 50"), "Z"), (query("SELECT pg_sleep(9)"), "Z"),
         (query("UPDATE t SET v = pg_sleep(9)::text"), "Z")),
    said("idle too long", (query("SET idle_session_timeout = 50"), "Z.")),
    said("idle in transaction too long",
         (query("SET idle_in_transaction_session_timeout = 50"), "Z"), (query("BEGIN"), "Z.")),
)  # fmt: skip

COPY = (
    said("out", (query("COPY t TO STDOUT"), "Z"), (query("COPY (SELECT 1/0) TO STDOUT"), "Z")),
    said("out, several", (query(f"COPY t TO STDOUT; {UPDATE}; COPY t TO STDOUT BINARY"), "Z")),
    said("in", (query("COPY t FROM STDIN"), "G"), (copy_data("7\ta\t1\n8\t"), ""),
         (copy_data("b\t2\n") + COPY_DONE, "Z"), (query("TABLE t"), "Z")),
    said("in with its end", (query("COPY t FROM STDIN"), "G"), (copy_data("7\ta\t1\n\\.\n") + COPY_DONE, "Z")),
    said("in, early", (query("COPY t FROM STDIN") + copy_data("7\ta\t1\n") + COPY_DONE, "Z")),
    said("in, given up", (query("COPY t FROM STDIN"), "G"), (copy_data("7\ta\t1\n"), ""),
         (message("f", b"no more\0"), "Z")),
    said("in, wrong", (query("COPY t FROM STDIN"), "G"), (copy_data("x\ta\t1\n") + COPY_DONE, "Z"),
         (query("SELECT 1"), "Z")),
    said("in, late", (query("COPY t FROM STDIN"), "G"), (copy_data("x\n"), "E"),
         (copy_data("7\ta\t1\n") + COPY_DONE, ""), (query("SELECT 1"), "ZZ")),
    said("in, several", (query(f"COPY t FROM STDIN; {UPDATE}; SELECT 1"), "G"),
         (copy_data("7\ta\t1\n") + COPY_DONE, "Z")),
    said("in, a query instead", (query("COPY t FROM STDIN"), "G"), (query("SELECT 1"), ".")),
    said("data outside", (copy_data("x") + COPY_DONE + message("f", b"x\0"), ""), (query("SELECT 1"), "Z")),
    said("extended in", (parse("COPY t FROM STDIN") + bind() + execute() + SYNC, "G"),
         (copy_data("7\ta\t1\n") + COPY_DONE + SYNC, "Z")),
    said("extended in, flushed", (parse("COPY t FROM STDIN") + bind() + execute() + FLUSH, "G"),
         (FLUSH + SYNC + copy_data("7\ta\t1\n") + COPY_DONE + SYNC, "Z")),
    said("extended out", (extended("COPY t TO STDOUT"), "Z")),
    said("in a transaction", (query("BEGIN"), "Z"), (query("COPY t FROM STDIN"), "G"),
         (copy_data("7\ta\t1\n") + COPY_DONE, "Z"), (query(UPDATE), "Z"), (query("COMMIT"), "Z")),
)  # fmt: skip

EXTENDED = (
    *(said(f"extended {text}", (extended(text), "Z")) for text in (
        "SELECT 1", "", "-- nothing", INSERT, UPDATE, DELETE, FAILS, "SELECT FROM t", "VACUUM t",
        f"{UPDATE} RETURNING *", "BEGIN", "SET TimeZone = 'CET'", "UPDATE t SET", "UPDATE nix SET a = 1",
    )),
    *(said(f"parameters {text}", (extended(text, *values), "Z")) for text, *values in (
        ("SELECT $1::int + 1", "41"),
        ("INSERT INTO t VALUES ($1, $2, $3) RETURNING n", "20", "zwanzig", None),
        ("UPDATE t SET v = $2 WHERE id = $1", "1", "üü"),
        ("UPDATE t SET v = $1, n = $2 WHERE v = $1", "one", "5"),
        ("DELETE FROM t WHERE id = $1", "x"),
        ("DELETE FROM t WHERE id = $1", "3"),
        ("INSERT INTO t VALUES ($1) ON CONFLICT (id) DO UPDATE SET v = $2", "1", "up"),
        ("UPDATE t SET v = $1"),
    )),
    said("binary", (parse("UPDATE t SET n = $1 WHERE id = $2 RETURNING id, v, n", oids=(23, 23))
                    + bind(b"\0\0\0\5", b"\0\0\0\1", formats=(1,), results=(1,)) + execute() + SYNC, "Z")),
    said("mixed formats", (parse("UPDATE t SET n = $1 WHERE id = $2 RETURNING id, v, n")
                           + bind("5", b"\0\0\0\1", formats=(0, 1), results=(1, 0, 1)) + execute() + SYNC, "Z")),
    said("a format and no parameter", (parse(DELETE) + bind(formats=(1,), results=(1,)) + execute() + SYNC, "Z")),
    said("too many formats", (parse(DELETE) + bind(formats=(1, 1)) + execute() + SYNC, "Z")),
    said("too many values", (parse(DELETE) + bind("1") + execute() + SYNC, "Z")),
    said("too few values", (parse("UPDATE t SET v = $1") + bind() + execute() + SYNC, "Z")),
    said("each alone", (parse(UPDATE, "s") + FLUSH, "1"), (describe("s", "S") + FLUSH, "tn"),
         (bind(name="s", portal="p") + FLUSH, "2"), (describe("p") + FLUSH, "n"),
         (execute("p") + FLUSH, "C"), (close("p") + FLUSH, "3"), (close("s", "S") + FLUSH, "3"), (SYNC, "Z")),
    said("described", (parse("UPDATE t SET v = $2 WHERE id = $1 RETURNING v, n", "s") + describe("s", "S") + SYNC, "Z"),
         (bind("1", "x", name="s") + describe() + execute() + SYNC, "Z")),
    said("error, then the rest", (parse(FAILS) + bind() + execute() + parse(UPDATE) + bind() + execute()
                                  + query("SELECT 1") + copy_data("x") + SYNC, "Z"), (query("TABLE t"), "Z")),
    said("error at once", (parse("SELEC") , "E"), (bind() + execute(), ""), (SYNC, "Z")),
    said("write then error", (parse(UPDATE) + bind() + execute() + parse(FAILS) + bind() + execute() + SYNC, "Z"),
         (query("TABLE t"), "Z")),
    said("query in the pipeline", (parse("SELECT 1") + bind() + execute() + query("SELECT 2") + SYNC, "ZZ")),
    said("write by query in the pipeline", (parse(UPDATE) + bind() + execute() + query(DELETE) + SYNC, "ZZ")),
    *(said(f"{text} by query in the pipeline", (parse("SELECT 1") + bind() + execute() + query(text) + SYNC, "ZZ"))
      for text in ("SELECT loud(1)", "SELECT loud(1), 1/0", "TRUNCATE child", "CREATE TABLE made ()", "VACUUM t")),
    said("a long query in the pipeline", (parse(UPDATE) + bind() + execute() + query(f"SELECT length('{'x' * 1_100_000}')"), "Z"),
         (parse(FAILS) + bind() + execute() + SYNC, "Z"), (query("TABLE t"), "Z")),
    said("functions by query, no Sync between", (parse(UPDATE) + bind() + execute() + query("SELECT loud(1)"), "Z"),
         (parse(DELETE) + bind() + execute() + query("SELECT loud(2)") + SYNC, "ZZ")),
    said("undone behind a query in the pipeline", (parse(UPDATE) + bind() + execute() + query("SELECT loud(1)"), "Z"),
         (extended("INSERT INTO child VALUES (5)") [:-5] + parse(FAILS) + bind() + execute() + SYNC, "Z"), (query("TABLE t; TABLE child"), "Z")),
    said("several syncs", (extended(UPDATE) + extended(FAILS) + extended(DELETE) + SYNC + SYNC, "ZZZZZ")),
    said("two writes, one sync", (parse(UPDATE) + bind() + execute() + parse(DELETE) + bind() + execute() + SYNC, "Z")),
    said("unnamed statement is gone", (parse("SELECT 1") + SYNC, "Z"), (query(UPDATE), "Z"), (bind() + SYNC, "Z")),
    said("unnamed statement stays", (parse(UPDATE) + SYNC, "Z"), (bind() + execute() + SYNC, "Z"),
         (bind() + execute() + SYNC, "Z")),
    said("unnamed portal is gone", (parse("SELECT 1") + bind() + SYNC, "Z"), (execute() + SYNC, "Z")),
    said("portals stay in a transaction", (query("BEGIN"), "Z"), (parse("SELECT id FROM t ORDER BY id") + bind(portal="p") + SYNC, "Z"),
         (execute("p", 1) + SYNC, "Z"), (extended(UPDATE), "Z"), (execute("p", 1) + SYNC, "Z"), (query("COMMIT"), "Z"),
         (execute("p") + SYNC, "Z")),
    said("a few rows at a time", (parse("SELECT id FROM t ORDER BY id") + bind() + execute(limit=2) + execute(limit=2) + execute(limit=2) + SYNC, "Z")),
    said("a few rows of a write", (parse("UPDATE t SET v = 'r' RETURNING id") + bind() + execute(limit=2) + FLUSH, "s"),
         (execute(limit=9) + SYNC, "Z"), (query("SELECT v FROM t"), "Z")),
    said("a portal run twice", (parse(INSERT) + bind() + execute() + execute() + SYNC, "Z")),
    said("name in use", (parse(UPDATE, "s") + SYNC, "Z"), (parse(DELETE, "s") + SYNC, "Z"),
         (bind(name="s") + execute() + SYNC, "Z"), (query("TABLE t"), "Z")),
    said("another meaning", (parse(UPDATE, "s") + SYNC, "Z"), (bind(name="s") + execute() + SYNC, "Z"),
         (close("s", "S") + parse("SELECT $1::int", "s") + bind("7", name="s") + execute() + SYNC, "Z")),
    said("another unnamed meaning", (extended(UPDATE), "Z"), (extended("SELECT 1"), "Z"), (extended(DELETE), "Z")),
    said("failed parse leaves nothing", (parse("SELEC", "s") + SYNC, "Z"), (bind(name="s") + execute() + SYNC, "Z")),
    said("skipped parse leaves nothing", (parse("SELEC") + parse(UPDATE, "s") + SYNC, "Z"), (bind(name="s") + SYNC, "Z")),
    said("close of nothing", (close("nix", "S") + close("nix") + SYNC, "Z")),
    said("portal and statement of one name", (parse(UPDATE, "x") + bind(name="x", portal="x") + close("x") + SYNC, "Z"),
         (bind(name="x", portal="x") + execute("x") + SYNC, "Z")),
    said("deallocate before parse", (parse(UPDATE, "s") + SYNC, "Z"),
         (parse("DEALLOCATE ALL") + bind() + execute() + parse(DELETE, "s") + bind(name="s") + execute() + SYNC, "Z")),
    said("discard all", (parse(UPDATE, "s") + bind(name="s") + execute() + SYNC, "Z"), (query("DISCARD ALL"), "Z"),
         (bind(name="s") + execute() + SYNC, "Z"), (extended(UPDATE), "Z")),
    said("execute of a parsed one", (parse(UPDATE, "s") + SYNC, "Z"), (query("EXECUTE s"), "Z"), (query("TABLE t"), "Z")),
    said("describe of nothing", (describe("nix", "S") + SYNC, "Z"), (describe("nix") + SYNC, "Z"),
         (message("D", b"Q\0") + SYNC, "Z"), (message("C", b"Q\0") + SYNC, "Z")),
    said("table changed between", (parse(f"{UPDATE} RETURNING *", "s") + bind(name="s") + execute() + SYNC, "Z"),
         (query("ALTER TABLE t ADD COLUMN more int"), "Z"), (bind(name="s") + execute() + SYNC, "Z"),
         (parse(DELETE, "d") + SYNC, "Z"), (query("ALTER TABLE t DROP COLUMN more"), "Z"),
         (bind(name="d") + execute() + SYNC, "Z")),
    said("transaction by pieces", *((extended(text), "Z") for text in ("BEGIN", UPDATE, "SAVEPOINT a", FAILS, DELETE,
         "ROLLBACK TO a", DELETE, "COMMIT", "TABLE t"))),
    said("deep pipeline", (again(*(extended((UPDATE, "SELECT 1", FAILS, INSERT, DELETE)[n % 5]) for n in range(300))),
         "Z" * 300), (query("TABLE t"), "Z")),
    said("deep pipeline, one sync", (again(*(parse((UPDATE, "SELECT 1", DELETE)[n % 3]) + bind() + execute() for n in range(300))) + SYNC, "Z"),
         (query("TABLE t"), "Z")),
    said("many parameters", (extended("SELECT " + "+".join(f"${n}::int" for n in range(1, 1001)), *["1"] * 1000), "Z")),
    said("a long value", (extended("UPDATE t SET v = $1 WHERE id = 1 RETURNING length(v)", "x" * 1_500_000), "Z"),
         (extended("SELECT length(v) FROM t ORDER BY id"), "Z")),
    said("a long value by name", (parse("UPDATE t SET v = $1 WHERE id = 1", "s") + SYNC, "Z"),
         (bind("x" * 1_500_000, name="s") + execute() + SYNC, "Z"), (query("SELECT length(v) FROM t"), "Z")),
    said("a long row", (query("SELECT repeat('x', 3000000), 1"), "Z")),
    said("read only", (query("SET default_transaction_read_only = on"), "Z"), (extended(UPDATE), "Z"), (query(DELETE), "Z")),
    said("sync alone", (SYNC, "Z"), (SYNC + SYNC, "ZZ"), (FLUSH + SYNC, "Z")),
    said("goodbye in a pipeline", (parse(UPDATE) + bind() + execute() + TERMINATE, ".")),
)  # fmt: skip

MALFORMED = (
    said("unknown type", (message("y", b"\0"), ".")),
    said("unknown type behind a query", (query(UPDATE) + message("y", b"\0"), ".")),
    said("unknown type in a pipeline", (parse(UPDATE) + bind() + execute() + b"\0\0\0\0\4", ".")),
    said("length 3", (b"Q\0\0\0\3", ".")),
    said("negative length", (b"Q\xff\xff\xff\xffSELECT 1\0", ".")),
    said("two gigabytes", (b"Q\x7f\xff\xff\xff", ".")),
    said("long Sync", (b"S\0\1\0\0", ".")),
    said("long Describe", (b"D\0\1\0\0", ".")),
    said("long Terminate", (b"X\0\1\0\0", ".")),
    said("Bind of nothing", (message("B", b"") + SYNC, "Z"), (message("B", b"\0") + SYNC, "Z")),
    said("Bind cut short", (parse(UPDATE) + message("B", b"\0\0\0") + SYNC, "Z")),
    said("Bind with a length too long", (parse("SELECT $1::text") + message("B", b"\0\0\0\0\0\1\0\1\0\0") + SYNC, "Z")),
    said("Parse without its end", (message("P", b"s") + SYNC, "Z"), (message("P", b"s\0SELECT 1") + SYNC, "Z")),
    said("Parse without types", (message("P", b"\0SELECT 1\0") + SYNC, "Z")),
    said("Execute cut short", (parse(UPDATE) + bind() + message("E", b"\0") + SYNC, "Z")),
    said("Describe of nothing", (message("D", b"") + SYNC, "Z"), (message("C", b"") + SYNC, "Z")),
    said("Sync with a body", (message("S", b"x"), "Z")),
    said("the end in a message", (query(UPDATE)[:-5], "!")),
    said("half a head", (b"Q\0\0", "!")),
    said("no more to say", (extended("SELECT pg_sleep(0.05)") + query(UPDATE), "!")),
    said("no more to say in a transaction", (query("BEGIN") + query(UPDATE), "!")),
)  # fmt: skip

ALL = by_name(
    ("startup", STARTUP),
    ("simple", SIMPLE),
    ("copy", COPY),
    ("extended", EXTENDED),
    ("malformed", MALFORMED),
)
