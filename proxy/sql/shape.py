"""A statement without its literals: what statements have in common that differ in values only."""

import re
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from proxy.sql.lexer import LITERALS, LexError, Token, lex
from proxy.sql.spans import Span

# Stands for a literal; it can be in no text.
LITERAL: Final = b"\0"
# Lists of literals or parameters, and lists of such lists, are one whatever their length.
_LIST: Final = re.compile(rb"\0(?: , \0)+|\$[0-9]+(?: , \$[0-9]+)+")
_ROWS: Final = re.compile(rb"(\( [^ ]+ \))(?: , \1)+")


def shape(text: bytes, tokens: Sequence[Token]) -> tuple[bytes, list[Span]]:
    """The words with one blank between them, and where the literals were."""
    parts: list[bytes] = []
    literals: list[Span] = []
    for kind, start, end, word in tokens:
        if word:
            parts.append(word)
        elif kind in LITERALS:
            parts.append(LITERAL)
            literals.append((start, end))
        else:
            parts.append(text[start:end])
    return b" ".join(parts), literals


def folded(key: bytes) -> bytes:
    """A shape in which lists of values have lost their length."""
    if b" , " not in key:
        return key
    key = _LIST.sub(_one, key)
    return _ROWS.sub(rb"\1", key)


def _one(match: re.Match[bytes]) -> bytes:
    return b"\0.." if match[0].startswith(LITERAL) else b"$.."


def readable(folded_key: bytes) -> bytes:
    """SQL of that shape, with some value for each literal."""
    return folded_key.replace(b"\0..", b"0").replace(LITERAL, b"0").replace(b"$..", b"$1")


def digest(folded_key: bytes) -> int:
    return int.from_bytes(blake2b(folded_key, digest_size=8).digest(), "big", signed=True)


def fingerprint(text: bytes) -> int:
    """A signed 64 bit number that statements of the same shape have in common."""
    return _remembered(text) if len(text) < _REMEMBERED_LENGTH else _fingerprint(text)


_REMEMBERED_LENGTH: Final = 16_384


def _fingerprint(text: bytes) -> int:
    try:
        tokens = lex(text, True)  # noqa: FBT003
    except LexError:
        return digest(text)
    return digest(folded(shape(text, tokens)[0]))


_remembered = lru_cache(maxsize=2048)(_fingerprint)
