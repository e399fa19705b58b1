"""What a statement names: nothing too few."""

import pytest

from proxy.sql.analyse import analyse
from proxy.sql.kinds import Kind
from proxy.sql.statement import Statement


def one(text: bytes) -> Statement:
    (statement,) = analyse(text).statements
    return statement


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        (b'SELECT f(1), G (2), "H"(3), s.i(4), a.b.c(5)', {"f", "g", "H", "i", "c"}),
        (b"SELECT f/* */\n(1)", {"f"}),
        (b"INSERT INTO t (a, b) VALUES (1, f(2))", {"f"}),
        (b'INSERT INTO s."T" AS x (a) VALUES (1)', set()),
        (b"INSERT INTO t VALUES (1) ON CONFLICT (a) DO UPDATE SET (a, b) = (1, 2)", set()),
        (b"UPDATE t SET (a, b) = (SELECT 1) WHERE a IN (1) AND b = ANY (ARRAY(SELECT 1))", set()),
        (b"WITH x(a) AS (SELECT 1) DELETE FROM t WHERE EXISTS (SELECT FROM x)", set()),
        (b"SELECT a::numeric(3, 2), a::public.mytype(3), CAST(a AS varchar(3))", set()),
        (b"SELECT CAST(a AS s.mytype(3)), COALESCE(a), NULLIF(a, b), ROW(1), GREATEST(1)", set()),
        (b"SELECT count(*) FILTER (WHERE a) OVER (PARTITION BY b) FROM t", {"count"}),
        (b"SELECT filter(a), over(b)", {"filter", "over"}),
        (b"SELECT DISTINCT ON (a) f(b) GROUP BY (a), GROUPING SETS ((a)) ORDER BY (b)", {"f"}),
        (b"SELECT * FROM f(1) AS x(a, b), LATERAL g(2)", {"f", "g"}),
        (b"SELECT left(a), right(b), substring(a, 1)", {"left", "right", "substring"}),
        (b"MERGE INTO t USING f() ON a WHEN NOT MATCHED THEN INSERT (a) VALUES (g())", {"f", "g"}),
        (b"SELECT s.coalesce(1)", {"coalesce"}),
        (b"EXPLAIN (ANALYZE) SELECT f()", {"f"}),
        (b"CALL p(f())", {"p", "f"}),
        (b"COPY t (a) FROM STDIN", set()),
        (b"CREATE TABLE t (a) AS SELECT f()", {"f"}),
    ],
)  # fmt: skip
def test_calls(text, calls):
    assert one(text).calls == calls


def test_qualified_calls():
    assert one(b'SELECT f(), S."F"(), d.s.g()').qualified_calls == {("s", "F"), ("s", "g")}


def test_operators_that_users_made():
    statement = one(b"SELECT a <#> b, c = d, e OPERATOR(s.+) f, g::int, -1")
    assert statement.operators == {b"<#>", b"s", b".", b"+"}


def test_idents_leave_out_reserved_words_and_constants():
    statement = one(b"UPDATE t SET \"Old\" = 'new' WHERE b = $12 AND c = $3")
    assert statement.idents == {"update", "t", "set", "Old", "b", "c"}
    assert statement.params == 12


def test_a_call_by_a_name_that_cannot_be_read_makes_a_reader_opaque():
    statement = one(b'SELECT U&"f\\0061"()')
    assert statement.kind is Kind.UNKNOWN
    assert not statement.understood


def test_names_are_cut_as_the_server_cuts_them():
    statement = one(b"SELECT " + b"F" * 70 + b"()")
    assert statement.calls == {"f" * 63}
    assert "f" * 63 in statement.idents
