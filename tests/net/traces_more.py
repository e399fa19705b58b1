"""More conversations that a proxy must not change: what is seldom said, and much of it at once.

As in traces.py; these are long, or go by number and not by name.
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
from traces import DELETE, FAILS, INSERT, UPDATE, by_name, said

LARGE = 77_777  # the number of a large object


def function(oid: int, *values: bytes | None) -> bytes:
    """A FunctionCall, all in binary."""
    head = struct.pack("!IHHH", oid, 1, 1, len(values))
    return message("F", head + b"".join(map(_argument, values)) + b"\0\1")


def _argument(value: bytes | None) -> bytes:
    return b"\xff\xff\xff\xff" if value is None else struct.pack("!i", len(value)) + value


def number(value: int) -> bytes:
    return struct.pack("!i", value)


# lo_create, lo_open, loread, lowrite, lo_close, lo_unlink (pg_proc.dat)
MAKE = function(715, number(LARGE))
OPEN = function(952, number(LARGE), number(0x60000))
READ = function(954, number(0), number(100))
WRITE = function(955, number(0), b"large")
CLOSE = function(953, number(0))
UNLINK = function(964, number(LARGE))
ADD = function(177, number(2), number(3))  # int4pl

EVERY = ",".join(f"${n}::int" for n in range(1, 65_536))
FLUSHED = parse("COPY t FROM STDIN") + bind() + execute()

LARGE_OBJECTS = (
    said("a large object", (query("BEGIN"), "Z"), (MAKE, "Z"), (OPEN, "Z"), (WRITE, "Z"), (CLOSE, "Z"),
         (UNLINK, "Z"), (query("COMMIT"), "Z")),
    said("at once", (query("BEGIN") + MAKE + OPEN + WRITE + CLOSE + OPEN + READ + UNLINK + query("COMMIT"), "Z" * 9)),
    said("of none", (function(953, number(7)), "Z"), (UNLINK, "Z"), (function(715, None), "Z")),
    said("in a failed transaction", (query("BEGIN") + query(FAILS), "ZZ"), (MAKE, "Z"), (query("ROLLBACK"), "Z")),
    said("behind what runs nothing", (close("nix") + ADD + SYNC, "ZZ"), (parse(UPDATE) + ADD + SYNC, "ZZ"), (parse("SELEC") + ADD + SYNC, "Z"),
         (describe("nix", "S") + ADD + SYNC, "Z"), (query("SELECT 1"), "Z")),
    # What comes after it 18 answers with an error of its own making: its state is not as it expects.
    said("behind an Execute", (parse(UPDATE) + bind() + execute() + ADD + SYNC, "ZZ")),
)  # fmt: skip

MANY = (
    said("65535 parameters", (extended(f"SELECT cardinality(ARRAY[{EVERY}])", *["1"] * 65_535), "Z")),
    said("65535 parameters of a write",
         (extended(f"UPDATE t SET v = 'all' WHERE id = ANY(ARRAY[{EVERY}]) RETURNING id", *["1"] * 65_535), "Z")),
    said("1000 deep, wrong in the middle", (b"".join(
        extended(FAILS if n % 97 == 0 else (UPDATE, "SELECT 1", DELETE, "SELECT loud(1)")[n % 4]) for n in range(1000)), "Z" * 1000),
         (query("TABLE t"), "Z")),
)  # fmt: skip

NEVER = (
    "MERGE INTO t USING child c ON t.id = c.t WHEN MATCHED THEN DELETE WHEN MATCHED THEN DO NOTHING"
)
BAD_BODY = "CREATE FUNCTION bad() RETURNS int LANGUAGE sql AS 'SELEC 1'"
BAD_TEXT = "DO $$ BEGIN EXECUTE 'SELEC 1'; END $$"
SHOWN = "SELECT name, statement, is_holdable FROM pg_cursors"
HOLD = "DECLARE c CURSOR WITH HOLD FOR SELECT loud(1)"

VACUUMS = "CREATE FUNCTION vacuums() RETURNS int LANGUAGE sql AS 'VACUUM t; SELECT 1'"

IN_BLOCKS = (
    said("what must stand alone, in a function", (query(VACUUMS), "Z"), (query("SELECT vacuums()"), "Z"),
         (query("SELECT 1 AS one, vacuums()"), "Z"), (query(f"{UPDATE}; SELECT vacuums()"), "Z")),
    *(said(f"no SQL of a sort, in a block: {text}", (query(f"BEGIN; {INSERT}"), "Z"), (query(text), "Z"), (query("COMMIT"), "Z"))
      for text in (NEVER, BAD_BODY, BAD_TEXT, "INSERT INTO t (id) VALUES", f"{UPDATE}; SELEC 1")),
    said("a cursor shows its text", (query(HOLD), "Z"), (query(SHOWN), "Z"), (query("CLOSE ALL"), "Z"),
         (query("BEGIN"), "Z"), (query(HOLD), "Z"), (query(SHOWN), "Z"), (query("COMMIT"), "Z"), (query(SHOWN), "Z")),
    said("a cursor in a pipeline shows its text", (parse(UPDATE) + bind() + execute() + query(HOLD) + query(SHOWN) + SYNC, "ZZZ"),
         (query(SHOWN), "Z")),
)  # fmt: skip

PIPED = (
    *(said(f"rows by one, {text}", (parse(f"{text} RETURNING *") + bind() + execute(limit=1) + execute(limit=1) + SYNC, "Z"),
           (query("TABLE t"), "Z")) for text in (INSERT, UPDATE, DELETE, "UPDATE t SET n = n + 1")),
    said("deallocated by an Execute", (query("PREPARE d AS DEALLOCATE ALL"), "Z"), (parse(UPDATE, "s") + SYNC, "Z"),
         (query("DEALLOCATE s"), "Z"), (bind(name="s") + execute() + SYNC, "Z")),
    said("columns changed behind a Parse", (parse("SELECT * FROM t ORDER BY id", "s") + SYNC, "Z"),
         (query("ALTER TABLE t ADD COLUMN more int"), "Z"), (bind(name="s") + execute() + SYNC, "Z")),
    said("columns of RETURNING changed behind a Parse", (parse(f"{UPDATE} RETURNING *", "s") + SYNC, "Z"),
         (query("ALTER TABLE t ALTER n TYPE bigint"), "Z"), (bind(name="s") + execute() + SYNC, "Z")),
    said("table dropped behind a Parse", (parse("DELETE FROM child", "s") + SYNC, "Z"), (query("DROP TABLE child"), "Z"),
         (bind(name="s") + execute() + SYNC, "Z")),
    said("where it is wrong", *((extended(text), "Z") for text in (
        "UPDATE t SET v = 'üü' WHERE nix = 1", "UPDATE t SET v = 'üü' RETURNING nix", "INSERT INTO t (nix) VALUES ('ü')",
        "DELETE FROM t WHERE v = 'ü' AND", "UPDATE t SET n = 'ü'", "INSERT INTO t VALUES (11, 'ü', 'x')"))),
    said("copied in a pipeline, given up", (FLUSHED + FLUSH, "G"), (message("f", b"no\0") + SYNC, "Z"), (query("TABLE t"), "Z")),
    said("copied in a pipeline, wrong", (FLUSHED + FLUSH, "G"), (copy_data("x\n") + COPY_DONE + SYNC, "Z"), (query("SELECT 1"), "Z")),
    said("copied before it was asked", (FLUSHED + copy_data("7\ta\t1\n") + COPY_DONE + SYNC, "Z"), (query("TABLE t"), "Z")),
    said("told of it", (query("LISTEN a"), "Z"), (extended("NOTIFY a, 'x'"), "Z"),
         (extended("BEGIN") + extended("NOTIFY a, 'y'") + extended(UPDATE) + extended("COMMIT"), "ZZZZ"),
         (parse("NOTIFY a, 'z'") + bind() + execute() + parse(UPDATE) + bind() + execute() + SYNC, "Z")),
    said("settings by pieces", *((extended(text), "Z") for text in (
        "BEGIN", "SET TimeZone = 'CET'", UPDATE, "ROLLBACK", "SET application_name = 'ü'", DELETE, "RESET ALL"))),
)  # fmt: skip

SILENT = (
    *(said(f"no more to say behind {text}", (query(text), "!")) for text in (
        "DO $$ BEGIN COMMIT; END $$", "DO $$ BEGIN UPDATE t SET n = 9; COMMIT; END $$", "SELECT loud(1)", "SELECT 1/0, loud(1)",
        "UPDATE t SET n = 9", "UPDATE t SET nix = 9", "UPDATE t SET v = loud(id)", "INSERT INTO t VALUES (1)", "VACUUM t", "TRUNCATE t, child",
        "COPY t FROM STDIN", "COPY nix FROM STDIN", "COPY t FROM  TDIN", "COPY:t FROM STDIN", "COPY (SELECT 1)fTO STDOUT", "PREPARE p AS DELETE FROM t", "DECLARE c CURSOR FOR SELECT 1")),
    *(said(f"no more to say in a pipeline behind {text}", (parse(UPDATE) + bind() + execute() + query(text), "!"))
      for text in ("SELECT loud(1)", "TRUNCATE child", DELETE, "DO $$ BEGIN COMMIT; END $$")),
    said("no more to say behind a function", (ADD, "!")),
    said("no more to say behind a pipeline", (extended(DELETE) + extended("SELECT loud(1)"), "!")),
)  # fmt: skip

ALL_MORE = by_name(
    ("large objects", LARGE_OBJECTS),
    ("many", MANY),
    ("in blocks", IN_BLOCKS),
    ("piped", PIPED),
    ("silent", SILENT),
)
