"""From a text to its statements, remembered by text. Only here lexer and readers come together."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from proxy.sql.kinds import Group
from proxy.sql.lexer import LexError, lex
from proxy.sql.meaning import agreed
from proxy.sql.reading import opaque, read
from proxy.sql.shape import digest, folded, shape
from proxy.sql.spans import Source
from proxy.sql.statement import Statement, UnbalancedError, split

# Longer texts are rarely sent twice, and would fill the memory.
_REMEMBERED_LENGTH: Final = 16_384
_REMEMBERED: Final = 4096


@dataclass(frozen=True, slots=True)
class Analysis:
    """`error` says why the text could not be read; its one statement is then of unknown kind."""

    statements: tuple[Statement, ...]
    error: str | None = None


def analyse(text: bytes, standard_conforming_strings: bool = True) -> Analysis:  # noqa: FBT001, FBT002
    """Never raises, whatever a client has sent."""
    if len(text) > _REMEMBERED_LENGTH:
        return _analyse(text, standard_conforming_strings)
    return _remembered(text, standard_conforming_strings)


def read_anew(text: bytes) -> Analysis:
    """The same for somebody alone, who may change it; strings are standard."""
    return _analyse(text, True)  # noqa: FBT003


def _analyse(text: bytes, standard_conforming_strings: bool) -> Analysis:  # noqa: FBT001
    try:
        tokens = lex(text, standard_conforming_strings)
    except LexError as error:
        return Analysis((opaque(0, len(text)),), str(error))
    words = [token.word for token in tokens]
    try:
        ranges, close = split(words)
    except UnbalancedError:
        return Analysis((opaque(0, len(text)),), "brackets do not match")
    source = Source(text, tokens, words, close)
    standard = standard_conforming_strings
    return Analysis(tuple(_statement(source, first, stop, standard) for first, stop in ranges))


def _statement(source: Source, first: int, stop: int, standard_strings: bool) -> Statement:  # noqa: FBT001
    statement = read(source, first, stop)
    group = statement.kind.group
    if group in _UNMARKED:
        return statement
    tokens = source.tokens[first:stop]
    key = folded(shape(source.text, tokens)[0])
    statement.fingerprint = digest(key)
    if (group is Group.ROW_WRITER or statement.writers) and statement.understood:
        statement.agreed = agreed(
            statement, source.text, tokens, key, standard_strings=standard_strings
        )
        for writer in statement.writers:
            writer.statement.agreed = statement.agreed
    return statement


# Of these nobody asks the shape.
_UNMARKED: Final = frozenset((Group.TRANSACTION, Group.SESSION, Group.MAINTENANCE))
_remembered = lru_cache(maxsize=_REMEMBERED)(_analyse)
