"""Which of `old` and `new` mean the rows before and after in a statement's own RETURNING, so that
ours must use these names: declaring another switches them off."""

from collections.abc import Iterator, Sequence
from typing import Final

from proxy.sql.kinds import Kind
from proxy.sql.lexer import LexError, Token, lex, name_of
from proxy.sql.statement import Statement
from undo.image import Column

_ROWS: Final = frozenset(("old", "new"))
_BEFORE_RELATION: Final = frozenset((b"from", b",", b"join", b"as", b"only", b"using"))
_RENAMES: Final = frozenset((b"from", b",", b"join", b"only", b"using"))
# The words between which a statement that has both rows names other relations.
_CLAUSES: Final = {Kind.UPDATE: (b"from", b"where"), Kind.MERGE: (b"using", b"on")}


def row_names(
    statement: Statement, text: bytes, columns: Sequence[Column], target: str
) -> frozenset[str] | None:
    """`target` is what the statement calls its table: a relation called `old` is meant before the
    row is. None if it cannot be told whether there is one."""
    if statement.kind not in _CLAUSES and not statement.do_update:
        return frozenset()  # the only row there is goes by the table's name
    if statement.returning is None or statement.returning_aliases is not None:
        return frozenset()
    if statement.idents.isdisjoint(_ROWS):
        return frozenset()
    piece = statement.slice(text)
    try:
        tokens = lex(piece)
    except LexError:
        return None
    own = {column.name for column in columns}
    returning = statement.returning_start - statement.start
    said = (
        _row(piece, tokens, index, own)
        for index, token in enumerate(tokens)
        if token.start >= returning
    )
    used = {name for name in said if name is not None and name != target}
    if not used or statement.kind not in _CLAUSES:
        return frozenset(used)
    for index, depth in _other_relations(statement, tokens):
        name = name_of(piece, tokens[index])
        if name in used:
            if depth or not _is_relation(tokens, index):
                return None
            used.discard(name)
    return frozenset(used)


def _row(text: bytes, tokens: Sequence[Token], index: int, own: set[str]) -> str | None:
    name = name_of(text, tokens[index])
    if name not in _ROWS or (index and tokens[index - 1].word == b"."):
        return None
    return name if _qualifies(tokens, index) or name not in own else None


def _qualifies(tokens: Sequence[Token], index: int) -> bool:
    return index + 1 < len(tokens) and tokens[index + 1].word == b"."


def _is_relation(tokens: Sequence[Token], index: int) -> bool:
    """Of a name in FROM, outside of brackets: certain where it is named there, follows the name of
    what it renames, or qualifies."""
    before, earlier = tokens[index - 1].word, tokens[index - 2].word
    if before == b"." or earlier == b"distinct":
        return False
    return before in _BEFORE_RELATION or earlier in _RENAMES or _qualifies(tokens, index)


def _other_relations(statement: Statement, tokens: Sequence[Token]) -> Iterator[tuple[int, int]]:
    """The tokens of an UPDATE's FROM or a MERGE's USING, and how many brackets are around each."""
    begin, end = _CLAUSES[statement.kind]
    depth, within = 0, False
    for index, token in enumerate(tokens):
        if token.start >= statement.returning_start - statement.start:
            return
        depth += (token.word == b"(") - (token.word == b")")
        if not depth and token.word == begin:
            within = token.start >= statement.body_start - statement.start
        elif not depth and token.word == end:
            within = False
        elif within:
            yield index, depth
