"""Where the clauses of a statement are: indices of tokens in, places out.

A function answers None where the text is not what it expects: a statement that is not understood is
left alone. Words that the grammar reserves are relied on; the others may be anybody's column.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from proxy.sql.lexer import Token, name_of
from proxy.sql.words import NOT_A_COLUMN_ID

Span = tuple[int, int]


class Name(NamedTuple):
    """A relation as the text names it; a database's name before the schema is left out."""

    schema: str | None
    name: str


class Source(NamedTuple):
    """A text read once: `words[i]` is the word of `tokens[i]`; `close` knows the closing bracket
    of each opening one."""

    text: bytes
    tokens: list[Token]
    words: list[bytes]
    close: dict[int, int]


class Target(NamedTuple):
    name: Name
    only: bool
    star: bool
    alias: str | None
    last: int  # index of the last token of the name
    after: int  # index of the token behind name and alias


class With(NamedTuple):
    """A leading WITH: `names` are the indices of its items' names, `bodies` of the brackets that
    open their statements."""

    recursive: bool
    first: int
    main: int  # index of the main statement's verb
    names: tuple[int, ...]
    bodies: tuple[int, ...]


class Returning(NamedTuple):
    word: int  # index of RETURNING itself
    declared: Span | None  # byte span of WITH (OLD AS .., NEW AS ..)
    aliases: tuple[str, str] | None  # of the old and the new row, if declared
    first: int  # index of the first token of the list
    stars: tuple[bool, ...]  # for each item whether it stands for any number of columns


class Conflict(NamedTuple):
    word: int  # index of CONFLICT
    update: bool  # DO UPDATE


_OPENING: Final = frozenset((b"(", b"["))
_CLOSING: Final = frozenset((b")", b"]"))
_BRACKETS: Final = frozenset((b"(", b")"))
_SIGNS: Final = frozenset((b"(", b")", b",", b".", b"::", b"="))
_BEHIND_VERB: Final = frozenset((b"into", b"from"))
_WRITES: Final = frozenset((b"insert", b"update", b"delete", b"merge"))
MAIN_VERBS: Final = _WRITES | {b"select", b"values", b"table", b"("}


def top_level(source: Source, first: int, stop: int) -> Iterator[int]:
    """Indices of the tokens that are inside no brackets (an opening bracket counts as outside)."""
    words, close = source.words, source.close
    index = first
    while index < stop:
        yield index
        index = close[index] + 1 if words[index] in _OPENING else index + 1


def find_top(source: Source, first: int, stop: int, word: bytes) -> int | None:
    """The first time a reserved word is itself there, and not a label or a part of a name."""
    words = source.words
    if word not in words[first:stop]:
        return None
    for index in top_level(source, first, stop):
        if words[index] == word and words[index - 1] not in {b".", b"as"}:
            return index
    return None


def find_name(source: Source, first: int, stop: int) -> tuple[Name, int] | None:
    """A qualified name and the index behind it."""
    text, tokens, words, _ = source
    if first >= stop or words[first] in NOT_A_COLUMN_ID:
        return None
    parts: list[str] = []
    index = first
    while True:
        part = name_of(text, tokens[index]) if index < stop else None
        if not part:
            return None
        parts.append(part)
        index += 1
        if index >= stop or words[index] != b".":
            break
        index += 1
    if len(parts) > 3:
        return None
    return Name(parts[-2] if len(parts) > 1 else None, parts[-1]), index


def find_target(
    source: Source, first: int, stop: int, then: frozenset[bytes], *, bare_alias: bool = True
) -> Target | None:
    """`[ONLY] name [*] [[AS] alias]`; behind it the statement ends or a word of `then` stands."""
    text, tokens, words, close = source
    index = first
    only = index < stop and words[index] == b"only"
    inside = stop
    if only:
        index += 1
        if index < stop and words[index] == b"(":
            inside = close[index]
            index += 1
    named = find_name(source, index, inside)
    if named is None:
        return None
    name, index = named
    if inside != stop:
        if index != inside:
            return None
        index += 1
    last = index - 1
    star = index < stop and words[index] == b"*"
    index += star
    alias = None
    explicit = index < stop and words[index] == b"as"
    index += explicit
    if explicit or (bare_alias and index < stop and words[index] not in then):
        if index >= stop or words[index] in NOT_A_COLUMN_ID:
            return None
        alias = name_of(text, tokens[index])
        if not alias:
            return None
        index += 1
    if index < stop and words[index] not in then:
        return None
    return Target(name, only, star, alias, last, index)


def find_with(source: Source, first: int, stop: int) -> With | None:
    """The items of the WITH whose word is at `first`, and where the main statement begins."""
    words, close = source.words, source.close
    index = first + 1
    # RECURSIVE is not reserved: it may be the name of an item.
    recursive = index + 1 < stop and words[index] == b"recursive" and words[index + 1] != b"as"
    index += recursive
    items = index
    names: list[int] = []
    bodies: list[int] = []
    while True:
        if index >= stop or name_of(source.text, source.tokens[index]) is None:
            return None
        names.append(index)
        index += 1
        if index < stop and words[index] == b"(":
            index = close[index] + 1
        if index >= stop or words[index] != b"as":
            return None
        index += 1
        if index < stop and words[index] == b"not":
            index += 1
        if index < stop and words[index] == b"materialized":
            index += 1
        if index >= stop or words[index] != b"(":
            return None
        bodies.append(index)
        after = _after_search(source, close[index] + 1, stop)
        if after is None:
            return None
        index = after
        if index < stop and words[index] == b",":
            index += 1
            continue
        break
    if index >= stop or words[index] not in MAIN_VERBS:
        return None
    return With(recursive, items, index, tuple(names), tuple(bodies))


def _after_search(source: Source, index: int, stop: int) -> int | None:
    """Behind `SEARCH .. SET column` and `CYCLE .. SET column [TO v DEFAULT v] USING column`."""
    words = source.words
    if index < stop and words[index] == b"search":
        try:
            index = words.index(b"set", index, stop) + 2
        except ValueError:
            return None
    if index < stop and words[index] == b"cycle":
        try:
            index = words.index(b"using", index, stop) + 2
        except ValueError:
            return None
    return index if index < stop else None


def writes_in_with(source: Source, first: int, stop: int) -> int:
    """How often INSERT, UPDATE, DELETE or MERGE begins inside of brackets. It may take a column of
    such a name for one, which costs a comparison; never the reverse."""
    words = source.words
    if _WRITES.isdisjoint(words[first + 1 : stop]):
        return 0
    found = 0
    searches = b"search" in words[first:stop] or b"cycle" in words[first:stop]
    depth = 0
    for index in range(first, stop - 1):
        word = words[index]
        if word in _OPENING:
            depth += 1
        elif word in _CLOSING:
            depth -= 1
        elif depth and word in _WRITES and (searches or words[index - 1] in _BRACKETS):
            following = words[index + 1]
            if following in _BEHIND_VERB if word != b"update" else following not in _SIGNS:
                found += 1
    return found


def find_returning(source: Source, first: int, stop: int) -> Returning | None:
    """RETURNING outside of brackets is the clause, since the word is reserved. None if there is
    none, or one that is not well formed."""
    _, tokens, words, close = source
    word = find_top(source, first, stop, b"returning")
    if word is None:
        return None
    index = word + 1
    declared: Span | None = None
    aliases: tuple[str, str] | None = None
    if words[index : index + 2] == [b"with", b"("]:
        end = close[index + 1]
        aliases = _row_aliases(source, index + 2, end)
        if aliases is None:
            return None
        declared = (tokens[index].start, tokens[end].end)
        index = end + 1
    if index >= stop:
        return None
    items: list[bool] = []
    begin = index
    for at in (*top_level(source, index, stop), stop):
        if at == stop or words[at] == b",":
            last = words[at - 1]
            items.append(last == b"*" and (at - 1 == begin or words[at - 2] == b"."))
            begin = at + 1
    return Returning(word, declared, aliases, index, tuple(items))


def labels(source: Source, returning: Returning, stop: int) -> tuple[str | None, ...]:
    """What the items of a RETURNING are called: of a star what stands before its point, or nothing;
    None where the text alone does not tell."""
    found: list[str | None] = []
    begin = returning.first
    for at in (*top_level(source, begin, stop), stop):
        if at == stop or source.words[at] == b",":
            found.append(_label(source, begin, at))
            begin = at + 1
    return tuple(found)


def _label(source: Source, begin: int, end: int) -> str | None:
    text, tokens, words, _ = source
    if words[begin:end] == [b"*"]:
        return ""
    last = end - 1
    if words[last] == b"*":
        last = end - 3  # before the point
        if last != begin:
            return None
    elif end - begin > 2 and words[last - 1] == b"as":
        return name_of(text, tokens[last])
    else:
        named = find_name(source, begin, end)
        if named is None or named[1] != end:
            return None
    return None if words[begin] in NOT_A_COLUMN_ID else name_of(text, tokens[last])


def _row_aliases(source: Source, first: int, stop: int) -> tuple[str, str] | None:
    """`OLD AS name, NEW AS name`, either of them or both."""
    found = {b"old": "old", b"new": "new"}
    for index in range(first, stop, 4):
        which = source.words[index]
        if which not in found or source.words[index + 1] != b"as" or index + 2 >= stop:
            return None
        alias = name_of(source.text, source.tokens[index + 2])
        if not alias or (index + 3 < stop and source.words[index + 3] != b","):
            return None
        found[which] = alias
    return found[b"old"], found[b"new"]


def find_conflict(source: Source, first: int, stop: int) -> Conflict | None:
    """ON CONFLICT by its DO, which is reserved; CONFLICT may be a column in a join's ON."""
    words = source.words
    do = find_top(source, first, stop, b"do")
    if do is None or do + 1 >= stop:
        return None
    word = None
    for index in top_level(source, first, do):
        if words[index] == b"conflict" and words[index - 1] == b"on":
            word = index
    if word is None or words[do + 1] not in {b"update", b"nothing"}:
        return None
    return Conflict(word, words[do + 1] == b"update")
