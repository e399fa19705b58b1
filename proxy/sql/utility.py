"""What is to be known of statements that are not SELECT, INSERT, UPDATE, DELETE or MERGE.

One function a kind (`DETAILS`) fills in the Statement, and answers the index of a name that a list
of columns may follow, if there is one. `index` is that of the statement's first word. Words that do
not fit leave the fields at what is safe.
"""

import re
from collections.abc import Callable
from typing import Final

from proxy.sql.kinds import Kind, find_kind
from proxy.sql.lexer import STRING, name_of
from proxy.sql.spans import Source, find_name, find_top, find_with
from proxy.sql.statement import Statement

Detail = Callable[[Statement, Source, int, int], int | None]

_OFF: Final = frozenset((b"off", b"false", b"0", b"'off'", b"'false'", b"'0'"))
_QUERY: Final = frozenset((b"select", b"with", b"values", b"table", b"execute", b"("))
_TEMPORARY: Final = frozenset((b"temp", b"temporary"))
_TEMPORARY_WORDS: Final = ([b"temp"], [b"temporary"])
_BEFORE_OBJECT: Final = _TEMPORARY | frozenset(
    (b"or", b"replace", b"global", b"local", b"unlogged", b"recursive", b"unique", b"trusted")
)
_NOT_BEFORE_INTO: Final = frozenset((b"insert", b"merge", b"as", b"."))
_ENDS_TRANSACTION: Final = (b"commit", b"rollback", b"call")
_WHOLE_CONSTANT: Final = re.compile(rb"'[^'\\]*+(?:''[^'\\]*+)*+'")


def kind_at(source: Source, index: int, stop: int) -> Kind:
    """Of the statement that begins there, its WITH and what follows from further words included."""
    words = source.words
    if index >= stop:
        return Kind.UNKNOWN
    if words[index] == b"with":
        found = find_with(source, index, stop)
        if found is None:
            return Kind.UNKNOWN
        index = found.main
    kind = find_kind(words[index : min(index + 4, stop)])
    refine = _REFINE.get(kind)
    return kind if refine is None else refine(source, index, stop)


def _select(source: Source, index: int, stop: int) -> Kind:
    return Kind.SELECT if _into(source.words, index, stop) is None else Kind.SELECT_INTO


def _into(words: list[bytes], index: int, stop: int) -> int | None:
    """INTO is reserved; in a query there is only that of SELECT and that of its writing WITH."""
    if b"into" in words[index:stop]:
        for at in range(index + 1, stop):
            if words[at] == b"into" and words[at - 1] not in _NOT_BEFORE_INTO:
                return at
    return None


def _copy(source: Source, index: int, stop: int) -> Kind:
    if find_top(source, index, stop, b"to") is not None:
        return Kind.COPY_TO
    return Kind.COPY_FROM


def _create(source: Source, index: int, stop: int) -> Kind:
    words = source.words
    at = _object_at(source, index, stop)
    if words[at : at + 1] == [b"table"] or words[at : at + 2] == [b"materialized", b"view"]:
        as_ = find_as(source, at, stop)
        if as_ is not None and words[as_ + 1] in _QUERY:
            return Kind.CREATE_TABLE_AS
        if words[at] == b"table":
            return Kind.CREATE_TABLE
    if b"concurrently" in words[index : index + 3]:
        return Kind.CONCURRENTLY
    return Kind.CREATE_INDEX if b"index" in words[at : at + 1] else Kind.CREATE


def find_as(source: Source, index: int, stop: int) -> int | None:
    found = find_top(source, index, stop, b"as")
    return found if found is not None and found + 1 < stop else None


def _alter(source: Source, _index: int, stop: int) -> Kind:
    return Kind.CONCURRENTLY if source.words[stop - 1] == b"concurrently" else Kind.ALTER


def _prepare(source: Source, index: int, stop: int) -> Kind:
    words = source.words[index : index + 3]
    if words[1:2] == [b"transaction"] and index + 2 < stop and words[2] == b"":
        return Kind.PREPARE_TRANSACTION
    return Kind.PREPARE


def _cluster(_source: Source, index: int, stop: int) -> Kind:
    return Kind.CLUSTER if stop - index > 1 else Kind.CLUSTER_ALL


_REFINE: Final[dict[Kind, Callable[[Source, int, int], Kind]]] = {
    Kind.SELECT: _select,
    Kind.COPY_FROM: _copy,
    Kind.CREATE: _create,
    Kind.ALTER: _alter,
    Kind.PREPARE: _prepare,
    Kind.CLUSTER: _cluster,
}


def _word(source: Source, index: int, stop: int) -> str | None:
    return name_of(source.text, source.tokens[index]) if index < stop else None


# -- settings --------------------------------------------------------------------------------

_SHORT: Final = {
    b"time zone": "timezone",
    b"session authorization": "session_authorization",
    b"session characteristics": "default_transaction_isolation",
    b"xml option": "xmloption",
}


def _setting(source: Source, index: int, stop: int) -> str | None:
    words = source.words
    short = _SHORT.get(b" ".join(words[index : index + 2]))
    if short is not None:
        return short
    if words[index : index + 1] in ([b"names"], [b"schema"]) and (
        index + 1 >= stop or words[index + 1] not in {b"=", b"to", b"."}
    ):
        return "client_encoding" if words[index] == b"names" else "search_path"
    parts: list[str] = []
    while index < stop:
        part = _word(source, index, stop)
        if part is None:
            return None
        parts.append(part.lower())
        if index + 1 >= stop or words[index + 1] != b".":
            break
        index += 2
    return ".".join(parts) or None


def _set(statement: Statement, source: Source, index: int, stop: int) -> None:
    words = source.words
    scope = words[index + 1] if index + 1 < stop else b""
    statement.setting_local = scope == b"local"
    # SESSION is a scope, or the first word of SESSION AUTHORIZATION and SESSION CHARACTERISTICS.
    following = words[index + 2] if index + 2 < stop else b"="
    if scope == b"local" or (scope == b"session" and following not in _AFTER_SESSION):
        index += 1
    statement.setting = _setting(source, index + 1, stop)


_AFTER_SESSION: Final = frozenset((b"authorization", b"characteristics", b"=", b"to"))


def _reset(statement: Statement, source: Source, index: int, stop: int) -> None:
    statement.setting = _setting(source, index + 1, stop)


# -- statements about statements -------------------------------------------------------------


def _named(statement: Statement, source: Source, index: int, stop: int) -> None:
    statement.object_name = _word(source, index + 1, stop)


def _named_or_all(statement: Statement, source: Source, index: int, stop: int) -> None:
    """CLOSE ALL, DEALLOCATE [PREPARE] ALL: no name."""
    if source.words[index : index + 2] == [b"deallocate", b"prepare"] and index + 2 < stop:
        index += 1
    if index + 1 < stop and source.words[index + 1] != b"all":
        statement.object_name = _word(source, index + 1, stop)


def _named_last(statement: Statement, source: Source, index: int, stop: int) -> None:
    if stop - index > 1:
        statement.object_name = _word(source, stop - 1, stop)


def _prepared(statement: Statement, source: Source, index: int, stop: int) -> None:
    _named(statement, source, index, stop)
    as_ = find_as(source, index, stop)
    statement.inner = Kind.UNKNOWN if as_ is None else kind_at(source, as_ + 1, stop)


def _declared(statement: Statement, source: Source, index: int, stop: int) -> None:
    _named(statement, source, index, stop)
    for_ = find_top(source, index, stop, b"for")
    statement.inner = Kind.UNKNOWN if for_ is None else kind_at(source, for_ + 1, stop)


def _explained(statement: Statement, source: Source, index: int, stop: int) -> None:
    words = source.words
    index += 1
    if index < stop and words[index] == b"(" and words[index + 1] not in _QUERY:
        statement.analyze = _analyze_option(source, index + 1, source.close[index])
        index = source.close[index] + 1
    else:
        while index < stop and words[index] in {b"analyze", b"analyse", b"verbose"}:
            statement.analyze = statement.analyze or words[index] != b"verbose"
            index += 1
    statement.inner = kind_at(source, index, stop)


def _analyze_option(source: Source, first: int, stop: int) -> bool:
    text, tokens, words, _ = source
    found = False
    for index in range(first, stop):
        if words[index] in {b"analyze", b"analyse"} and words[index - 1] in {b"(", b","}:
            value = tokens[index + 1]
            found = text[value.start : value.end].lower() not in _OFF
    return found


# -- the rest --------------------------------------------------------------------------------


def _copied(statement: Statement, source: Source, index: int, stop: int) -> int | None:
    at = index + 1
    if at < stop and source.words[at] == b"binary":
        at += 1
    named = find_name(source, at, stop)
    if named is None:
        return None
    statement.target = named[0]
    return named[1] - 1


def _truncated(statement: Statement, source: Source, index: int, stop: int) -> None:
    at = index + 1 + (source.words[index + 1 : index + 2] == [b"table"])
    _targets(statement, source, at, stop)


def _table_changed(statement: Statement, source: Source, index: int, stop: int) -> None:
    """ALTER TABLE, DROP TABLE: which; of other objects nothing is told."""
    words = source.words
    if words[index + 1 : index + 2] != [b"table"] or words[index + 2 : index + 3] == [b"all"]:
        return
    at = index + 2
    if words[at : at + 2] == [b"if", b"exists"]:
        at += 2
    _targets(statement, source, at, stop)


def _targets(statement: Statement, source: Source, at: int, stop: int) -> None:
    words = source.words
    targets = []
    while at < stop:
        only = words[at] == b"only"
        named = find_name(source, at + only, stop)
        if named is None:
            statement.understood = False
            return
        targets.append(named[0])
        at = named[1] + (words[named[1] : named[1] + 1] == [b"*"])
        if at >= stop or words[at] != b",":
            break
        at += 1
    statement.targets = tuple(targets)
    if len(targets) == 1:
        statement.target = targets[0]


def _done(statement: Statement, source: Source, index: int, stop: int) -> None:
    """DO: its code, if that is one constant without escapes; and whether it cannot end the
    transaction, which only COMMIT, ROLLBACK or a procedure that it calls can."""
    text, tokens, words, _ = source
    bodies = [token for token in tokens[index + 1 : stop] if token.kind == STRING]
    if len(bodies) != 1:
        return
    written = text[bodies[0].start : bodies[0].end]
    if written.startswith(b"$"):
        tag = written.index(b"$", 1) + 1
        body = written[tag:-tag]
    elif _WHOLE_CONSTANT.fullmatch(written):
        body = written[1:-1].replace(b"''", b"'")
    else:
        return
    plpgsql = b"language" not in words[index:stop] or b"plpgsql" in words[index:stop]
    lower = body.lower()
    statement.body = body
    statement.cannot_commit = plpgsql and not any(word in lower for word in _ENDS_TRANSACTION)


def _object_at(source: Source, index: int, stop: int) -> int:
    """The word behind CREATE and its modifiers."""
    index += 1
    while index < stop and source.words[index] in _BEFORE_OBJECT:
        index += 1
    return index


def _created(statement: Statement, source: Source, index: int, stop: int) -> int | None:
    words = source.words
    at = _object_at(source, index, stop)
    temporary = not _TEMPORARY.isdisjoint(words[index:at])
    at += 2 if words[at : at + 1] == [b"materialized"] else 1
    at += 3 if words[at : at + 3] == [b"if", b"not", b"exists"] else 0
    statement.temporary_object = temporary or words[at : at + 2] == [b"pg_temp", b"."]
    named = find_name(source, at, stop)
    return None if named is None else named[1] - 1


def _indexed(statement: Statement, source: Source, index: int, stop: int) -> None:
    """CREATE INDEX: of which table. Of others that run concurrently nothing is told."""
    if source.words[index] != b"create":
        return
    at = index
    while at < stop and source.words[at] != b"on":
        at += 1
    named = find_name(source, at + 1 + (source.words[at + 1 : at + 2] == [b"only"]), stop)
    if named is not None:
        statement.targets = (named[0],)


def _selected_into(statement: Statement, source: Source, index: int, stop: int) -> None:
    words = source.words
    at = _into(words, index, stop)
    if at is None or at + 1 >= stop:
        return
    at += 2 if words[at + 1] == b"local" else 1
    statement.temporary_object = words[at : at + 1] in _TEMPORARY_WORDS or words[at : at + 2] == [
        b"pg_temp",
        b".",
    ]


DETAILS: Final[dict[Kind, Detail]] = {
    Kind.SET: _set,
    Kind.RESET: _reset,
    Kind.SHOW: _reset,
    Kind.PREPARE: _prepared,
    Kind.EXECUTE: _named,
    Kind.DEALLOCATE: _named_or_all,
    Kind.DECLARE: _declared,
    Kind.CLOSE: _named_or_all,
    Kind.FETCH: _named_last,
    Kind.MOVE: _named_last,
    Kind.DISCARD: _named,
    Kind.SAVEPOINT: _named,
    Kind.RELEASE: _named_last,
    Kind.ROLLBACK_TO: _named_last,
    Kind.EXPLAIN: _explained,
    Kind.COPY_FROM: _copied,
    Kind.COPY_TO: _copied,
    Kind.TRUNCATE: _truncated,
    Kind.ALTER: _table_changed,
    Kind.DROP: _table_changed,
    Kind.DO: _done,
    Kind.CREATE: _created,
    Kind.CREATE_TABLE: _created,
    Kind.CREATE_INDEX: _indexed,
    Kind.CONCURRENTLY: _indexed,
    Kind.CREATE_TABLE_AS: _created,
    Kind.SELECT_INTO: _selected_into,
}
