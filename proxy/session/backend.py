"""What a server's message does: one function a type, by the slot that awaits it.

A function returns None to forward the message as it came, or the bytes that go out instead
(none of them: it is swallowed).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from proxy.session import repair
from proxy.session.outstanding import DESCRIBE, EXECUTE, QUERY, SYNC, Action, Asked, Slot
from proxy.wire import decode, encode

if TYPE_CHECKING:
    from proxy.session.session import Session

Handler = Callable[["Session", bytes, int, int], bytes | None]

# Messages of which a long one is forwarded before its end has come.
STREAMED: Final = frozenset(b"DdV")
_IDLE: Final = ord("I")
# Settings that change what names mean or how values print.
_MATTERS: Final = frozenset(
    (b"search_path", b"DateStyle", b"IntervalStyle", b"session_authorization", b"is_superuser")
)


def _action(slot: Slot | None) -> Action:
    if slot is None:
        return Action.FORWARD
    part = slot.current()
    return part.action if part is not None else slot.action


def swallows(session: "Session", kind: int) -> bool:
    return kind == ord("D") and _action(session.head) is Action.SWALLOW


def _over(slot: Slot) -> None:
    """The server did what the slot's message asked."""
    if slot.answered is not None:
        slot.answered()
    if slot.asked is not None and slot.last:
        finish(slot.asked)


def finish(asked: Asked) -> None:
    asked.done(asked)


def _acknowledged(session: "Session", _buf: bytes, _pos: int, _end: int) -> bytes | None:
    """ParseComplete, BindComplete, CloseComplete, and NoData below."""
    queue = session.outstanding.queue
    if not queue:
        return None
    slot = queue.popleft()
    _over(slot)
    return b"" if slot.action is Action.SWALLOW else None


def _described(session: "Session", buf: bytes, pos: int, end: int) -> bytes | None:
    """RowDescription and NoData: the end of a Describe, or the beginning of a result."""
    slot = session.head
    if slot is None:
        return None
    if slot.asked is not None and buf[pos] == ord("T"):
        columns = decode.row_description(buf[pos + 5 : end])
        slot.asked.columns = [column.name for column in columns]
    action = _action(slot)
    if slot.kind == DESCRIBE:
        session.outstanding.queue.popleft()
        _over(slot)
    else:
        slot.emitted = slot.emitted or action is not Action.SWALLOW
    return b"" if action is Action.SWALLOW else None


def _parameters(session: "Session", _buf: bytes, _pos: int, _end: int) -> bytes | None:
    slot = session.head
    return b"" if slot is not None and slot.action is Action.SWALLOW else None


def _row(session: "Session", buf: bytes, pos: int, end: int) -> bytes | None:
    slot = session.head
    if slot is None or (slot.parts is None and slot.action is not Action.SWALLOW):
        return None
    if _action(slot) is not Action.SWALLOW:
        return None
    if slot.asked is not None:
        slot.asked.rows.append(decode.data_row(buf[pos + 5 : end]))
    return b""


def _completed(session: "Session", buf: bytes, pos: int, end: int) -> bytes | None:
    """CommandComplete, EmptyQueryResponse, PortalSuspended: one statement is over."""
    queue = session.outstanding.queue
    if not queue:
        return None
    slot = queue[0]
    if slot.kind == QUERY:
        return _query_part(slot, buf, pos, end)
    if slot.kind != EXECUTE:
        return None
    queue.popleft()
    _over(slot)
    if slot.action is Action.SWALLOW:
        return b""
    if slot.action is Action.REPAIR and buf[pos] == ord("C"):
        return encode.command_complete(repair.tag(buf[pos + 5 : end - 1], slot.word))
    return None


def _query_part(slot: Slot, buf: bytes, pos: int, end: int) -> bytes | None:
    part = slot.current()
    if part is None:
        return None
    slot.part += 1
    if part.action is Action.SWALLOW:
        return b""
    out = buf[pos:end]
    if part.action is Action.REPAIR and buf[pos] == ord("C"):
        out = encode.command_complete(repair.tag(buf[pos + 5 : end - 1], part.word))
    if part.hold:
        slot.held = out
        return b""
    slot.emitted = True
    return out


def _ready(session: "Session", buf: bytes, pos: int, end: int) -> bytes | None:
    queue = session.outstanding.queue
    session.status = status = buf[pos + 5]
    slot = queue.popleft() if queue else None
    if status == _IDLE and (session.ddl or session.set_in_transaction):
        session.transaction_ended()
    if not queue and status == _IDLE:
        session.names.portals.clear()
    if slot is None:
        return None
    if slot.resend and slot.sent is not None:
        session.send_original(slot.sent)
        return b""
    _over(slot)
    if session.draining and not queue:
        session.draining = False
        session.resume()
    if slot.action is Action.SWALLOW:
        return b""
    return slot.held + buf[pos:end] if slot.held else None


def _failed(session: "Session", buf: bytes, pos: int, end: int) -> bytes | None:
    fields = decode.error_fields(buf[pos + 5 : end])
    session.fatal = dict(fields).get(b"V") in {b"FATAL", b"PANIC"}
    slot = session.head
    if slot is None or session.fatal:
        return None
    swallowed = False
    if slot.asked is not None:
        slot.asked.error = fields
        # A question with a Sync of its own fails unseen; one inside the client's pipeline has
        # aborted it, and what the server says is the answer to the client's next message.
        ends = [other for other in session.outstanding.queue if other.last and other.kind == SYNC]
        swallowed = bool(ends) and not slot.asked.speaks
        if ends and slot.asked.speaks:
            ends[0].action = Action.FORWARD
            session.drop_message()
    out = None if swallowed else repair.error(session, slot, fields)
    slot.held = b""
    skipping, over = session.outstanding.after_error()
    session.skipping = session.skipping or skipping
    for asked in over:
        finish(asked)
    return b"" if swallowed else out


def _parameter_status(session: "Session", buf: bytes, pos: int, end: int) -> bytes | None:
    name, at = decode.cstring(buf[pos + 5 : end], 0)
    value, _ = decode.cstring(buf[pos + 5 : end], at)
    session.parameters[name] = value
    if name in _MATTERS:
        session.identity = None
    return None


HANDLERS: Final[dict[int, Handler]] = {
    ord("1"): _acknowledged,
    ord("2"): _acknowledged,
    ord("3"): _acknowledged,
    ord("n"): _described,
    ord("T"): _described,
    ord("t"): _parameters,
    ord("D"): _row,
    ord("C"): _completed,
    ord("I"): _completed,
    ord("s"): _completed,
    ord("Z"): _ready,
    ord("E"): _failed,
    ord("S"): _parameter_status,
}
