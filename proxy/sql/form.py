"""Whether the literals of a statement may be parameters, with provably the same outcome.

A constant and a parameter of its type are the same to the server wherever an expression of that
type stands. They are not where the grammar wants a constant (ORDER BY 1, LIMIT, numeric(10, 2)),
where a constant is matched with something (ON CONFLICT (..) WHERE), and where it tells its own type
(DATE '..'). So a list of places where they are, by the tokens around: what is not in it is not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from proxy.sql.kinds import Kind
from proxy.sql.lexer import LITERALS, QUOTED, STRING, WORD, LexError, lex, name_of
from proxy.sql.literals import Cut
from proxy.sql.spans import Source
from proxy.sql.statement import Statement, UnbalancedError, split

# Where the value of a string goes: a column of the target by its name, or by its place in it; the
# value of a number is told by the number.
Place = str | int | None


@dataclass(frozen=True, slots=True)
class Form:
    """What may be sent again with other values. `places`: of each literal."""

    places: tuple[Place, ...]


_KINDS: Final = frozenset((Kind.INSERT, Kind.UPDATE, Kind.DELETE))
_COMPARE: Final = frozenset((b"=", b"<>", b"!=", b"<", b">", b"<=", b">="))
_OPERATORS: Final = _COMPARE | frozenset((b"+", b"-", b"*", b"/", b"%"))
_BEFORE_NUMBER: Final = _OPERATORS | frozenset((b"between", b"and", b"then", b"else", b"when"))
_BEHIND: Final = frozenset((b"", b",", b")", b"where", b"and", b"or", b";"))
_BEHIND_NUMBER: Final = _BEHIND | _OPERATORS | frozenset((b"then", b"else", b"end", b"when"))
# Directly before a column that is compared or set.
_BEFORE_COLUMN: Final = frozenset((b"set", b",", b"where", b"and", b"or", b"not", b"("))
_BEFORE_GROUP: Final = _OPERATORS | _BEFORE_COLUMN | frozenset((b"then", b"else", b"when"))
# Functions that nobody can replace, and that take any type.
_CALLS: Final = frozenset((b"coalesce", b"greatest", b"least"))
_QUERIES: Final = frozenset((b"select", b"with", b"values", b"table"))
# With these a name need not be a column of the target, or a value not a row's.
_NOT_PLAIN: Final = frozenset((b"select", b"using", b"with", b"::", b"conflict", b"returning"))


def form(text: bytes, found: Cut, statement: Statement) -> Form | None:
    """None where one of them may not, or it is not plain."""
    if statement.kind not in _KINDS or statement.with_span is not None or statement.current_of:
        return None
    try:
        tokens = lex(text, True)  # noqa: FBT003
        words = [token.word for token in tokens]
        _, close = split(words)
    except (LexError, UnbalancedError):
        return None
    literals = [n for n, token in enumerate(tokens) if token.kind in LITERALS]
    spans = [(tokens[n].start, tokens[n].end) for n in literals]
    if spans != found.spans or not _NOT_PLAIN.isdisjoint(words):
        return None
    if words.count(b"from") != (statement.kind is Kind.DELETE):
        return None
    source = Source(text, tokens, words, close)
    places = _places(source, literals, _listed(source, statement))
    return None if places is None else Form(tuple(places))


def _listed(source: Source, statement: Statement) -> tuple[str | None, ...]:
    """The columns that an INSERT names."""
    if statement.kind is not Kind.INSERT:
        return ()
    at = next(
        (n for n, token in enumerate(source.tokens) if token.start >= statement.target_end),
        len(source.tokens),
    )
    if at == len(source.tokens) or source.words[at] != b"(":
        return ()
    return tuple(
        name_of(source.text, token)
        for token in source.tokens[at + 1 : source.close[at]]
        if token.word != b","
    )


def _places(
    source: Source, literals: Sequence[int], listed: Sequence[str | None]
) -> list[Place] | None:
    words = source.words
    last = len(words)
    brackets = {at: _bracket(source, at) for at in source.close}
    found: list[Place] = []
    for n in literals:
        around = [at for at, end in source.close.items() if at < n < end]
        if any(brackets[at] == "" for at in around):
            return None
        inner = brackets[max(around)] if around else "none"
        before = words[n - 1] if n else b""
        behind = words[n + 1] if n + 1 < last else b""
        if behind == b"" and n + 1 < last:
            return None  # a literal or a quoted name
        begins = before in _FIRST and inner in (_GROUPED if before == b"(" else _LISTED)
        if source.tokens[n].kind != STRING:
            if not (begins or before in _BEFORE_NUMBER) or behind not in _BEHIND_NUMBER:
                return None
            found.append(None)
        elif begins and behind in _LAST and inner == "row":
            place = _element(source, max(around), n, listed)
            if place is None:
                return None
            found.append(place)
        else:
            column = _column(source, n) if before in _COMPARE and behind in _BEHIND else None
            if column is None:
                return None
            found.append(column)
    return found


_FIRST: Final = frozenset((b"(", b","))
_LAST: Final = frozenset((b")", b","))
_LISTED: Final = frozenset(("row", "list", "call"))
_GROUPED: Final = _LISTED | {"group"}


def _bracket(source: Source, at: int) -> str:
    """What an opening bracket begins; empty: nothing that is known here."""
    words = source.words
    if words[at] != b"(" or words[at + 1] in _QUERIES:
        return ""
    before = words[at - 1] if at else b""
    if before == b"values" or (before == b"," and at > 1 and _behind_row(source, at)):
        return "row"
    if before == b"in":
        return "list"
    if before in _CALLS:
        return "call"
    return "group" if before in _BEFORE_GROUP - {b","} else ""


def _behind_row(source: Source, at: int) -> bool:
    words = source.words
    while words[at - 1] == b"," and words[at - 2] == b")":
        at = next(begin for begin, end in source.close.items() if end == at - 2)
    return words[at - 1] == b"values"


def _element(source: Source, at: int, n: int, listed: Sequence[str | None]) -> Place:
    """The column that a whole element of a row is for."""
    index = 0
    inner = at + 1
    while inner < n:
        index += source.words[inner] == b","
        inner = source.close.get(inner, inner) + 1
    if not listed:
        return index
    return listed[index] if index < len(listed) else None


def _column(source: Source, n: int) -> str | None:
    """The column that stands before the sign before a string."""
    at = n - 2
    if at < 1 or source.tokens[at].kind not in {WORD, QUOTED}:
        return None
    name = name_of(source.text, source.tokens[at])
    if source.words[at - 1] == b".":
        at -= 2
        if at < 1 or source.tokens[at].kind not in {WORD, QUOTED}:
            return None
    return name if source.words[at - 1] in _BEFORE_COLUMN else None
