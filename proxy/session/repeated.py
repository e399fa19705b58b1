"""A simple query that was sent before with other values.

What only reads is known by its text without the values, and passes. A write that is rewritten is
run as a prepared statement of ours with its values as parameters: to plan the rewritten text anew
each time takes the server longer than to run it. What it answers is the answer to a simple query.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from proxy.capture.plan import How, Plan
from proxy.catalog.cache import Known
from proxy.session import effects, extended
from proxy.session.names import Prepared
from proxy.session.outstanding import (
    BIND,
    EXECUTE,
    PARSE,
    PLAIN,
    QUERY,
    SWALLOWED_CLOSE,
    SYNC,
    Action,
    Sent,
    Slot,
)
from proxy.session.planning import Hold, plan
from proxy.sql.analyse import read_anew
from proxy.sql.form import Form, form
from proxy.sql.kinds import Group
from proxy.sql.literals import LONGEST, Cut, cut, types, value, with_parameters
from proxy.sql.splice import Edit, apply
from proxy.sql.statement import Statement
from proxy.wire import encode
from undo.image import ColumnKind

if TYPE_CHECKING:
    from proxy.session.session import Session

# What texts are without their values: of this process, and of a session.
_REMEMBERED: Final = 4096
_REPEATED: Final = 400
# So many times a session sends it before it is prepared.
_OFTEN: Final = 5
_KINDS: Final = frozenset(
    {ColumnKind.PLAIN, ColumnKind.SENSITIVE, ColumnKind.JSON, ColumnKind.TEXT}
)
# Of these no value is refused.
_TEXTS: Final = frozenset({"text", "character varying"})


@dataclass(frozen=True, slots=True)
class Seen:
    """`form` of a write; without it, it passes or is to be read each time."""

    passes: bool = False
    form: Form | None = None
    fingerprint: int = 0


@dataclass(slots=True, eq=False)
class Repeated:
    """A write of this session with values of these types."""

    prepared: Prepared
    statement: Statement
    form: Form
    known: Known | None = None  # what was known of its columns when they were looked at
    fits: bool = False  # its strings are for columns of types that take them as they take constants
    cannot_fail: bool = False  # and whatever they are


_PASSES: Final = Seen(passes=True)
_seen: dict[bytes, Seen] = {}


def find(session: "Session", text: bytes) -> Cut | None:
    """The text without its values, if it is worth while and can be told."""
    if len(text) > LONGEST or not session.standard_strings or not session.safe_encoding:
        return None
    return cut(text)


def query(
    session: "Session", found: Cut, text: bytes, buf: bytes, pos: int, end: int
) -> list[bytes] | bool | None:
    """What goes to the server for it, None to forward it. False: it is to be read."""
    seen = _seen.get(found.key)
    if seen is None:
        return False
    if seen.passes:
        session.simple_sent()
        session.outstanding.queue.append(PLAIN[QUERY])
        return None
    if (
        seen.form is None
        or not session.around.prepare
        or session.outstanding.queue
        or session.unsynced
    ):
        return False
    known = session.known()
    if known is None or not session.watching or not session.recording:
        return False
    again = _repeated(session, found, seen)
    if again is None:
        return False
    statement = again.statement
    session.held_for = QUERY
    chosen = plan(session, statement, again.prepared.text, None, again.prepared, told=text)
    if isinstance(chosen, Hold):
        return chosen.out
    if chosen.how is not How.REWRITE or chosen.watch or chosen.late:
        return False
    if not _fits(session, again, chosen, known) or not _readable(session, text):
        return False
    effects.sent(session, statement)
    session.count(chosen)
    return _send(session, again.prepared, chosen, found, buf[pos:end])


def passes(found: Cut, statements: tuple[Statement, ...]) -> None:
    """It was read, and writes nothing."""
    if all(map(_only_reads, statements)):
        _remember(found, _PASSES)


def _only_reads(statement: Statement) -> bool:
    reads = statement.kind.group is Group.READER and statement.understood
    return reads and not (statement.calls or statement.ctes_write)


def rewritten(found: Cut, text: bytes, statement: Statement) -> None:
    """It was read, and is one statement that is rewritten."""
    if found.key not in _seen:
        known = form(text, found, statement)
        _remember(found, Seen(form=known, fingerprint=statement.fingerprint))


def _remember(found: Cut, seen: Seen) -> None:
    if len(_seen) >= _REMEMBERED:
        del _seen[next(iter(_seen))]
    _seen[found.key] = seen


def _repeated(session: "Session", found: Cut, seen: Seen) -> Repeated | None:
    """None until it has come often enough: each takes memory of the server's."""
    repeated = session.names.repeated
    told = types(found.literals)
    if told is None or seen.form is None:
        return None
    key = (found.key, told)
    again = repeated.get(key, 0)
    if isinstance(again, Repeated):
        return again
    if not again and len(repeated) >= _REPEATED:
        del repeated[next(iter(repeated))]
    repeated[key] = again + 1
    if again + 1 < _OFTEN:
        return None
    text = with_parameters(found.key)
    read = read_anew(text)
    if len(read.statements) != 1:
        return None
    read.statements[0].fingerprint = seen.fingerprint
    oids = len(told).to_bytes(2, "big") + b"".join(oid.to_bytes(4, "big") for oid in told)
    made = repeated[key] = Repeated(
        Prepared(text, oids, analysis=read), read.statements[0], seen.form
    )
    return made


def _fits(session: "Session", again: Repeated, chosen: Plan, known: Known) -> bool:
    """Whether its strings are read by the server as constants would be. What it might not take must
    not end the client's transaction."""
    if again.known is not known:
        again.known = known
        columns = known.columns.get(chosen.relation.oid, ()) if chosen.relation is not None else ()
        named = {column.name: column for column in columns}
        strings = []
        for place in again.form.places:
            if isinstance(place, int):
                strings.append(columns[place] if place < len(columns) else None)
            elif place is not None:
                strings.append(named.get(place))
        again.fits = all(column is not None and column.kind in _KINDS for column in strings)
        again.cannot_fail = again.fits and all(
            c is not None and c.type_sql in _TEXTS for c in strings
        )
    return again.cannot_fail or (again.fits and not session.in_block)


def _readable(session: "Session", text: bytes) -> bool:
    """Whether its encoding is what it should be, and the server's: what is wrong with a
    parameter's is told in other words."""
    if text.isascii():
        return True
    told = session.parameters
    if not told.get(b"client_encoding") == told.get(b"server_encoding") == b"UTF8":
        return False
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _send(
    session: "Session", prepared: Prepared, chosen: Plan, found: Cut, original: bytes
) -> list[bytes]:
    queue = session.outstanding.queue
    out: list[bytes] = []
    if b"" in session.names.statements:
        # A simple query takes it with it, whatever becomes of the query.
        queue.append(SWALLOWED_CLOSE)
        out.append(encode.close_statement(b""))
    session.simple_sent()
    shadow, behind = extended.shadow(session, prepared, chosen, out)
    back = partial(_back, shadow.back, found, original)
    if queue and queue[-1].kind == PARSE:
        queue[-1].back = back
    word = prepared.word
    queue.append(Slot(BIND, Action.SIMPLE, word, back=back, renamed=(shadow.name, b"")))
    out.append(encode.bind(b"", shadow.name, [value(literal) for literal in found.literals]))
    queue.append(Slot(EXECUTE, Action.SIMPLE, word, back=back))
    out.append(encode.execute())
    if session.in_block:
        behind = [*behind, encode.close_portal(b"")]
    queue.extend([SWALLOWED_CLOSE] * len(behind))
    queue.append(Slot(SYNC, sent=Sent(original, int, not session.in_block, chosen)))
    session.alone = True
    return [*out, *behind, encode.SYNC]


def _back(
    ours: Callable[[int], int | None], found: Cut, original: bytes, position: int
) -> int | None:
    """A place in our form of the statement, in what the client has sent."""
    place = ours(position)
    if place is None:
        return None
    edits = [Edit(*span, b"$%d" % n, "value", span[0]) for n, span in enumerate(found.spans, 1)]
    return apply(original[5:-1], edits)[1].back(place)
