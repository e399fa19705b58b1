"""A text cut at its literals, in one pass: what is left is what texts have in common that differ in
values only.

What it does not know it does not cut: escape strings, dollar quotes, comments, parameters, numbers
with an exponent, two literals of which it is not plain that they are two. What it cuts has the same
tokens as every other text with the same key (by src/backend/parser/scan.l, where
standard_conforming_strings is on), but for the values.
"""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from proxy.sql.spans import Span

# Longer texts, and texts with more values, are rarely sent again with others.
LONGEST: Final = 4096
_MOST: Final = 64

_WORD: Final = rb"A-Za-z_0-9$\x80-\xff"
_BETWEEN: Final = rb"|".join((
    # Directly before a quote it may be a part of the constant.
    rb"[A-Za-z_\x80-\xff][" + _WORD + rb"]*+(?!')",
    rb"[ \t\n\r\f\v,()\[\];:=<>+*%^&|~!@#?`]++",
    rb'"[^"]*+(?:""[^"]*+)*+"',
    rb"-(?!-)",
    rb"/(?!\*)",
    rb"\.(?![0-9])",
))  # fmt: skip
_NUMBER: Final = rb"[0-9]++(?:\.[0-9]++)?+(?![." + _WORD + rb"])"
# Another one behind it may be its continuation.
_STRING: Final = rb"'[^']*+(?:''[^']*+)*+'(?![ \t\n\r\f\v]*+')"
_PIECE: Final = re.compile(rb"((?:%s)*+)(?:(%s)|(%s)|\Z)" % (_BETWEEN, _NUMBER, _STRING))
_END, _IS_NUMBER = 1, 2
# What stands for a literal in a key; no text has such a byte.
_MARKS: Final = (b"", b"", b"\0n", b"\0s")
_MARK: Final = re.compile(rb"\0[ns]")

# Numbers of types, as make_const in src/backend/parser/parse_node.c gives them. Of a string the
# server finds out by what is done with it, as of a constant.
INT4: Final = 23
INT8: Final = 20
NUMERIC: Final = 1700
UNKNOWN: Final = 0
_INT4_DIGITS: Final = 9
_INT4_END: Final = 1 << 31
_INT8_END: Final = 1 << 63


class Cut(NamedTuple):
    key: bytes
    literals: tuple[bytes, ...]  # as written
    ends: tuple[int, ...]  # of each, in the text

    @property
    def spans(self) -> list[Span]:
        pairs = zip(self.literals, self.ends, strict=True)
        return [(end - len(literal), end) for literal, end in pairs]


def cut(text: bytes) -> Cut | None:
    """None where it has no literals, or something that is not known here."""
    match = _PIECE.match
    key: list[bytes] = []
    literals: list[bytes] = []
    ends: list[int] = []
    at = 0
    while True:
        found = match(text, at)
        if found is None:
            return None
        kind = found.lastindex or _END
        key.append(found[1])
        if kind == _END:
            break
        key.append(_MARKS[kind])
        literals.append(found[kind])
        at = found.end()
        ends.append(at)
        if len(ends) > _MOST:
            return None
    if not literals:
        return None
    return Cut(b"".join(key), tuple(literals), tuple(ends))


def types(literals: Iterable[bytes]) -> tuple[int, ...] | None:
    """Of each literal. None if one is a number that is of another type behind a minus sign."""
    found = []
    for literal in literals:
        if literal[0] == _QUOTE:
            found.append(UNKNOWN)
        elif b"." in literal:
            found.append(NUMERIC)
        elif len(literal) <= _INT4_DIGITS:
            found.append(INT4)
        else:
            number = int(literal)
            if number in {_INT4_END, _INT8_END}:
                return None
            found.append(INT4 if number < _INT4_END else INT8 if number < _INT8_END else NUMERIC)
    return tuple(found)


_QUOTE: Final = ord("'")


def value(literal: bytes) -> bytes:
    """As a parameter has it, in text."""
    if literal[0] == _QUOTE:
        return literal[1:-1].replace(b"''", b"'")
    return literal


def with_parameters(key: bytes) -> bytes:
    """The text with $1, $2 .. for its literals."""
    first, *others = _MARK.split(key)
    return first + b"".join(b"$%d%s" % pair for pair in enumerate(others, 1))
