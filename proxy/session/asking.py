"""Messages of our own on the client's connection: questions that the client's messages wait for,
and statements that stand around the client's.

Ours are named statements and a portal of ours, so that the client's unnamed ones live on.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from proxy.capture.around import Own
from proxy.session.outstanding import (
    BIND,
    CLOSE,
    DESCRIBE,
    EXECUTE,
    FUNCTION,
    PARSE,
    QUERY,
    SYNC,
    Action,
    Asked,
    Slot,
)
from proxy.wire import encode

if TYPE_CHECKING:
    from proxy.session.session import Session

_PORTAL: Final = b"hotrollback"
# The view, and the function that it is made of.
_SHOWS: Final = b"pg_prepared_statement"
# Messages that ReadyForQuery follows.
_ALONE: Final = frozenset((QUERY, FUNCTION))

Done = Callable[[Asked], None]


def _swallowed(session: "Session", kind: int, asked: Asked | None = None) -> Slot:
    slot = Slot(kind, Action.SWALLOW, asked=asked)
    session.outstanding.queue.append(slot)
    return slot


def _name_of(session: "Session", own: Own, out: list[bytes], asked: Asked | None) -> bytes:
    ours = session.names.ours
    name = ours.get(own.text)
    if name is None:
        out.extend(close_forgotten(session))
        name = ours[own.text] = session.names.fresh()
        text = own.text
        out.append(encode.parse(name, text))
        _swallowed(session, PARSE, asked).skipped = lambda: _forget(ours, text, name)
    return name


def _forget(ours: dict[bytes, bytes], text: bytes, name: bytes) -> None:
    if ours.get(text) == name:
        del ours[text]


def run(session: "Session", own: Own, asked: Asked | None = None) -> list[bytes]:
    """Messages that run a statement of ours; its answer is swallowed."""
    out: list[bytes] = []
    name = _name_of(session, own, out, asked)
    out.append(encode.bind(_PORTAL, name, own.values))
    _swallowed(session, BIND, asked)
    out.append(encode.execute(_PORTAL))
    _swallowed(session, EXECUTE, asked).refusal = own.refuses
    out.append(encode.close_portal(_PORTAL))
    _swallowed(session, CLOSE, asked)
    return out


def run_alone(session: "Session", own: Own) -> list[bytes]:
    """The same as a transaction of its own. Only between the client's transactions."""
    out = run(session, own)
    out.append(encode.SYNC)
    _swallowed(session, SYNC)
    return out


def hide(session: "Session", text: bytes) -> list[bytes]:
    """Before a text that looks at the session's prepared statements: ours are closed, and prepared
    again when they are needed."""
    if _SHOWS not in text.lower():
        return []
    session.names.forget_ours()
    out = close_forgotten(session)
    if out and not session.unsynced:
        out.append(encode.SYNC)
        _swallowed(session, SYNC)
    return out


def close_forgotten(session: "Session") -> list[bytes]:
    """What may still be there of ours under names that are not used any more."""
    forgotten = session.names.forgotten
    out = [encode.close_statement(name) for name in forgotten]
    for name in forgotten:
        _swallowed(session, CLOSE).skipped = partial(forgotten.append, name)
    forgotten.clear()
    return out


def synced(session: "Session") -> bool:
    """Whether a Sync of ours would end nothing of the client's."""
    return not session.unsynced or not (session.bound or session.in_block)


def drain(session: "Session") -> list[bytes] | None:
    """If something of the client's is on its way: messages to wait until it has been answered, and
    with it whether a transaction is open. Not inside a pipeline, where answers keep their order."""
    if not session.outstanding.queue or not synced(session):
        return None
    return wait(session)


def wait(session: "Session") -> list[bytes]:
    session.held = session.draining = True
    return [encode.FLUSH] if session.unsynced else []


def _answered(session: "Session", done: Done) -> Done:
    """What waits is looked at with this answer, however long that took."""

    def over(asked: Asked) -> None:
        session.answered = True
        done(asked)
        session.answered = False

    return over


def ask(session: "Session", owns: list[Own], done: Done, *, speaks: bool = False) -> list[bytes]:
    """The client's messages wait until the rows of all of them are here. With `speaks` an error is
    the answer to the message that waits."""
    waiting = drain(session)
    if waiting is not None:
        return waiting
    asked = Asked(_answered(session, done), session.held_for, speaks=speaks)
    out = [piece for own in owns for piece in run(session, own, asked)]
    return _wait(session, asked, out)


def describe(session: "Session", name: bytes, done: Done) -> list[bytes]:
    """What a statement of the client's returns."""
    waiting = drain(session)
    if waiting is not None:
        return waiting
    asked = Asked(_answered(session, done), session.held_for)
    _swallowed(session, DESCRIBE, asked)
    return _wait(session, asked, [encode.describe_statement(name)])


def describe_text(session: "Session", text: bytes, done: Done, *, speaks: bool) -> list[bytes]:
    """What a text would return. With `speaks` an error is the answer to the client's message that
    waits: in a transaction it has aborted it, as the message itself would have."""
    asked = Asked(_answered(session, done), session.held_for, speaks=speaks)
    name = session.names.fresh()
    for kind in (PARSE, DESCRIBE, CLOSE):
        _swallowed(session, kind, asked)
    out = [
        encode.parse(name, text),
        encode.describe_statement(name),
        encode.close_statement(name),
    ]
    return _wait(session, asked, out)


def _wait(session: "Session", asked: Asked, out: list[bytes]) -> list[bytes]:
    """A question has a Sync of its own where that ends nothing of the client's, so that it may fail
    unseen. Inside a pipeline or a transaction it has a Flush: what fails there has failed for the
    client, too, and up to its Sync nothing is run."""
    if synced(session) and not (session.in_block and asked.waiting not in _ALONE):
        out.append(encode.SYNC)
        _swallowed(session, SYNC, asked).last = True
    else:
        out.append(encode.FLUSH)
        session.outstanding.queue[-1].last = True
    session.held = True
    return out
