"""Statements without their literals."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.sql.lexer import lex
from proxy.sql.shape import fingerprint, folded, readable, shape


def key(text: bytes) -> bytes:
    return shape(text, lex(text))[0]


def test_literals_are_found_where_they_are():
    text = b"SELECT 1, 'a', E'b', $$c$$, x'1f', 1.5"
    _, literals = shape(text, lex(text))
    assert [text[start:end] for start, end in literals] == [
        b"1", b"'a'", b"E'b'", b"$$c$$", b"x'1f'", b"1.5",
    ]  # fmt: skip


def test_values_blanks_comments_and_case_make_no_difference():
    one = b"UPDATE t SET a = 1 WHERE b = 'x'"
    other = b"update /* c */ T set a=23\n where b = $$y$$ -- d"
    assert fingerprint(one) == fingerprint(other)


def test_names_parameters_and_quotes_do():
    texts = [
        b"SELECT a FROM t", b"SELECT b FROM t", b'SELECT "A" FROM t', b"SELECT 1 FROM t",
        b"SELECT $1 FROM t", b"SELECT $2 FROM t", b"SELECT 'a' || 1 FROM t",
    ]  # fmt: skip
    assert len({fingerprint(text) for text in texts}) == len(texts)


def test_lists_of_values_have_no_length():
    assert fingerprint(b"DELETE FROM t WHERE a IN (1,2)") == fingerprint(
        b"DELETE FROM t WHERE a IN (1, 2, 3)"
    )
    assert fingerprint(b"INSERT INTO t VALUES (1,'a'),(2,'b')") == fingerprint(
        b"INSERT INTO t VALUES (1,'a'),(2,'b'),(3,'c')"
    )
    assert fingerprint(b"INSERT INTO t VALUES ($1,$2),($3,$4)") == fingerprint(
        b"INSERT INTO t VALUES ($1,$2)"
    )


def test_a_fingerprint_is_a_signed_64_bit_number_and_stays_what_it_is():
    assert fingerprint(b"SELECT 1") == -2659503075559070543
    assert -(2**63) <= fingerprint(b"'unterminated") < 2**63


def test_readable_is_sql_of_the_same_shape():
    text = b"INSERT INTO t VALUES (1, 'a', $1), (2, 'b', $2)"
    assert readable(folded(key(text))).startswith(b"insert into t values ( 0")


@given(st.integers(0, 10**9), st.text(st.characters(codec="ascii", exclude_characters="'\0\\")))
def test_any_value_has_the_same_fingerprint(number, text):
    statement = f"UPDATE t SET a = {number}, b = '{text}'".encode()
    assert fingerprint(statement) == fingerprint(b"UPDATE t SET a = 0, b = ''")
