"""What a client's message does: one function a type.

A function returns None to forward the message as it came, or the messages that go to the server in
its place. If it leaves `session.held` set, what it returns goes out first and the message itself
waits and is looked at again when the answer is here.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from proxy.capture import around
from proxy.capture.plan import PASS, How, Plan, Reason
from proxy.session import asking, batch, effects
from proxy.session.names import Portal, Prepared
from proxy.session.outstanding import (
    BIND,
    CLOSE,
    DESCRIBE,
    EXECUTE,
    FUNCTION,
    PARSE,
    PLAIN,
    QUERY,
    SYNC,
    Action,
    Slot,
)
from proxy.session.planning import Hold, plan
from proxy.sql.analyse import analyse
from proxy.sql.splice import apply
from proxy.wire import decode, encode

if TYPE_CHECKING:
    from proxy.session.session import Session

Handler = Callable[["Session", bytes, int, int], list[bytes] | None]

_ABORTED: Final = ord("E")


def _query(session: "Session", buf: bytes, pos: int, end: int) -> list[bytes] | None:
    if session.skipping:
        return None
    return batch.query(session, buf, pos, end)


def _parse(session: "Session", buf: bytes, pos: int, end: int) -> list[bytes] | None:
    if session.skipping:
        return None
    session.unsynced = True
    try:
        message = decode.parse(buf[pos + 5 : end])
    except ValueError:
        session.outstanding.queue.append(PLAIN[PARSE])
        return None
    statements = session.names.statements
    name = message.name
    before = statements.get(name)
    if before is not None and before.text == message.text and before.oids == message.oids:
        session.outstanding.queue.append(PLAIN[PARSE])
        return None
    statements[name] = Prepared(message.text, message.oids)

    def take_back() -> None:
        if before is None:
            statements.pop(name, None)
        else:
            statements[name] = before

    session.outstanding.queue.append(Slot(PARSE, skipped=take_back))
    return None


def _bind(session: "Session", buf: bytes, pos: int, end: int) -> list[bytes] | None:
    if session.skipping:
        return None
    bound = bind_head(session, buf, pos, int.from_bytes(buf[pos + 1 : pos + 5], "big"))
    if bound is None:
        session.unsynced = True
        session.outstanding.queue.append(PLAIN[BIND])
        return None
    out, at = bound
    if session.held or not at:
        return out or None
    out[-1] += buf[at:end]
    return out


def bind_head(
    session: "Session", buf: bytes, pos: int, length: int
) -> tuple[list[bytes], int] | None:
    """What goes out instead of the beginning of a Bind, and the offset of its rest, which is
    forwarded as it is; offset 0 if it is forwarded whole. None if its names are not to be found."""
    try:
        portal, at = decode.cstring(buf, pos + 5)
        name, at = decode.cstring(buf, at)
    except ValueError:
        return None
    prepared = session.names.statements.get(name)
    chosen = PASS
    if session.watching:
        found = _plan_prepared(session, prepared, name)
        if isinstance(found, Hold):
            return found.out, 0
        chosen = found
    session.unsynced = True
    session.names.portals[portal] = Portal(prepared, chosen)
    if chosen.how is not How.REWRITE or prepared is None:
        session.outstanding.queue.append(PLAIN[BIND])
        return [], 0
    out: list[bytes] = []
    shadow = _shadow(session, prepared, chosen, out)
    session.outstanding.queue.append(Slot(BIND, back=_nowhere))
    out.append(
        b"B"
        + (length + len(shadow) - len(name)).to_bytes(4, "big")
        + portal
        + b"\0"
        + shadow
        + b"\0"
    )
    return out, at


def _nowhere(_position: int) -> None:
    """Positions in our text of a prepared statement mean nothing to the client."""


def _plan_prepared(session: "Session", prepared: Prepared | None, name: bytes) -> Plan | Hold:
    if prepared is None:
        # Prepared by SQL: its text is not known.
        return Plan(How.WATCH, 0, Reason.EXECUTE)
    known = session.known()
    if prepared.plan is not None and prepared.known is known and known is not None:
        return prepared.plan
    if prepared.analysis is None:
        prepared.analysis = analyse(prepared.text, session.standard_strings)
    if len(prepared.analysis.statements) != 1:
        return PASS
    statement = prepared.analysis.statements[0]
    found = plan(
        session, statement, prepared.text, lambda done: asking.describe(session, name, done)
    )
    if isinstance(found, Plan):
        prepared.plan = found
        prepared.known = session.known()
    return found


def _shadow(session: "Session", prepared: Prepared, chosen: Plan, out: list[bytes]) -> bytes:
    """The name of our form of it on the server, parsed now if it is not there yet."""
    text, _ = apply(prepared.text, chosen.edits)
    key = (text, prepared.oids)
    shadows = session.names.shadows
    name = shadows.get(key)
    if name is None:
        name = shadows[key] = session.names.fresh()
        out.append(encode.parse(name, text, prepared.oids))
        slot = Slot(PARSE, Action.SWALLOW, back=_nowhere)
        slot.skipped = lambda: _drop(shadows, key)
        session.outstanding.queue.append(slot)
    return name


def _drop(shadows: dict[tuple[bytes, bytes], bytes], key: tuple[bytes, bytes]) -> None:
    shadows.pop(key, None)


def _execute(session: "Session", buf: bytes, pos: int, end: int) -> list[bytes] | None:
    if session.skipping:
        return None
    session.unsynced = True
    queue = session.outstanding.queue
    try:
        name, _ = decode.cstring(buf, pos + 5)
    except ValueError:
        queue.append(PLAIN[EXECUTE])
        return None
    portal = session.names.portals.get(name)
    if portal is None:
        queue.append(PLAIN[EXECUTE])
        return None
    chosen = portal.plan
    if portal.prepared is not None and portal.prepared.analysis is not None:
        for statement in portal.prepared.analysis.statements:
            effects.sent(session, statement)
    if chosen.how is How.PASS:
        queue.append(PLAIN[EXECUTE])
        return None
    session.count(chosen)
    if chosen.how is How.ANNOUNCE:
        chosen = Plan(How.NOTE, chosen.fingerprint, chosen.reason, chosen.relation)
    out = [piece for own in around.before(chosen) for piece in asking.run(session, own)]
    if chosen.how is How.REWRITE and portal.prepared is not None:
        word = portal.prepared.word
        queue.append(Slot(EXECUTE, Action.REPAIR, word, back=_nowhere))
    else:
        queue.append(PLAIN[EXECUTE])
    out.append(buf[pos:end])
    if chosen.reason is Reason.COPY:
        # The server takes nothing but data now: it is checked behind the client's CopyDone.
        session.copy_in = chosen
        return out
    out.extend(piece for own in around.after(chosen) for piece in asking.run(session, own))
    return out


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
    kind, name = buf[pos + 5 : pos + 6], buf[pos + 6 : end - 1]
    if kind == b"S":
        statements = session.names.statements
        closed = statements.pop(name, None)
        if closed is not None:
            slot = Slot(CLOSE, skipped=lambda: statements.__setitem__(name, closed))
    elif kind == b"P":
        session.names.portals.pop(name, None)
    session.outstanding.queue.append(slot)
    return None


def _sync(session: "Session", _buf: bytes, _pos: int, _end: int) -> list[bytes] | None:
    session.skipping = False
    session.unsynced = False
    session.outstanding.queue.append(PLAIN[SYNC])
    return None


def _function_call(session: "Session", _buf: bytes, _pos: int, _end: int) -> list[bytes] | None:
    """Functions called by number, large objects mostly: what they write is not recorded."""
    if session.skipping:
        return None
    out = None
    if session.watching and session.identity is not None and session.identity.writable:
        own = around.note(0, Reason.LARGE_OBJECT)
        if not session.unsynced and session.status != _ABORTED:
            out = asking.run_alone(session, own)
            out.append(_buf[_pos:_end])
    session.outstanding.queue.append(PLAIN[FUNCTION])
    return out


def _copy_done(session: "Session", buf: bytes, pos: int, end: int) -> list[bytes] | None:
    chosen, session.copy_in = session.copy_in, None
    if chosen is None or session.skipping:
        return None
    out = [buf[pos:end]]
    out.extend(piece for own in around.after(chosen) for piece in asking.run(session, own))
    return out


def _copy_fail(session: "Session", _buf: bytes, _pos: int, _end: int) -> list[bytes] | None:
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
) -> tuple[list[bytes], int] | None:
    """A message over the limit of what is held whole: what goes out before it, and how many bytes
    of its beginning that replaces. None: more of it is needed."""
    if session.skipping:
        return [], 0
    if kind == BIND:
        return _long_bind(session, buf, pos)
    out: list[bytes] = []
    if kind in {QUERY, PARSE}:
        out = batch.unanalysed(session)
        if session.held:
            return out, 0
    if kind in PLAIN:
        session.outstanding.queue.append(PLAIN[kind])
        session.unsynced = session.unsynced or kind != QUERY
    if kind == PARSE:
        name, _ = decode.cstring(buf, pos + 5)
        session.names.statements[name] = Prepared(b"", b"\0\0")
    return out, 0


def _long_bind(session: "Session", buf: bytes, pos: int) -> tuple[list[bytes], int] | None:
    """Parameters of any length go by; only the names before them are looked at."""
    bound = bind_head(session, buf, pos, int.from_bytes(buf[pos + 1 : pos + 5], "big"))
    if bound is None:
        return None
    out, at = bound
    return out, at - pos if at else 0


HANDLERS: Final[dict[int, Handler]] = {
    ord("Q"): _query,
    ord("P"): _parse,
    ord("B"): _bind,
    ord("E"): _execute,
    ord("D"): _describe,
    ord("C"): _close,
    ord("S"): _sync,
    ord("F"): _function_call,
    ord("c"): _copy_done,
    ord("f"): _copy_fail,
    ord("H"): _dull,
    ord("d"): _dull,
    ord("X"): _terminate,
}
