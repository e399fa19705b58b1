"""Which names a statement uses: identifiers, what it may call, operators, parameters.

A name too many costs a question, a name too few is a write that nobody notices: what cannot be told
apart from a call counts as one.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from proxy.sql.lexer import PARAM, QUOTED, UNICODE, WORD, name_of
from proxy.sql.spans import Source
from proxy.sql.words import BUILT_IN_SIGNS, NOT_CALLED, RESERVED


class Names(NamedTuple):
    idents: frozenset[str]
    calls: frozenset[str]  # the last parts of qualified ones
    qualified_calls: frozenset[tuple[str, str]]  # schema, name
    operators: frozenset[bytes]  # not among the server's own
    params: int  # the highest $n
    complete: bool  # no name was beyond reading


_NO_NAMES: Final = RESERVED | BUILT_IN_SIGNS | {b""}
_BEFORE_TYPE: Final = frozenset((b"::", b"as"))
# In front of a word and its parenthesis these say that it is no function.
_MAY_BE_NAMES: Final = frozenset((WORD, QUOTED))
_PAIRS: Final = frozenset((
    (b"group", b"by"), (b"order", b"by"), (b"partition", b"by"), (b"grouping", b"sets"),
    (b"update", b"set"), (b"then", b"insert"),
))  # fmt: skip
_IN_WINDOW: Final = frozenset((b")", b"partition", b"order", b"rows", b"range", b"groups"))
_FIRST_OF_NAME: Final = frozenset(b"abcdefghijklmnopqrstuvwxyz_") | frozenset(range(0x80, 0x100))


def find_names(source: Source, first: int, stop: int, skip: Iterable[int]) -> Names:
    """Of the tokens from `first` to before `stop`; `skip` are indices of names that a list of
    columns follows."""
    text, tokens, words, close = source
    start, end = tokens[first].start, tokens[stop - 1].end
    idents: set[str] = set()
    operators: set[bytes] = set()
    complete = True
    for word in set(words[first:stop]) - _NO_NAMES:
        if word[0] not in _FIRST_OF_NAME:
            operators.add(word)
        elif len(word) <= 63:
            idents.add(word.decode("utf-8", "surrogateescape"))
        else:
            # By a token: its name is cut off, or cannot be known.
            named = name_of(text, tokens[words.index(word, first, stop)])
            complete = complete and named is not None
            idents.add(named or "")
    if text.find(b'"', start, end) != -1:
        for index in range(first, stop):
            kind = tokens[index].kind
            if kind == QUOTED:
                named = name_of(text, tokens[index])
                complete = complete and named is not None
                idents.add(named or "")
            elif kind == UNICODE:
                complete = False
    params = 0
    if text.find(b"$", start, end) != -1:
        params = max(
            (int(text[t.start + 1 : t.end]) for t in tokens[first:stop] if t.kind == PARAM),
            default=0,
        )
    calls: set[str] = set()
    qualified: set[tuple[str, str]] = set()
    skipped = frozenset(skip)
    for opening in close:
        before = opening - 1
        if first <= before and opening < stop and before not in skipped:
            called = _called(source, first, before)
            if called is _OPERATOR:
                operators.update(words[opening + 1 : close[opening]])
            elif called is not None:
                calls.add(called[1])
                if called[0] is not None:
                    qualified.add((called[0], called[1]))
    return Names(
        frozenset(idents), frozenset(calls), frozenset(qualified), frozenset(operators),
        params, complete,
    )  # fmt: skip


_Called = tuple[str | None, str]
_OPERATOR: Final[_Called] = (None, "operator")


def _called(source: Source, first: int, index: int) -> _Called | None:
    """Schema and name of what is called, if the token before an opening bracket (at `index`) may be
    a function's name; _OPERATOR for OPERATOR(schema.sign)."""
    text, tokens, words, _ = source
    if tokens[index].kind not in _MAY_BE_NAMES or words[index + 1] == b"[":
        return None
    word = words[index]
    before = words[index - 1] if index > first else b""
    schema = None
    if before == b"." and index - 2 >= first:
        schema = name_of(text, tokens[index - 2])
        chain = index - 2
        while chain - 2 >= first and words[chain - 1] == b".":
            chain -= 2
        before = words[chain - 1] if chain > first else b""
    elif word in NOT_CALLED or (before, word) in _PAIRS:
        return None
    elif word == b"operator":
        return _OPERATOR
    if before in _BEFORE_TYPE or _is_clause(words, index, word, before):
        return None
    name = name_of(text, tokens[index])
    return None if name is None else (schema, name)


def _is_clause(words: list[bytes], index: int, word: bytes, before: bytes) -> bool:
    """FILTER (WHERE ..) and OVER (..), which are not reserved."""
    inside = words[index + 2] if index + 2 < len(words) else b""
    if word == b"filter":
        return inside == b"where"
    return word == b"over" and before == b")" and inside in _IN_WINDOW
