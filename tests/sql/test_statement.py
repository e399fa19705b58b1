"""Where statements begin and end, and the spans of those that write rows."""

import pytest

from proxy.sql.analyse import analyse
from proxy.sql.kinds import Kind
from proxy.sql.statement import Statement


def one(text: bytes) -> Statement:
    analysis = analyse(text)
    assert analysis.error is None
    (statement,) = analysis.statements
    return statement


def cut(text: bytes, span: tuple[int, int] | None) -> bytes | None:
    return None if span is None else text[span[0] : span[1]]


ATOMIC = (
    b"CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END;"
    b" SELECT 2 AS end; END"
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", []),
        (b" ;; -- nothing\n;", []),
        (b"SELECT 1; SELECT ';' ;", [b"SELECT 1", b"SELECT ';'"]),
        (b"/* a */ SELECT 1 /* b */ -- c", [b"SELECT 1"]),
        (
            b"CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2); SELECT 3",
            [b"CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2)", b"SELECT 3"],
        ),
        (ATOMIC + b"; SELECT 3", [ATOMIC, b"SELECT 3"]),
        (b"BEGIN; SELECT 1; END; SELECT 2", [b"BEGIN", b"SELECT 1", b"END", b"SELECT 2"]),
        (
            b"CREATE PROCEDURE p() BEGIN ATOMIC END; SELECT 1",
            [b"CREATE PROCEDURE p() BEGIN ATOMIC END", b"SELECT 1"],
        ),
    ],
)
def test_split(text, expected):
    assert [statement.slice(text) for statement in analyse(text).statements] == expected


@pytest.mark.parametrize("text", [b"SELECT (1", b"SELECT 1)", b"SELECT (1]", b"SELECT 'a"])
def test_what_cannot_be_read_is_one_opaque_statement(text):
    analysis = analyse(text)
    assert analysis.error is not None
    (statement,) = analysis.statements
    assert statement.kind is Kind.UNKNOWN
    assert not statement.understood
    assert (statement.start, statement.end) == (0, len(text))


@pytest.mark.parametrize(
    ("text", "target", "alias"),
    [
        (b"UPDATE t SET a = 1", (None, "t"), None),
        (b"UPDATE T set set = 1", (None, "t"), None),
        (b"UPDATE ONLY s.t * AS x SET a = 1", ("s", "t"), "x"),
        (b"UPDATE only (t) y SET a = 1", (None, "t"), "y"),
        (b'UPDATE db."S"."T" "A" SET a = 1', ("S", "T"), "A"),
        (b"UPDATE t values SET a = 1", (None, "t"), "values"),
        (b"UPDATE s.select SET a = 1", ("s", "select"), None),
        (b"DELETE FROM t", (None, "t"), None),
        (b"DELETE FROM t USING u WHERE true", (None, "t"), None),
        (b"DELETE FROM t x RETURNING 1", (None, "t"), "x"),
        (b"INSERT INTO t VALUES (1)", (None, "t"), None),
        (b"INSERT INTO t AS x (a) SELECT 1", (None, "t"), "x"),
        (b"INSERT INTO t (SELECT 1)", (None, "t"), None),
        (b"INSERT INTO t DEFAULT VALUES", (None, "t"), None),
        (b"WITH t AS (SELECT 1) INSERT INTO u TABLE t", (None, "u"), None),
        (b"MERGE INTO ONLY t a USING s ON true WHEN MATCHED THEN DELETE", (None, "t"), "a"),
    ],
)
def test_target(text, target, alias):
    statement = one(text)
    assert statement.understood
    assert statement.target == target
    assert statement.alias == alias
    assert statement.target_only == (b"ONLY" in text.upper())
    assert statement.agreed


@pytest.mark.parametrize(
    "text",
    [
        b'UPDATE U&"d\\0061t" SET a = 1',
        b"UPDATE t x y SET a = 1",
        b"UPDATE select SET a = 1",
        b"UPDATE a.b.c.d SET a = 1",
        b"UPDATE t",
        b"UPDATE ONLY (t SET) a = 1",
        b"DELETE t",
        b"DELETE FROM",
        b"INSERT INTO",
        b"INSERT INTO t x VALUES (1)",
        b"INSERT INTO ONLY t VALUES (1)",
        b"INSERT INTO t VALUES (1) ON CONFLICT DO SELECT",
        b"UPDATE t SET a = 1 RETURNING",
        b"UPDATE t SET a = 1 RETURNING WITH (OLD x) a",
        b"UPDATE " + "\u00e4".encode() * 40 + b" SET a = 1",
        b"UPDATE t FOR PORTION OF p FROM 1 TO 2 SET a = 1",
    ],
)
def test_not_understood_rather_than_guessed(text):
    statement = one(text)
    assert not statement.understood
    assert not statement.agreed
    assert statement.target is None


def test_spans_of_everything_at_once():
    text = (
        b"/* h */ WITH RECURSIVE a(x) AS MATERIALIZED (SELECT 1), b AS (SELECT 2)"
        b" INSERT INTO s.t AS i (k, v) OVERRIDING USER VALUE SELECT x, 'RETURNING' FROM a"
        b" ON CONFLICT (k) WHERE k > 0 DO UPDATE SET v = excluded.v"
        b' RETURNING WITH (OLD AS o, NEW AS "N") o.k, *, "N".* -- c\n;'
    )
    statement = one(text)
    assert statement.understood
    assert cut(text, statement.with_span) == b"a(x) AS MATERIALIZED (SELECT 1), b AS (SELECT 2)"
    assert statement.recursive
    assert text[statement.body_start :].startswith(b"INSERT INTO s.t")
    assert text[: statement.target_end].endswith(b"s.t AS i")
    assert cut(text, statement.overriding) == b"OVERRIDING USER VALUE"
    assert statement.has_on_conflict
    assert statement.do_update
    assert text[statement.returning_start :].startswith(b"RETURNING WITH")
    assert cut(text, statement.returning_with) == b'WITH (OLD AS o, NEW AS "N")'
    assert cut(text, statement.returning) == b'o.k, *, "N".*'
    assert statement.returning_list_start == statement.returning[0]
    assert statement.returning_aliases == ("o", "N")
    assert statement.returning_columns == (False, True, True)
    assert statement.returning_items is None
    assert text[statement.end :] == b" -- c\n;"
    assert not statement.ctes_write
    assert statement.agreed


@pytest.mark.parametrize(
    ("text", "span", "columns"),
    [
        (b"DELETE FROM t RETURNING a * b, f(c, d), ARRAY[1, 2]", b"a * b, f(c, d), ARRAY[1, 2]", 3),
        (b"UPDATE t SET a = returning(1)", None, None),
        (b"INSERT INTO t SELECT a AS returning FROM x", None, None),
        (b"INSERT INTO t SELECT x.returning FROM x", None, None),
        (
            b"INSERT INTO t VALUES (1) RETURNING 'returning' AS returning",
            b"'returning' AS returning",
            1,
        ),
        (b"UPDATE t SET a = (SELECT json_value(b, '$' RETURNING int))", None, None),
        (b"WITH x AS (DELETE FROM u RETURNING 1) UPDATE t SET a = 1", None, None),
        (b'UPDATE t SET "returning" = 1', None, None),
        (b"UPDATE t SET a = $2 RETURNING $1::int", b"$1::int", 1),
    ],
)
def test_returning(text, span, columns):
    statement = one(text)
    if b"returning(" in text:
        # The word is reserved: the server refuses this, whatever we make of it.
        assert statement.returning is not None
        return
    assert cut(text, statement.returning) == span
    assert statement.returning_items == columns


@pytest.mark.parametrize(
    ("text", "conflict", "update"),
    [
        (b"INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING", True, False),
        (b"INSERT INTO t VALUES (1) ON CONFLICT ON CONSTRAINT c DO UPDATE SET a = 1", True, True),
        (b"INSERT INTO t SELECT 1 FROM a JOIN conflict ON conflict.do = 1", False, False),
        (b"INSERT INTO t SELECT 1 FROM a JOIN b ON conflict", False, False),
        (
            b"INSERT INTO t SELECT 1 FROM a JOIN b ON conflict(1) ON CONFLICT DO NOTHING",
            True,
            False,
        ),
    ],
)
def test_on_conflict(text, conflict, update):
    statement = one(text)
    assert statement.understood
    assert (statement.has_on_conflict, statement.do_update) == (conflict, update)


@pytest.mark.parametrize(
    ("text", "writes"),
    [
        (b"WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x", True),
        (b"WITH x AS NOT MATERIALIZED (UPDATE t SET a = 1) SELECT 1", True),
        (b"WITH x AS (WITH y AS (SELECT 1) INSERT INTO t TABLE y) SELECT 1", True),
        (b"WITH x AS (SELECT 1) DELETE FROM t", False),
        (b"WITH x AS (SELECT a FROM t FOR UPDATE) SELECT 1", False),
        (b"SELECT (update), f(delete), merge FROM t", False),
        (b"COPY (DELETE FROM t RETURNING *) TO STDOUT", True),
        (b"INSERT INTO t VALUES (1) ON CONFLICT DO UPDATE SET a = (SELECT 1 FOR UPDATE)", False),
        (b"CREATE TABLE c AS WITH x AS (MERGE INTO t USING s ON true) SELECT 1", True),
    ],
)
def test_writing_inside_of_brackets(text, writes):
    assert one(text).ctes_write is writes


SEARCH = (
    b"WITH RECURSIVE a(x) AS (SELECT 1) SEARCH DEPTH FIRST BY x, x SET o"
    b" CYCLE x SET c TO true DEFAULT false USING p"
)


@pytest.mark.parametrize(
    ("text", "main"),
    [
        (b"WITH RECURSIVE AS (SELECT 1) DELETE FROM t", b"DELETE"),
        (b"WITH insert AS (SELECT 1), update AS (SELECT 2) DELETE FROM t", b"DELETE"),
        (SEARCH + b", b AS (SELECT 2) UPDATE t SET a = 1", b"UPDATE"),
    ],
)
def test_with(text, main):
    statement = one(text)
    assert statement.kind.tag == main
    assert text[statement.body_start :].startswith(main)


@pytest.mark.parametrize(
    ("text", "current"),
    [
        (b"UPDATE t SET a = 1 WHERE CURRENT OF c", True),
        (b"DELETE FROM t WHERE current OF c RETURNING *", True),
        (b"DELETE FROM t WHERE current = 1", False),
    ],
)
def test_where_current_of(text, current):
    statement = one(text)
    assert statement.current_of is current
    assert statement.agreed


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("DROP OPERATOR CLASS mine USING btree", b"DROP OPERATOR CLASS"),
        ("DROP OPERATOR === (int, int)", b"DROP OPERATOR"),
        ("drop text search configuration if exists x", b"DROP TEXT SEARCH CONFIGURATION"),
        ("DROP FOREIGN DATA WRAPPER x", b"DROP FOREIGN DATA WRAPPER"),
        ("ALTER FOREIGN TABLE x DROP a", b"ALTER FOREIGN TABLE"),
        ("DROP ACCESS METHOD x", b"DROP ACCESS METHOD"),
        ("DROP PROCEDURAL LANGUAGE x", b"DROP LANGUAGE"),
        ("DROP CAST (a AS b)", b"DROP CAST"),
        ("DROP TABLE x", b"DROP TABLE"),
        ("DROP", b"DROP"),
    ],
)
def test_tags_of_objects(text, tag):
    (statement,) = analyse(text.encode()).statements
    assert statement.tag == tag
