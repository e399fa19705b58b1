"""From tokens to a Statement."""

from collections.abc import Iterable
from typing import Final

from proxy.sql.kinds import Group, Kind, find_kind
from proxy.sql.lexer import name_of
from proxy.sql.names import find_names
from proxy.sql.spans import (
    Conflict,
    Returning,
    Source,
    Span,
    Target,
    With,
    find_conflict,
    find_returning,
    find_target,
    find_top,
    find_with,
    labels,
    writes_in_with,
)
from proxy.sql.statement import Statement, Writer
from proxy.sql.utility import DETAILS, kind_at

_NAMELESS: Final = frozenset((Group.TRANSACTION, Group.SESSION, Group.MAINTENANCE))
_AFTER_UPDATE: Final = frozenset((b"set",))
_AFTER_DELETE: Final = frozenset((b"using", b"where", b"returning"))
_AFTER_MERGE: Final = frozenset((b"using",))
_AFTER_INSERT: Final = frozenset(
    (b"(", b"default", b"overriding", b"select", b"values", b"with", b"table")
)
# The words before other relations.
_JOINS: Final = {Kind.UPDATE: b"from", Kind.DELETE: b"using", Kind.MERGE: b"using"}
_ONLY_INTO: Final = {Kind.INSERT: b"into", Kind.MERGE: b"into", Kind.DELETE: b"from"}
_THEN: Final = {
    Kind.INSERT: _AFTER_INSERT,
    Kind.UPDATE: _AFTER_UPDATE,
    Kind.DELETE: _AFTER_DELETE,
    Kind.MERGE: _AFTER_MERGE,
}
# Statements of which something must follow the target.
_NEEDS_MORE: Final = frozenset((Kind.INSERT, Kind.UPDATE, Kind.MERGE))


def read(source: Source, first: int, stop: int) -> Statement:
    """The statement of the tokens from `first` to before `stop`, which are at least one."""
    tokens, words = source.tokens, source.words
    with_ = find_with(source, first, stop) if words[first] == b"with" else None
    main = first if with_ is None else with_.main
    kind = find_kind(words[main : min(main + 4, stop)])
    writer = kind.group is Group.ROW_WRITER
    statement = Statement(
        kind if writer else kind_at(source, first, stop),
        tokens[first].start,
        tokens[stop - 1].end,
        tuple(words[first : min(first + 4, stop)]),
    )
    statement.body_start = tokens[main].start
    if with_ is not None:
        statement.with_span = (tokens[with_.first].start, tokens[main - 1].end)
        statement.recursive = with_.recursive
    if writer:
        _row_writer(statement, source, first, stop, with_)
    else:
        _other(statement, source, first, stop, with_)
    if with_ is not None and statement.ctes_write:
        statement.writers = _writers(source, first, stop, with_)
    return statement


def _writers(source: Source, first: int, stop: int, with_: With) -> tuple[Writer, ...]:
    """None of them if something else inside of brackets writes, too."""
    found: list[Writer] = []
    for name, body in zip(with_.names, with_.bodies, strict=True):
        begin, end = body + 1, source.close[body]
        if begin == end:
            continue
        inner = read(source, begin, end)
        if inner.kind.group is Group.ROW_WRITER:
            word = _JOINS.get(inner.kind, b"")
            joins = find_top(source, begin, end, word) is not None
            found.append(_writer(source, (first, stop), name, inner, joins=joins))
    return tuple(found) if len(found) == writes_in_with(source, first, stop) else ()


def _writer(source: Source, within: Span, name: int, inner: Statement, *, joins: bool) -> Writer:
    text, tokens, _, _ = source
    called = name_of(text, tokens[name])
    mentions = sum(name_of(text, token) == called for token in tokens[slice(*within)])
    return Writer(tokens[name].start, inner.start, inner, mentions != 1, joins)


def _row_writer(
    statement: Statement, source: Source, first: int, stop: int, with_: With | None
) -> None:
    main = first if with_ is None else with_.main
    kind = statement.kind
    target = _target(source, main, stop, kind)
    skip = _skipped(source.words, target, with_, kind)
    conflict = find_conflict(source, main, stop) if kind is Kind.INSERT else None
    if conflict is not None:
        skip.append(conflict.word)
    complete = _name(statement, source, first, stop, skip)
    returning = None
    malformed = kind is Kind.INSERT and conflict is None and find_top(source, main, stop, b"do")
    if b"returning" in source.words:
        returning = find_returning(source, main, stop)
        malformed = malformed or (
            returning is None and find_top(source, main, stop, b"returning") is not None
        )
    if target is None or not complete or malformed:
        statement.understood = False
        return
    statement.target = target.name
    statement.target_only = target.only
    statement.target_star = target.star
    statement.target_end = source.tokens[target.after - 1].end
    statement.alias = target.alias
    statement.current_of = _current_of(source, main, stop, kind)
    statement.overriding = _overriding(source, target.after, stop, kind)
    _clauses(statement, source, stop, returning, conflict)


def _clauses(
    statement: Statement,
    source: Source,
    stop: int,
    returning: Returning | None,
    conflict: Conflict | None,
) -> None:
    if returning is not None:
        tokens = source.tokens
        statement.returning = (tokens[returning.first].start, statement.end)
        statement.returning_start = tokens[returning.word].start
        statement.returning_with = returning.declared
        statement.returning_aliases = returning.aliases
        statement.returning_columns = returning.stars
        if True not in returning.stars:
            statement.returning_items = len(returning.stars)
        if statement.start:
            statement.returning_labels = labels(source, returning, stop)
    if conflict is not None:
        statement.has_on_conflict = True
        statement.do_update = conflict.update


def _name(statement: Statement, source: Source, first: int, stop: int, skip: Iterable[int]) -> bool:
    """Fills in what it names; False if a name was beyond reading."""
    names = find_names(source, first, stop, skip)
    statement.idents = names.idents
    statement.calls = names.calls
    statement.qualified_calls = names.qualified_calls
    statement.operators = names.operators
    statement.params = names.params
    statement.ctes_write = writes_in_with(source, first, stop) > 0
    return names.complete


def _target(source: Source, main: int, stop: int, kind: Kind) -> Target | None:
    index = main + 1
    into = _ONLY_INTO.get(kind)
    if into is not None:
        if index >= stop or source.words[index] != into:
            return None
        index += 1
    inserts = kind is Kind.INSERT
    target = find_target(source, index, stop, _THEN[kind], bare_alias=not inserts)
    if target is None or (target.after >= stop and kind in _NEEDS_MORE):
        return None
    return None if inserts and (target.only or target.star) else target


def _skipped(
    words: list[bytes], target: Target | None, with_: With | None, kind: Kind
) -> list[int]:
    """Indices of names behind which a parenthesis opens a list of columns."""
    skip = [] if with_ is None else list(with_.names)
    if target is not None:
        skip.append(target.after - 1)
        if kind is Kind.UPDATE and words[target.after] == b"set":
            skip.append(target.after)
    return skip


def _current_of(source: Source, main: int, stop: int, kind: Kind) -> bool:
    words = source.words
    if kind not in {Kind.UPDATE, Kind.DELETE} or b"current" not in words[main:stop]:
        return False
    where = find_top(source, main, stop, b"where")
    return where is not None and words[where + 1 : where + 3] == [b"current", b"of"]


def _overriding(source: Source, first: int, stop: int, kind: Kind) -> Span | None:
    """OVERRIDING {USER | SYSTEM} VALUE, directly behind the target or its list of columns."""
    if kind is not Kind.INSERT or b"overriding" not in source.words[first:stop]:
        return None
    if source.words[first] == b"(":
        first = source.close[first] + 1
    if source.words[first : first + 1] == [b"overriding"] and first + 2 < stop:
        return source.tokens[first].start, source.tokens[first + 2].end
    return None


def _other(statement: Statement, source: Source, first: int, stop: int, with_: With | None) -> None:
    detail = DETAILS.get(statement.kind)
    skip = [first]
    if detail is not None:
        named = detail(statement, source, first, stop)
        if named is not None:
            skip.append(named)
    group = statement.kind.group
    if group in _NAMELESS:
        return
    if with_ is not None:
        skip.extend(with_.names)
    if not _name(statement, source, first, stop, skip):
        # It may call what nobody could look up: opaque, where that matters.
        statement.understood = False
        if group is Group.READER:
            statement.kind = Kind.UNKNOWN
    statement.temporary = (
        statement.temporary_object and not statement.calls and not statement.ctes_write
    )


def opaque(start: int, end: int) -> Statement:
    """A text that cannot be read, as one statement."""
    statement = Statement(Kind.UNKNOWN, start, end, ())
    statement.understood = False
    return statement
