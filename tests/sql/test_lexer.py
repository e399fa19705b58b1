"""Tokens as the server's own scanner makes them."""

import time
from contextlib import suppress

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.sql.lexer import LexError, lex, name_of


def pieces(text: bytes, *, scs: bool = True) -> list[bytes]:
    return [text[token.start : token.end] for token in lex(text, scs)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"SELECT a.b,c", [b"SELECT", b"a", b".", b"b", b",", b"c"]),
        (b"'it''s' 'x'", [b"'it''s'", b"'x'"]),
        (b"'a' -- c\n 'b'", [b"'a' -- c\n 'b'"]),
        (rb"E'a\'b' e'\\'", [rb"E'a\'b'", rb"e'\\'"]),
        (b"E'a'\n'b\\'c'", [b"E'a'\n'b\\'c'"]),
        (rb"'a\' b", [rb"'a\'", b"b"]),
        (b"B'01' x'fF' N'n'", [b"B'01'", b"x'fF'", b"N", b"'n'"]),
        (b"U&'d\\0061' u&\"x\"", [b"U&'d\\0061'", b'u&"x"']),
        (b"U & 'a'", [b"U", b"&", b"'a'"]),
        (b"$$a'b$$ $x$ $$ $y$ $x$", [b"$$a'b$$", b"$x$ $$ $y$ $x$"]),
        (b"a$x$ $1", [b"a$x$", b"$1"]),
        (b"/* a /* b */ c */ 1 -- d\r2", [b"1", b"2"]),
        (b"/*/ */1", [b"1"]),
        (
            b"1.5e-3 .5 1. 1..2 0xFF 1_000",
            [b"1.5e-3", b".5", b"1.", b"1", b"..", b"2", b"0xFF", b"1_000"],
        ),
        (b"a+-1", [b"a", b"+", b"-", b"1"]),
        (b"a@-1", [b"a", b"@-", b"1"]),
        (b"a*--\n1", [b"a", b"*", b"1"]),
        (b"a<>-1 b>=c", [b"a", b"<>", b"-", b"1", b"b", b">=", b"c"]),
        (b"a::b:=c=>d", [b"a", b"::", b"b", b":=", b"c", b"=>", b"d"]),
        (b"a->>'x' #- ?|", [b"a", b"->>", b"'x'", b"#-", b"?|"]),
        ("\u00e4\u00f6 \u6587".encode(), ["\u00e4\u00f6".encode(), "\u6587".encode()]),
        (b'"a""b" "SELECT"', [b'"a""b"', b'"SELECT"']),
        (b" \t\r\n\f\v ", []),
    ],
)
def test_tokens(text, expected):
    assert pieces(text) == expected


def test_backslashes_in_plain_constants_count_without_standard_conforming_strings():
    assert pieces(rb"'a\' b' B'\'", scs=False) == [rb"'a\' b'", rb"B'\'"]


@pytest.mark.parametrize(
    "text",
    [
        b"'a",
        rb"E'a\'",
        b'"a',
        b"/* /* */",
        b"$a$ $b$",
        b"1a",
        b"$1a",
        b"0xg",
        b"a \\ b",
        b"{",
        b"1e+",
    ],
)
def test_what_the_server_cannot_read_is_refused(text):
    with pytest.raises(LexError):
        lex(text)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (b"FooBar", "foobar"),
        (b'"Foo""Bar"', 'Foo"Bar'),
        ("\u00c4A".encode(), "\u00c4a"),
        (b"a" * 70, "a" * 63),
        (b'"' + b"B" * 70 + b'"', "B" * 63),
        (b"\xff", "\udcff"),
        ("\u00e4".encode() * 40, None),
        (b'U&"x"', None),
        (b"'x'", None),
    ],
)
def test_names_as_the_server_folds_and_cuts_them(text, name):
    assert name_of(text, lex(text)[0]) == name


_FRAGMENTS = r"""' '' \ \' E' B' N' U&' U&" " $ $$ $a$ $1 -- /* */ - + * / < = @ ! | ? : :: . 1 1.5
    0x1 e E a b$c ; , ( ) [ ] ä"""
FRAGMENTS = st.sampled_from([*_FRAGMENTS.split(), "\n", " ", "\t"])


@given(st.lists(FRAGMENTS, max_size=20).map("".join), st.booleans())
def test_tokens_cover_everything_but_blanks_and_comments(text, scs):
    data = text.encode()
    try:
        tokens = lex(data, scs)
    except LexError:
        return
    at = 0
    for token in tokens:
        gap = data[at : token.start]
        assert token.start >= at
        assert not gap.strip() or b"--" in gap or b"/*" in gap
        assert token.end > token.start
        at = token.end


# What stands between the commas decides how many columns the server answers with.
SEEN_BY_SERVER = [
    rb"SELECT 'a\', 'b', 'c', 'd\'",
    rb"SELECT 'a''b\\', 'c' , E'\'', 'x'",
    b"SELECT 'a'\n', b', 'c'",
    b"SELECT E'a'\n'\\', b', 'c'",
    b"SELECT $$ , $$, $a$ $$ , $b$ $a$, '$$,$$'",
    b"SELECT 1 /* , /* , */ , */ , 2 -- , 3\n, 4",
    b'SELECT 1 AS "a,""b,", 2',
    b"SELECT B'1', x'ff', n'x', 1.5e3, .5",
    b"SELECT 1-- , 2\r, 3",
    b"SELECT 2*-3, 2+-+3, @ -4",
]


@pytest.mark.parametrize("scs", [True, False], ids=["standard", "backslash"])
@pytest.mark.parametrize("text", SEEN_BY_SERVER)
def test_the_server_sees_the_same_columns(server, text, scs):
    try:
        ours = 1 + sum(token.word == b"," for token in lex(text, scs))
    except LexError:
        ours = None
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(f"SET standard_conforming_strings = {'on' if scs else 'off'}")
        connection.execute("SET escape_string_warning = off")
        try:
            theirs = len(connection.execute(text).description)
        except psycopg.errors.SyntaxError:
            theirs = None
    assert ours == theirs


@pytest.mark.parametrize(
    "text",
    [
        b" " * 300_000,
        b"+" * 300_000,
        b"'" * 300_001,
        b"/*" * 100_000,
        b"$a$" + b"$" * 300_000,
        b"'a'\n" * 50_000,
    ],
)
def test_no_text_makes_it_slow(text):
    start = time.process_time()
    with suppress(LexError):
        lex(text)
    assert time.process_time() - start < 3
