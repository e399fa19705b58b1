"""Whether a statement's own RETURNING names the rows before and after, so that ours must use its
names: declaring others switches `old` and `new` off."""

from collections.abc import Sequence
from typing import Final

from proxy.sql.lexer import QUOTED, WORD, LexError, Token, lex, name_of
from proxy.sql.statement import Statement
from undo.image import Column

_ROWS: Final = frozenset(("old", "new"))
_NAMES: Final = frozenset((WORD, QUOTED))


def names_rows(statement: Statement, text: bytes, columns: Sequence[Column]) -> bool | None:
    """None if they cannot be told from a relation of that name, which would be meant then."""
    if statement.returning is None or statement.returning_aliases is not None:
        return False
    if statement.idents.isdisjoint(_ROWS):
        return False
    piece = statement.slice(text)
    try:
        tokens = lex(piece)
    except LexError:
        return None
    own = {column.name for column in columns}
    returning = statement.returning_start - statement.start
    places = [
        token.start >= returning
        for index, token in enumerate(tokens)
        if _is_row(piece, tokens, index, own, token)
    ]
    if True not in places:
        return False
    return None if False in places else True


def _is_row(text: bytes, tokens: Sequence[Token], index: int, own: set[str], token: Token) -> bool:
    if token.kind not in _NAMES:
        return False
    name = name_of(text, token)
    if name not in _ROWS or (index and tokens[index - 1].word == b"."):
        return False
    qualifies = index + 1 < len(tokens) and tokens[index + 1].word == b"."
    return qualifies or name not in own
