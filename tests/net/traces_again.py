"""Conversations in which a simple query comes again and again with other values: then a proxy may
run something else in its place. As in traces.py.
"""

from raw import SYNC, bind, execute, extended, message, parse, query
from traces import Beside, Conversation, Step, by_name, said

TIMES = 7  # the sixth is prepared, and the seventh uses that

MORE = (
    "CREATE TYPE mood AS ENUM ('sad', 'ok')",
    "CREATE TABLE x (id int PRIMARY KEY, c varchar(3), d date, s smallint, m mood, b bigint, q numeric(6, 2),"
    " j jsonb, CHECK (s < 1000))",
    "INSERT INTO x SELECT g, 'a', '2026-01-01', 1, 'ok', 1, 1, '{}' FROM generate_series(1, 9) g",
)


def asked(*texts: str | bytes) -> tuple[Step, ...]:
    return tuple((query(text), "Z") for text in texts)


def again(text: str, *values: object, times: int = TIMES) -> tuple[str, ...]:
    """The text with the numbers 1, 2 .. for `?`, and then with each of the values."""
    return tuple(text.replace("?", str(value)) for value in (*range(1, times + 1), *values))


def both(name: str, *texts: str | bytes, before: tuple[str, ...] = ()) -> tuple[Conversation, ...]:
    """Each statement a transaction, and all of them one."""
    look = asked("TABLE t", "TABLE child")
    return (
        said(f"{name}", *asked(*before, *texts), *look),
        said(f"{name}, in a block", *asked(*before, "BEGIN", *texts, "COMMIT"), *look),
        said(f"{name}, in parts of a block", *asked(*before, "BEGIN", "SAVEPOINT a", *texts, "ROLLBACK TO a",
             *texts[:TIMES], "COMMIT"), *look),
    )  # fmt: skip


WRITES = (
    *both("numbers", *again("UPDATE t SET n = n + ? WHERE id = ?", 70000, 0)),
    *both("numbers of other types", *again("UPDATE t SET n = ?", 2147483647, 2147483648, "5.5", "9223372036854775808", 7, 8)),
    *both("minus", *again("UPDATE t SET n = -? WHERE n <> - ?", 2147483648, 2147483648, 2147483649)),
    *both("strings", *again("UPDATE t SET v = 'a ''quoted'' ?' WHERE id = 1;", "\\", "ü", "")),
    *both("rows", *again("INSERT INTO t (v, id) VALUES ('new ?', 1?), ('other', 2?)", 1, 7)),
    *both("rows without names", *again("INSERT INTO t VALUES (3?, 'x', ?)", "3, 4")),
    *both("gone", *again("DELETE FROM t WHERE id IN (?, 77)", 9)),
    *both("signs", *again("UPDATE t AS u SET v = 'y' WHERE u.v = 'y' OR (n BETWEEN ? AND 5 AND NOT n = ?)", 3)),
    *both("a query", *again("SELECT v, ? AS no FROM t WHERE id = ?", 7), "SELECT 1 / 0", "SELECT n / 0 FROM t"),
    *both("blanks and comments", *again(" UPDATE\tt SET n = ?\nWHERE id=? ", 2), *again("UPDATE t SET n = ? /* 1 */", 2)),
    *both("in conflict", *again("INSERT INTO t VALUES (?, 'x') ON CONFLICT (id) DO UPDATE SET n = ?", 3)),
    *both("returning", *again("UPDATE t SET n = ? WHERE id < 3 RETURNING id, n, 5 AS five", 3)),
    *both("other types", *again("UPDATE x SET c = 'b?', d = '2026-01-0?', s = ?, m = 'sad', b = '?', q = ?.5, j = '[?]'"
          " WHERE id = ?", 6), "SELECT to_jsonb(x) FROM x", before=MORE),
)  # fmt: skip

REFUSED = {
    "twice": again("INSERT INTO t (id, v) VALUES (5?, 'x')", 1, 2, 9),
    "no number": again("UPDATE t SET n = '?' WHERE id = 1", "abc", 5, "9999999999"),
    "too long": again("UPDATE x SET c = 'a?' WHERE id = 1", "bcd", 5),
    "no date": again("UPDATE x SET d = '2026-01-0?' WHERE id = 2", 77, 5),
    "no label": (
        "UPDATE x SET m = 'ok'",
        "UPDATE x SET m = 'sad'",
        "UPDATE x SET m = 'ok'",
        "UPDATE x SET m = 'glad'",
    ),
    "no json": again("UPDATE x SET j = '{?' WHERE id < 0"),
    "too big": again("UPDATE x SET s = ? WHERE id = 3", 40000, 999, 1000),
    "too precise": again("UPDATE x SET q = ?.5 WHERE id = 3", 9999, 99999),
    "by zero": again("UPDATE t SET n = n / ? WHERE id = 1", 0, 2),
    "no such column": again("UPDATE t SET nix = ? WHERE id = 1"),
    "no such operator": again("UPDATE t SET n = 1 WHERE v > ?"),
    "nobody's": again("INSERT INTO child (id, t) VALUES (?, 3)", 9),
}
FAILURES = tuple(
    conversation
    for name, texts in REFUSED.items()
    for conversation in both(name, *texts, before=MORE)
)
LATE = (
    said("fails at the commit", *asked(*again("INSERT INTO child VALUES (?, 3)"), "INSERT INTO child VALUES (8, 88)",
         "INSERT INTO child VALUES (9, 2)", "TABLE child")),
    said("read only", *asked(*again("UPDATE t SET n = ?"), "BEGIN READ ONLY", "UPDATE t SET n = 9", "ROLLBACK",
         "SET default_transaction_read_only = on", "UPDATE t SET n = 9", "RESET default_transaction_read_only",
         "UPDATE t SET n = 9")),
    said("no valid text", *asked(*again("UPDATE t SET v = 'ä?'"), b"UPDATE t SET v = '\xc3\xa4\xff'",
         "BEGIN", *again("UPDATE t SET v = 'ä?'"), b"UPDATE t SET v = '\xc3\xa4\xff'", "ROLLBACK", "TABLE t")),
    said("another encoding", *asked("SET client_encoding = 'LATIN1'", *(text.encode("latin-1") for text in
         again("UPDATE t SET v = 'ä?'")), "TABLE t")),
    said("strings that are not standard", *asked(*again("UPDATE t SET v = 'a?'"), "SET standard_conforming_strings = off",
         *again(r"UPDATE t SET v = 'a?\'b'"), "RESET standard_conforming_strings", *again("UPDATE t SET v = 'a?'"), "TABLE t")),
)  # fmt: skip

UPDATES = again("UPDATE t SET n = ? WHERE id = 1")
INSERTS = again("INSERT INTO t (id) VALUES (1?)")
LOST = tuple(
    said(f"{name}", *asked(*UPDATES, *between, *UPDATES, "TABLE t"))
    for name, between in {
        "discarded": ("DISCARD ALL", "SET search_path = w, public"),
        "deallocated": ("DEALLOCATE ALL",),
        "deallocated by a function": ("DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$",),
        "in another schema": ("CREATE TEMP TABLE t AS SELECT 1 AS id, 0 AS n", "DROP TABLE pg_temp.t"),
        "renamed": ("ALTER TABLE t RENAME n TO m", "ALTER TABLE t RENAME m TO n"),
        "a column more": ("ALTER TABLE t ADD z int",),
        "without the column": ("ALTER TABLE t DROP n",),
        "another type": ("ALTER TABLE t ALTER n TYPE bigint",),
        "without the table": ("DROP TABLE t CASCADE",),
        "prepared ones shown": ("SELECT count(*) FROM pg_prepared_statements",),
    }.items()
) + tuple(
    said(f"{name}, by another", *asked(*UPDATES), (Beside(text), ""), *asked("SELECT 1", *UPDATES, "TABLE t"))
    for name, text in {
        "a column more": "ALTER TABLE w.t ADD z int",
        "without the column": "ALTER TABLE w.t DROP n",
        "another type": "ALTER TABLE w.t ALTER n TYPE bigint",
        "without the table": "DROP TABLE w.t CASCADE",
    }.items()
)  # fmt: skip

BESIDE = (
    said("behind the unnamed statement", (parse("SELECT 7") + SYNC, "Z"), *asked(*UPDATES[:2]),
         (parse("SELECT 8") + SYNC, "Z"), *asked(UPDATES[2]), (bind() + execute() + SYNC, "Z")),
    said("behind the unnamed statement, refused", *asked(*INSERTS), (parse("SELECT 7") + SYNC, "Z"),
         *asked(INSERTS[0]), (bind() + execute() + SYNC, "Z")),
    said("behind the unnamed portal", *asked(*UPDATES, "BEGIN"), (parse("TABLE t") + bind() + execute(limit=1) + SYNC, "Z"),
         *asked(UPDATES[0]), (execute() + SYNC, "Z"), *asked("ROLLBACK")),
    said("at once", *asked(*UPDATES), (b"".join(map(query, UPDATES)), "ZZZZ"), *asked("TABLE t")),
    said("in a pipeline", *asked(*UPDATES), (parse("UPDATE t SET n = 50") + bind() + execute() + query(UPDATES[1]) + SYNC, "ZZ"),
         *asked("TABLE t")),
    said("between extended ones", *asked(*UPDATES), (extended(UPDATES[1]), "Z"), *asked(*UPDATES),
         (extended(UPDATES[1]), "Z"), *asked("TABLE t")),
    said("two in one", *asked(*again("UPDATE t SET n = ?; UPDATE t SET v = '?'")), *asked("TABLE t")),
    said("broken off", *asked(*UPDATES), (message("Q", b"UPDATE t SET n = 1 WHERE id = 1"), "!")),
)  # fmt: skip

ALL_AGAIN = by_name(
    ("again", (*WRITES, *BESIDE)),
    ("refused", (*FAILURES, *LATE)),
    ("lost", LOST),
)
