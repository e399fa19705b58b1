"""A text cut at its literals is every text of the same tokens with other values."""

from contextlib import suppress

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from proxy.sql.analyse import analyse
from proxy.sql.form import Form, form
from proxy.sql.lexer import LITERALS, LexError, lex
from proxy.sql.literals import INT4, INT8, NUMERIC, UNKNOWN, cut, types, value, with_parameters

NUMBERS = ("0", "7", "00", "2147483648", "1.5", "99999999999999999999", "0.0")
STRINGS = ("''", "'a'", "'it''s'", "'--'", "'/*'", "'\\'", "'$1'", "'ü'", "'1'", "'\"'")
# Whatever may stand beside them.
PIECES = (
    *NUMBERS, *STRINGS, " ", "\n", "a", "t1", "e", "E", "U&", "n", "B", "x", "_", "$", "$1", "$$", "$a$", ".", "..",
    ":", "::", "=", "+", "-", "--", "/", "*", "/*", "*/", "(", ")", ",", ";", "[", "]", '"q"', '"', "'", "\\",
    "0x1F", "1e5", "1_000", "&", "|", "<", ">", "@", "#", "ü", "SELECT", "AND",
)  # fmt: skip


def tokens(text: bytes) -> list[tuple[int, bytes]]:
    """What they are, without the text of literals."""
    return [
        (
            token.kind,
            token.word or (b"" if token.kind in LITERALS else text[token.start : token.end]),
        )
        for token in lex(text)
    ]


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(st.data())
def test_other_values_are_the_same_tokens(data: st.DataObject) -> None:
    text = "".join(data.draw(st.lists(st.sampled_from(PIECES), min_size=1, max_size=12))).encode()
    found = cut(text)
    assume(found is not None)
    with suppress(LexError):
        literals = [(t.start, t.end) for t in lex(text) if t.kind in LITERALS]
        if literals != found.spans:
            return  # form() refuses it
        others = [
            data.draw(st.sampled_from(STRINGS if each.startswith(b"'") else NUMBERS)).encode()
            for each in found.literals
        ]
        other = b""
        at = 0
        for (start, end), each in zip(found.spans, others, strict=True):
            other += text[at:start] + each
            at = end
        other += text[at:]
        again = cut(other)
        assert again is not None
        assert (again.key, list(again.literals)) == (found.key, others)
        assert tokens(other) == tokens(text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            rb"SELECT E'a\'b'",
            b"SELECT U&'a'",
            b"SELECT N'a'",
            b"SELECT B'1'",
            b"SELECT DATE'2026-01-01'",
        ),
        *(
            b"SELECT $$a$$",
            b"SELECT $1, 1",
            b"SELECT 1 -- 2",
            b"SELECT /* 1 */ 2",
            b"SELECT 1e5, 0x1F",
        ),
        *(
            b"SELECT 1_000",
            b"SELECT .5",
            b"SELECT 1.",
            b"SELECT 1..2",
            b"SELECT 'a'\n'b'",
            b"SELECT 'a' 'b'",
        ),
        *(b"SELECT 'a", b"SELECT a", b"SELECT " + b"1, " * 100 + b"1"),
    ],
)
def test_what_is_not_known_is_not_cut(text: bytes) -> None:
    found = cut(text)
    assert (
        found is None or [(t.start, t.end) for t in lex(text) if t.kind in LITERALS] != found.spans
    )


def test_types_and_values() -> None:
    found = cut(
        b"SELECT 1, 2147483647, 2147483649, 9223372036854775809, 1.50, 'it''s', '', 007, 0000000000001"
    )
    assert found is not None
    kinds = (INT4, INT4, INT8, NUMERIC, NUMERIC, UNKNOWN, UNKNOWN, INT4, INT4)
    assert types(found.literals) == kinds
    assert [value(each) for each in found.literals][4:7] == [b"1.50", b"it's", b""]
    # Behind a minus sign they are one type smaller.
    assert types([b"2147483648"]) is types([b"9223372036854775808"]) is None
    assert with_parameters(found.key) == b"SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9"


FORMS = {
    "UPDATE t SET a = a + -1, b = 'x' WHERE id = 2": (None, "b", None),
    "UPDATE t AS u SET b = 'x' WHERE u.c <> 'y' OR (d < 3 AND NOT e BETWEEN 4 AND 5)": (
        "b",
        "c",
        None,
        None,
        None,
    ),
    "INSERT INTO t (a, \"B\", c) VALUES (1, 'x', now()), (-2, 'y', 3 * 4)": (
        None,
        "B",
        None,
        "B",
        None,
        None,
    ),
    "INSERT INTO t VALUES (1, 'x', coalesce(NULL, 5))": (None, 1, None),
    "DELETE FROM t WHERE id IN (1, 2) AND v = 'x'": (None, None, "v"),
    "UPDATE t SET a = CASE WHEN b > 1 THEN 2 ELSE 3 END": (None, None, None),
}
NO_FORMS = (
    "UPDATE t SET a = 1::numeric(10, 2)", "UPDATE t SET a = CAST(1 AS numeric(10, 2))", "DELETE FROM t WHERE d = DATE '2026-01-01'",
    "UPDATE t SET a = round(b, 2)", "UPDATE t SET a = f(b + 1)", "DELETE FROM t WHERE id IN (SELECT 1)", "UPDATE t SET a = x.b FROM x WHERE x.c = 1",
    "INSERT INTO t SELECT 1", "INSERT INTO t SELECT a FROM u ORDER BY 1 LIMIT 5", "UPDATE t SET a[1] = 2",
    "INSERT INTO t VALUES (1) ON CONFLICT (a) WHERE b = 2 DO NOTHING", "UPDATE t SET a = 1 RETURNING 2",
    "WITH w AS (SELECT 1) UPDATE t SET a = 2", "UPDATE t SET a = 1 WHERE CURRENT OF c", "UPDATE t SET v = 'a' || 'b'",
    "UPDATE t SET v = 'a' COLLATE \"C\"", "UPDATE t SET v = lower('A')", "DELETE FROM t WHERE v LIKE 'a%'",
    "UPDATE t SET d = INTERVAL '1' DAY", "DELETE FROM t WHERE a @> '{1}'", "MERGE INTO t USING u ON t.a = 1 WHEN MATCHED THEN DELETE",
    "UPDATE t SET a = b ->> 1", "INSERT INTO t (a) VALUES (1, 'x')", "UPDATE t SET d = '1' AT TIME ZONE 'UTC'", "SELECT 1",
)  # fmt: skip


@pytest.mark.parametrize("text", [*FORMS, *NO_FORMS])
def test_where_a_literal_may_be_a_parameter(text: str) -> None:
    found = cut(text.encode())
    assert found is not None
    (statement,) = analyse(text.encode()).statements
    expected = FORMS.get(text)
    assert form(text.encode(), found, statement) == (None if expected is None else Form(expected))
