"""What a second, independent reader makes of a statement: sqlglot. No other file knows it.

A statement is rewritten only where both readers agree. sqlglot knows most of PostgreSQL's grammar
and none of the places; where it does not know the grammar of a statement it must at least see the
same tokens at the same places. The answer is remembered by shape: values make no difference.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from sqlglot import exp
from sqlglot.dialects.postgres import Postgres
from sqlglot.errors import SqlglotError

from proxy.sql.kinds import Kind
from proxy.sql.lexer import PARAM, QUOTED, STRING, Token
from proxy.sql.shape import readable
from proxy.sql.statement import Statement
from proxy.sql.words import NOT_CALLED

# What it cannot parse it says in the log, too; the answer None is enough.
logging.getLogger("sqlglot").setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class Meaning:
    kind: Kind
    schema: str | None
    name: str
    alias: str | None
    only: bool
    has_with: bool
    writes_in_with: bool
    returning: int | None  # how many items, None without the clause
    conflict: str | None  # "nothing", "update"
    functions: frozenset[str]  # that are not sqlglot's own
    writers: tuple["Meaning | None", ...]  # writing items of its WITH


_KINDS: Final[dict[type[exp.Expr], Kind]] = {
    exp.Insert: Kind.INSERT,
    exp.Update: Kind.UPDATE,
    exp.Delete: Kind.DELETE,
    exp.Merge: Kind.MERGE,
}
_WRITING: Final = tuple(_KINDS)
_DIALECT: Final = Postgres()
_NAME_LENGTH: Final = 63
# Longer statements are given to it without their values; it takes a microsecond a byte.
_LONGEST: Final = 4000
_WAITING_JOINS: Final = 6
_SUBSCRIPTS: Final = 50
# What an opening bracket behind it is no subscript of.
_BEGINS_ARRAY: Final = frozenset((b"array", b"[", b","))
_WAITS: Final = frozenset((b"join", b"lateral"))
_ENDS_WAITING: Final = frozenset((b"on", b"using", b"where", b"select"))
_OPENING: Final = frozenset((b"(", b"["))
_CLOSING: Final = frozenset((b")", b"]"))


def meaning(text: bytes) -> Meaning | None:
    """None where sqlglot cannot read it, or must not be asked."""
    if len(text) > _LONGEST:
        return None
    try:
        parsed = _DIALECT.parse(text.decode("utf-8", "surrogateescape"))
    except (SqlglotError, RecursionError, ValueError, TypeError, AttributeError, IndexError):
        # It is a guest: what it stumbles over is not the client's fault.
        return None
    if len(parsed) != 1 or parsed[0] is None:
        return None
    return _read(parsed[0])


def _doubles(tokens: Sequence[Token]) -> bool:
    """Whether joins wait for their ON while others begin: sqlglot takes twice the time for each."""
    waiting = [0]
    total = 0
    before = b""
    for token in tokens:
        last, before = before, token.word
        word = token.word
        if last == b".":
            continue
        if word in _WAITS:
            waiting[-1] += 1
            total += 1
            if total > _WAITING_JOINS:
                return True
        elif word in _ENDS_WAITING or word in _CLOSING:
            total -= waiting[-1]
            waiting[-1] = 0
            if word in _CLOSING and len(waiting) > 1:
                waiting.pop()
        elif word in _OPENING:
            waiting.append(0)
    return False


def _subscripts(tokens: Sequence[Token]) -> int:
    """For each of them sqlglot looks at all that it stands behind, or around."""
    words = [token.word for token in tokens]
    return sum(word == b"[" and before not in _BEGINS_ARRAY for before, word in pairwise(words))


def _read(root: exp.Expr) -> Meaning | None:
    kind = _KINDS.get(type(root))
    if kind is None:
        return _reader(root)
    table = root.this.this if isinstance(root.this, exp.Schema) else root.this
    if not isinstance(table, exp.Table) or not isinstance(table.this, exp.Identifier):
        return None
    schema = table.args.get("db")
    alias = table.args.get("alias")
    returning = root.args.get("returning")
    with_ = root.args.get("with_")
    return Meaning(
        kind=kind,
        schema=_name(schema) if schema else None,
        name=_name(table.this),
        alias=_name(alias.this) if alias else None,
        only=bool(table.args.get("only")),
        has_with=with_ is not None,
        writes_in_with=with_ is not None and with_.find(*_WRITING) is not None,
        returning=len(returning.expressions) if returning else None,
        conflict=_conflict(root.args.get("conflict")),
        functions=frozenset(map(_function, root.find_all(exp.Anonymous))),
        writers=_writers(with_),
    )


def _reader(root: exp.Expr) -> Meaning | None:
    with_ = root.args.get("with_")
    if not isinstance(root, exp.Query) or with_ is None:
        return None
    functions = frozenset(map(_function, root.find_all(exp.Anonymous)))
    return Meaning(
        kind=Kind.SELECT,
        schema=None,
        name="",
        alias=None,
        only=False,
        has_with=True,
        writes_in_with=with_.find(*_WRITING) is not None,
        returning=None,
        conflict=None,
        functions=functions,
        writers=_writers(with_),
    )


def _writers(with_: exp.Expr | None) -> tuple[Meaning | None, ...]:
    items = with_.expressions if with_ is not None else ()
    return tuple(_read(item.this) for item in items if isinstance(item.this, _WRITING))


def _name(identifier: exp.Expr) -> str:
    name: str = identifier.name
    return _cut(name if identifier.args.get("quoted") else _fold(name))


def _fold(name: str) -> str:
    return "".join(letter.lower() if letter.isascii() else letter for letter in name)


def _cut(name: str) -> str:
    return name[:_NAME_LENGTH]


def _function(called: exp.Anonymous) -> str:
    if isinstance(called.this, exp.Identifier):
        return _name(called.this)
    return _cut(_fold(called.name))


def _conflict(clause: exp.Expr | None) -> str | None:
    if clause is None:
        return None
    return "nothing" if "NOTHING" in str(clause.args.get("action")).upper() else "update"


def difference(statement: Statement, meant: Meaning) -> str | None:
    """The first thing about which the two readers differ; None if they agree."""
    target = statement.target or (None, "")
    conflict = "update" if statement.do_update else "nothing"
    returning = len(statement.returning_columns) if statement.returning is not None else None
    rows = (
        ("kind", statement.kind is meant.kind),
        ("target", target == (meant.schema, meant.name)),
        ("only", statement.target_only == meant.only),
        ("alias", statement.alias == meant.alias),
        ("with", (statement.with_span is not None) == meant.has_with),
        ("writing with", statement.ctes_write or not meant.writes_in_with),
        ("returning", returning == meant.returning),
        ("conflict", meant.conflict == (conflict if statement.has_on_conflict else None)),
        ("functions", all(_known(statement, name) for name in meant.functions)),
        ("writers", len(statement.writers) == len(meant.writers) or not statement.writers),
        *(
            ("writer", theirs is not None and difference(ours.statement, theirs) is None)
            for ours, theirs in zip(statement.writers, meant.writers, strict=False)
        ),
    )
    return next((name for name, same in rows if not same), None)


def _known(statement: Statement, function: str) -> bool:
    return function in statement.calls or function.encode() in NOT_CALLED


# -- where it does not know the grammar --------------------------------------------------------

_LANDMARKS: Final = frozenset(
    b"( ) [ ] , insert into update delete from merge using set where values select"
    b" returning".split()
)
_CONSTANTS: Final = frozenset((STRING, QUOTED))
_QUOTED: Final = re.compile(rb"(?:[a-zA-Z]|[uU]&)?['\"]|\$.")


def same_places(text: bytes, tokens: Sequence[Token]) -> bool:
    """Whether sqlglot's tokenizer sees constants, brackets, commas and RETURNING where we do."""
    begin, end = tokens[0].start, tokens[-1].end
    piece = text[begin:end]
    try:
        seen = _DIALECT.tokenize(piece.decode("latin-1"))
    except (SqlglotError, ValueError):
        return False
    ours = [
        (token.start - begin, token.end - begin)
        for token in tokens
        if token.kind in _CONSTANTS or token.word in _LANDMARKS
    ]
    theirs = [
        (token.start, token.end + 1)
        for token in seen
        if _QUOTED.match(piece, token.start)
        or piece[token.start : token.end + 1].lower() in _LANDMARKS
    ]
    return ours == theirs


def agreed(
    statement: Statement,
    text: bytes,
    tokens: Sequence[Token],
    key: bytes,
    *,
    standard_strings: bool,
) -> bool:
    """`tokens` are those of the statement, `key` its folded shape. Values make a difference only
    where a backslash escapes in plain constants, which is nothing that sqlglot would know."""
    if not standard_strings and text.find(b"\\", tokens[0].start, tokens[-1].end) != -1:
        return _agreed(statement, text, tokens, key)
    answer = _answers.get(key)
    if answer is None:
        answer = _agreed(statement, text, tokens, key)
        if len(_answers) >= _REMEMBERED:
            _answers.clear()
        _answers[key] = answer
    return answer


_REMEMBERED: Final = 4096
_answers: Final[dict[bytes, bool]] = {}


def _agreed(statement: Statement, text: bytes, tokens: Sequence[Token], key: bytes) -> bool:
    short = tokens[-1].end - tokens[0].start <= _LONGEST
    if short:
        text = _without_params(text, tokens)
    piece = statement.slice(text) if short else readable(key)
    slow = _doubles(tokens) or _subscripts(tokens) > _SUBSCRIPTS
    meant = None if slow else meaning(piece)
    if meant is not None:
        return difference(statement, meant) is None
    return short and same_places(text, tokens)


def _without_params(text: bytes, tokens: Sequence[Token]) -> bytes:
    """With a number of the same length for each parameter: it takes `$1,$` for a quote."""
    pieces: list[bytes] = []
    at = 0
    for token in tokens:
        if token.kind == PARAM:
            pieces += (text[at : token.start], b"1" * (token.end - token.start))
            at = token.end
    return b"".join((*pieces, text[at:])) if pieces else text
