"""What a client's message does: one function a type.

A function returns None to forward the message as it came, or the messages that go to the server in
its place. If it leaves `session.held` set, what it returns goes out first and the message itself
waits and is looked at again when the answer is here.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from proxy.capture import around
from proxy.session import asking, batch, call, extended
from proxy.session.names import Prepared
from proxy.session.outstanding import (
    BIND,
    CLOSE,
    COPY_DONE,
    DESCRIBE,
    FUNCTION,
    PARSE,
    PLAIN,
    QUERY,
    SYNC,
    Copying,
    Slot,
)
from proxy.wire import decode

if TYPE_CHECKING:
    from proxy.session.session import Session

Handler = Callable[["Session", bytes, int, int], list[bytes] | None]

# Types of messages that are always held whole.
SHORT: Final = frozenset(b"CDEHSXcp")


def _query(session: "Session", buf: bytes, pos: int, end: int) -> list[bytes] | None:
    if session.skipping:
        return None
    hidden = asking.hide(session, buf[pos + 5 : end])
    out = batch.query(session, buf, pos, end)
    if not hidden:
        return out
    return hidden + (out if out is not None else [buf[pos:end]])


def _describe(session: "Session", _buf: bytes, _pos: int, _end: int) -> list[bytes] | None:
    if not session.skipping:
        session.unsynced = True
        session.outstanding.queue.append(PLAIN[DESCRIBE])
    return None


def _close(session: "Session", buf: bytes, pos: int, end: int) -> list[bytes] | None:
    if session.skipping:
        return None
    session.unsynced = True
    slot = PLAIN[CLOSE]
    body = buf[pos + 5 : end]
    kind, name = body[:1], body[1:].removesuffix(b"\0")
    if kind == b"S":
        statements = session.names.statements
        closed = statements.pop(name, None)
        if closed is not None:
            slot = Slot(CLOSE, skipped=lambda: _keep(statements, name, closed))
    elif kind == b"P":
        session.names.portals.pop(name, None)
    session.outstanding.queue.append(slot)
    return None


def _keep(statements: dict[bytes, Prepared], name: bytes, closed: Prepared) -> None:
    """It was not closed after all; unless another has got the name meanwhile."""
    statements.setdefault(name, closed)


def _sync(session: "Session", _buf: bytes, _pos: int, _end: int) -> list[bytes] | None:
    if session.copying is Copying.TAKING:
        return None  # the server takes no notice of it
    session.skipping = session.discarding = False
    session.unsynced = session.bound = session.executed = False
    if session.copying is Copying.ASKED:
        session.outstanding.queue.append(Slot(SYNC, in_copy=session.copy_slot))
    else:
        session.outstanding.queue.append(PLAIN[SYNC])
    return None


def _copy_done(session: "Session", buf: bytes, pos: int, end: int) -> list[bytes] | None:
    if session.copying is Copying.ASKED and session.copy_in is not None and not session.skipping:
        # If the server refuses the data, what is checked behind it must not be sent.
        session.held = True
        session.held_for = COPY_DONE
        return []
    session.copying = Copying.NOT
    chosen, session.copy_in = session.copy_in, None
    if chosen is None or session.skipping:
        return None
    out = [buf[pos:end]]
    out.extend(piece for own in around.after(chosen) for piece in asking.run(session, own))
    return out


def _copy_fail(session: "Session", _buf: bytes, _pos: int, _end: int) -> list[bytes] | None:
    session.copying = Copying.NOT
    session.copy_in = None
    return None


def _dull(_session: "Session", _buf: bytes, _pos: int, _end: int) -> list[bytes] | None:
    """Flush, CopyData: no reply is awaited."""
    return None


def _terminate(session: "Session", _buf: bytes, _pos: int, _end: int) -> list[bytes] | None:
    session.leaving = True
    return None


def long_message(
    session: "Session", kind: int, buf: bytes, pos: int
) -> tuple[list[bytes], int, list[bytes]] | None:
    """A message over the limit of what is held whole: what goes out before it, how many bytes of
    its beginning that replaces, and what goes out behind it. None: more of it is needed."""
    if session.skipping or session.discarding:
        return [], 0, []
    if kind == BIND:
        # Parameters of any length go by; only the names before them are looked at.
        bound = extended.bind_head(session, buf, pos, int.from_bytes(buf[pos + 1 : pos + 5], "big"))
        if bound is None:
            return None
        out, at, behind = bound
        return out, at - pos if at else 0, behind
    if kind == PARSE:
        return _long_parse(session, buf, pos)
    if kind == FUNCTION:
        return (call.head(session, buf, pos), 0, []) if len(buf) - pos >= 9 else None
    if kind == QUERY:
        out = batch.unanalysed(session)
        if not session.held:
            session.simple_sent()
            session.outstanding.queue.append(PLAIN[QUERY])
        return out, 0, []
    return [], 0, []


def _long_parse(
    session: "Session", buf: bytes, pos: int
) -> tuple[list[bytes], int, list[bytes]] | None:
    try:
        name, _ = decode.cstring(buf, pos + 5)
    except ValueError:
        return None
    session.unsynced = True
    prepared = Prepared(b"", b"\0\0", too_long=True)
    extended.name_prepared(session, name, prepared)
    return [], 0, []


HANDLERS: Final[dict[int, Handler]] = {
    ord("Q"): _query,
    ord("P"): extended.parse,
    ord("B"): extended.bind,
    ord("E"): extended.execute,
    ord("D"): _describe,
    ord("C"): _close,
    ord("S"): _sync,
    ord("F"): call.call,
    ord("c"): _copy_done,
    ord("f"): _copy_fail,
    ord("H"): _dull,
    ord("d"): _dull,
    ord("X"): _terminate,
}
