"""Statement: what one SQL statement is and where its parts are in the text of the message.

`understood` is False where the text is not what it expects: then nothing but `kind`, the names and
the whole statement's span are to be relied on.
"""

from dataclasses import dataclass
from typing import Final

from proxy.sql.kinds import Group, Kind
from proxy.sql.spans import Name, Span


# Not frozen, which would take a tenth of the time that reading a statement takes; `read` fills it,
# and it is shared by all who send the same text, so that nobody else may change it.
@dataclass(slots=True, eq=False)
class Statement:
    """Offsets are bytes in the text of the whole message; spans end behind their last token."""

    kind: Kind
    start: int  # of the first token
    end: int  # behind the last token, before any comment or semicolon
    words: tuple[bytes, ...]  # the first ones, folded
    understood: bool = True
    agreed: bool = False  # a second reader finds the same: it may be rewritten
    fingerprint: int = 0

    # What it names, in brackets or not.
    idents: frozenset[str] = frozenset()
    calls: frozenset[str] = frozenset()
    qualified_calls: frozenset[tuple[str, str]] = frozenset()
    operators: frozenset[bytes] = frozenset()
    params: int = 0

    # INSERT, UPDATE, DELETE, MERGE; `target` also of COPY and of a TRUNCATE of one table.
    target: Name | None = None
    target_only: bool = False
    target_star: bool = False
    target_end: int = 0  # behind its name, star and alias
    alias: str | None = None
    with_span: Span | None = None  # the items, without WITH [RECURSIVE]
    recursive: bool = False
    body_start: int = 0  # of the verb
    ctes_write: bool = False  # a statement inside of brackets writes
    writers: tuple["Writer", ...] = ()  # the items of a leading WITH that write, if no others do
    has_on_conflict: bool = False
    do_update: bool = False
    current_of: bool = False
    overriding: Span | None = None
    returning: Span | None = None  # the list, without the word and without its WITH
    returning_start: int = 0  # of the word
    returning_with: Span | None = None  # WITH (OLD AS .., NEW AS ..)
    returning_aliases: tuple[str, str] | None = None  # of the old and the new row, if so declared
    returning_columns: tuple[bool, ...] = ()  # for each item whether it is a star
    returning_items: int | None = None  # how many columns, where no star is among them
    # Of a writer: what its items are called, None where the text does not tell; of a star what
    # stands before it.
    returning_labels: tuple[str | None, ...] = ()

    # All others.
    inner: Kind | None = None  # of EXPLAIN, PREPARE, DECLARE
    analyze: bool = False  # EXPLAIN runs it
    temporary: bool = False  # makes a temporary object and runs nothing that could write elsewhere
    temporary_object: bool = False
    setting: str | None = None  # SET, RESET, SHOW; "all"
    setting_local: bool = False
    object_name: str | None = None
    targets: tuple[Name, ...] = ()  # TRUNCATE
    body: bytes | None = None  # DO, where it is a constant without escapes
    cannot_commit: bool = False  # DO that certainly does not end the transaction

    @property
    def returning_list_start(self) -> int:
        return self.returning[0] if self.returning is not None else 0

    @property
    def writes(self) -> bool:
        """Whether it certainly or possibly writes rows, as far as the text tells."""
        return self.kind.group is not Group.READER or bool(self.calls) or self.ctes_write

    @property
    def tag(self) -> bytes:
        """As the server answers; of what it makes of CREATE nothing is told."""
        if self.kind is not Kind.ALTER and self.kind is not Kind.DROP:
            return self.kind.tag
        for count in (4, 3):
            if b" ".join(self.words[1:count]) in _LONG:
                return b" ".join(self.words[:count]).upper()
        what = (b"language",) if self.words[1:2] == (b"procedural",) else self.words[1:2]
        return b" ".join((self.words[0], *what)).upper()

    def slice(self, text: bytes) -> bytes:
        return text[self.start : self.end]


# Kinds of objects whose names have more than one word.
_LONG: Final = frozenset((
    b"foreign table", b"foreign data wrapper", b"materialized view", b"event trigger",
    b"access method", b"operator class", b"operator family", b"text search configuration",
    b"text search dictionary", b"text search parser", b"text search template",
))  # fmt: skip


@dataclass(slots=True, eq=False)
class Writer:
    """An item of a leading WITH that is an INSERT, UPDATE, DELETE or MERGE."""

    start: int  # of its name
    body: int  # behind the bracket that opens its statement
    statement: Statement
    mentioned: bool  # its name stands somewhere else, too
    joins: bool  # it may name other relations whose columns a star would give


class UnbalancedError(ValueError):
    """Brackets do not match, which the server refuses, too."""


_STRUCTURE: Final = frozenset((b"(", b")", b"[", b"]", b";"))
_PAIR: Final = {b")": b"(", b"]": b"["}
_BEFORE_END: Final = frozenset((b";", b"atomic"))


def split(words: list[bytes]) -> tuple[list[Span], dict[int, int]]:
    """The statements of a text as ranges of tokens, and its brackets. Empty statements are none.

    A semicolon inside of brackets (CREATE RULE) or of BEGIN ATOMIC .. END ends nothing. The END of
    such a body follows a semicolon, which the END of a CASE never does. Raises UnbalancedError.
    """
    ranges: list[Span] = []
    close: dict[int, int] = {}
    open_: list[int] = []
    first = 0
    bodies = b"atomic" in words
    in_body = False
    for index, word in enumerate(words):
        if word not in _STRUCTURE:
            if bodies and not open_:
                in_body = _in_body(words, first, index, in_body=in_body)
        elif word == b"(" or word == b"[":  # noqa: PLR1714
            open_.append(index)
            close[index] = -1
        elif word != b";":
            if not open_ or words[open_[-1]] != _PAIR[word]:
                raise UnbalancedError(index)
            close[open_.pop()] = index
        elif not open_ and not in_body:
            if first < index:
                ranges.append((first, index))
            first = index + 1
    if open_:
        raise UnbalancedError(open_[-1])
    if first < len(words):
        ranges.append((first, len(words)))
    return ranges, close


def _in_body(words: list[bytes], first: int, index: int, *, in_body: bool) -> bool:
    word = words[index]
    if word == b"atomic":
        return in_body or (words[first] == b"create" and words[index - 1] == b"begin")
    return in_body and not (word == b"end" and words[index - 1] in _BEFORE_END)
