"""Writes that are more than one message: parameters, batches, COPY in its formats, cursors of the
protocol, transactions in two phases that another session may end, large objects."""

import struct
from collections.abc import Callable

import psycopg
import pytest
from forms_bed import EXTENDED, PREPARED, SIMPLE, Bed, Case, Open, send

SETUP = """
CREATE TABLE t (id int PRIMARY KEY, v text, n numeric);
INSERT INTO t SELECT g, 'v' || g, g FROM generate_series(1, 9) g;
CREATE TABLE parted (id int, k int, v text) PARTITION BY LIST (k);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
CREATE TABLE parted_2 (v text, k int, id int); ALTER TABLE parted ATTACH PARTITION parted_2 DEFAULT;
CREATE FUNCTION bump(i int) RETURNS int LANGUAGE plpgsql AS
  $$ BEGIN UPDATE t SET v = v || '+' WHERE id = i; RETURN i; END $$;
CREATE VIEW through AS SELECT id, v FROM t;
CREATE FUNCTION instead() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN INSERT INTO t VALUES (new.id, new.v, -1); RETURN new; END $$;
CREATE TRIGGER instead INSTEAD OF INSERT ON through FOR EACH ROW EXECUTE FUNCTION instead();
"""
VALUES = (
    ("INSERT INTO t VALUES ($1, $2, $3) RETURNING id, n", 100, "O'Neil; -- $1", "1.50"),
    ("INSERT INTO t (id, v) VALUES ($1, $2), ($3, $2)", 101, None, 102),
    ("UPDATE t SET v = $1 || v, n = n + $2 WHERE id = ANY ($3) RETURNING *", "p-", 5, [1, 2, 3]),
    ("UPDATE t SET v = coalesce($1, v) WHERE id = $2", None, 4),
    ("INSERT INTO t (id, v) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET v = $2", 5, "five"),
    ("DELETE FROM t WHERE v LIKE $1 OR id = $2 RETURNING $2::int + id AS shifted", "v7%", 8),
    ("WITH k AS (SELECT $1::int AS id) UPDATE t SET v = $2 FROM k WHERE k.id = t.id", 6, "six"),
    ("WITH d AS (DELETE FROM t WHERE id = $1 RETURNING *) SELECT $2::text, v FROM d", 9, "x"),
    ("MERGE INTO t USING (VALUES ($1::int)) s(id) ON s.id = t.id WHEN MATCHED THEN DELETE", 1),
    ("SELECT bump($1)", 2),
    ("INSERT INTO parted VALUES ($1, $2, $3)", 1, 2, "parted"),
)


def batch(open_: Open) -> None:
    with open_().cursor() as cursor:
        cursor.executemany("INSERT INTO t VALUES (%s, %s)", [(n, f"b{n}") for n in range(50, 60)])
        cursor.executemany("UPDATE t SET v = %s WHERE id = %s", [("x", n) for n in range(1, 8)])


def pipelined(open_: Open) -> None:
    connection = open_()
    with connection.pipeline():
        connection.execute("BEGIN")
        for n in range(1, 5):
            connection.execute("DELETE FROM t WHERE id = %s", (n,))
        connection.execute("SELECT bump(9)")
        connection.execute("COMMIT")
        connection.execute("TRUNCATE parted")
        connection.execute("INSERT INTO t VALUES (%s)", (77,))


def by_cursor(open_: Open) -> None:
    """A named portal's rows are fetched in pieces while the connection writes."""
    connection = open_()
    with connection.transaction(), connection.cursor("slow") as cursor:
        cursor.itersize = 2
        cursor.execute("SELECT bump(id), id FROM t ORDER BY id")
        for _, number in cursor.fetchmany(5):
            connection.execute("UPDATE t SET n = -n WHERE id = %s", (number,))
        connection.execute("DELETE FROM t WHERE CURRENT OF slow")


def copy(text: str, *rows: bytes) -> Callable[[Open], None]:
    def given(open_: Open) -> None:
        with open_().cursor().copy(text) as into:
            for row in rows:
                into.write(row)

    return given


def binary(*rows: tuple[int, bytes | None]) -> bytes:
    """Rows of an integer and a text, as COPY's binary format has them."""
    head = b"PGCOPY\n\xff\r\n\0" + bytes(8)
    body = b"".join(
        struct.pack("!hii", 2, 4, number)
        + (struct.pack("!i", -1) if text is None else struct.pack("!i", len(text)) + text)
        for number, text in rows
    )
    return head + body + struct.pack("!h", -1)


def copy_after_truncate(open_: Open) -> None:
    connection = open_()
    connection.execute("BEGIN; TRUNCATE t")
    copy("COPY t FROM STDIN", b"1\tnew\t1\n2\tnew\t2\n")(lambda: connection)
    connection.execute("UPDATE t SET v = 'newer' WHERE id = 2; COMMIT")


def copy_that_fails(open_: Open) -> None:
    connection = open_()
    with pytest.raises(psycopg.errors.UniqueViolation):
        copy("COPY t FROM STDIN", b"70\tnew\t1\n1\tnew\t2\n")(lambda: connection)
    connection.execute("BEGIN; SAVEPOINT a")
    copy("COPY t FROM STDIN", b"71\tnew\t1\n")(lambda: connection)
    connection.execute("ROLLBACK TO a; COMMIT")


COPIES = {
    "text": copy(
        "COPY t FROM STDIN", b"20\ttab\\tin\t2.50\n21\t\\N\t\\N\n", b"22\tback\\\\sl", b"ash\t-1\n"
    ),
    "csv": copy(
        "COPY t (id, v) FROM STDIN WITH (FORMAT csv, HEADER)",
        b'id,v\n20,"quoted, with\ncomma"\n21,\n',
    ),
    "binary": copy(
        "COPY t (id, v) FROM STDIN (FORMAT binary)", binary((20, b"twenty"), (21, None))
    ),
    "some of the rows": copy("COPY t FROM STDIN WHERE id > 20", b"20\ta\t1\n21\tb\t2\n"),
    "partitions": copy("COPY parted FROM STDIN", b"1\t1\ta\n2\t2\tb\n"),
    "a partition": copy("COPY parted_2 FROM STDIN", b"a\t7\t1\n"),
    "a view": copy("COPY through FROM STDIN", b"30\tinstead\n"),
    "after a truncate": copy_after_truncate,
}


@pytest.mark.parametrize("name", COPIES)
def test_copy(bed: Bed, name: str) -> None:
    bed.prove(Case(COPIES[name], SETUP, again=True))


def test_copy_that_fails(bed: Bed) -> None:
    bed.prove(Case(copy_that_fails, SETUP, same=True))


@pytest.mark.parametrize("write", [batch, pipelined, by_cursor], ids=lambda write: write.__name__)
def test_many_messages(bed: Bed, write: Callable[[Open], None]) -> None:
    bed.prove(Case(write, SETUP, again=True))


def test_parameters(bed: Bed) -> None:
    bed.prove(Case(VALUES, SETUP, (EXTENDED, PREPARED), again=True))


def test_prepared_statements_run_again(bed: Bed) -> None:
    again = tuple(("UPDATE t SET v = $1 WHERE id = $2", f"x{n}", n) for n in range(1, 9))
    bed.prove(Case(again, SETUP, (EXTENDED, PREPARED), again=True))


WRITES = (
    "UPDATE t SET v = 'two' WHERE id = 1",
    "SELECT bump(2)",
    "TRUNCATE parted",
    "DELETE FROM t WHERE id > 7",
)


def two_phases(end: str, way: str, *, elsewhere: bool) -> Callable[[Open], None]:
    """`elsewhere`: it is another session that ends it, under another tag and as another role."""

    def write(open_: Open) -> None:
        first = open_()
        for text in ("BEGIN", *WRITES, "PREPARE TRANSACTION 'phase'"):
            send(first, text, None, way)
        if elsewhere:
            first.close()
            second = open_("postgres", **{"hotrollback.tag": "another"})
        else:
            send(first, "SELECT 1", None, way)
            second = first
        send(second, f"{end} PREPARED 'phase'", None, way)

    return write


@pytest.mark.parametrize("elsewhere", [False, True], ids=["by itself", "by another"])
@pytest.mark.parametrize("way", [SIMPLE, EXTENDED, PREPARED])
def test_two_phases(bed: Bed, way: str, *, elsewhere: bool) -> None:
    bed.prove(Case(two_phases("COMMIT", way, elsewhere=elsewhere), SETUP, again=True))
    assert bed.direct.execute(
        "SELECT count(*) FROM hotrollback.change WHERE tag = 'another'"
    ).fetchall() == [(0,)]


@pytest.mark.parametrize("elsewhere", [False, True], ids=["by itself", "by another"])
def test_two_phases_rolled_back(bed: Bed, *, elsewhere: bool) -> None:
    bed.prove(Case(two_phases("ROLLBACK", SIMPLE, elsewhere=elsewhere), SETUP, same=True))


def test_a_transaction_in_two_phases_is_one(bed: Bed) -> None:
    """Also by its number, and by the session that wrote."""
    case = Case(two_phases("COMMIT", SIMPLE, elsewhere=True), SETUP)
    bed.prove(case)
    found = bed.direct.execute(
        "SELECT DISTINCT c.xid, pg_xact_status(c.xid::text::xid8) FROM hotrollback.change c"
        " WHERE c.tag = %s",
        (bed.tag,),
    ).fetchall()
    assert [status for _, status in found] == ["committed"]
    (transaction,) = bed.rows(f"SHOW TRANSACTIONS TAG '{bed.tag}'")
    assert (transaction["xid"], transaction["role"]) == (found[0][0], "app")


def large_objects(open_: Open) -> None:
    connection = open_()
    connection.execute("INSERT INTO t VALUES (80)")
    with connection.transaction():
        number = connection.execute("SELECT lo_create(0)").fetchone()[0]
        connection.execute(f"SELECT lo_put({number}, 0, 'x')")


def test_large_objects_are_gaps(bed: Bed) -> None:
    gaps = {("large_object", "pg_largeobject"), ("large_object", "pg_largeobject_metadata")}
    bed.prove(Case(large_objects, SETUP, gaps=frozenset(gaps)))
