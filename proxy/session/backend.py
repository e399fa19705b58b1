"""What a server's message does: one function a type, by the slot that awaits it.

A function returns None to forward the message as it came, or the bytes that go out instead
(none of them: it is swallowed).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from proxy.session import repair
from proxy.session.outstanding import (
    DESCRIBE,
    EXECUTE,
    FUNCTION,
    PARSE,
    QUERY,
    SYNC,
    Action,
    Asked,
    Copying,
    Slot,
)
from proxy.session.unwrap import Fields
from proxy.wire import decode, encode

if TYPE_CHECKING:
    from proxy.session.session import Session

Handler = Callable[["Session", bytes, int, int], bytes | None]

# Of these the client has sent no message that is acknowledged.
_UNASKED: Final = frozenset((Action.SWALLOW, Action.SIMPLE))
# Messages of which a long one is forwarded before its end has come.
_STREAMED: Final = frozenset(b"DdVEN")
_SAID: Final = frozenset(b"EN")
# So much of one that is said holds severity and code.
_SAID_HEAD: Final = 1024
_IDLE: Final = ord("I")
_READY_LENGTH: Final = 6
# Cancelled, timed out, shut down.
_FROM_OUTSIDE: Final = (b"57", b"25P03", b"25P04")
_ALONE: Final = frozenset((QUERY, FUNCTION))
# A crash of another backend and an immediate shutdown are warned of (quickdie in postgres.c).
_LAST_WORDS: Final = b"\0VWARNING\0C57P0"
# Settings that change what names mean or how values print.
_MATTERS: Final = frozenset(
    (b"search_path", b"DateStyle", b"IntervalStyle", b"session_authorization", b"is_superuser")
)


def _action(slot: Slot | None) -> Action:
    if slot is None:
        return Action.FORWARD
    part = slot.current()
    return part.action if part is not None else slot.action


def swallows_long(session: "Session", buf: bytes, pos: int) -> bool | None:
    """Whether the client gets nothing of a message that has come in part. None: more of it is
    needed. An error or a notice does what its first fields say, and is not put right."""
    kind = buf[pos]
    if kind not in _STREAMED or (kind in _SAID and len(buf) - pos < _SAID_HEAD):
        return None
    if kind in _SAID:
        known = encode.fields(buf[pos : pos + 1], decode.first_fields(buf[pos + 5 :]))
        return HANDLERS[kind](session, known, 0, len(known)) == b""
    return kind == ord("D") and _action(session.head) is Action.SWALLOW


def _over(slot: Slot) -> None:
    """The server did what the slot's message asked."""
    if slot.answered is not None:
        slot.answered()
    if slot.asked is not None and slot.last:
        finish(slot.asked)


def finish(asked: Asked) -> None:
    asked.done(asked)


def _popped(session: "Session", slot: Slot) -> None:
    """The head has been answered."""
    queue = session.outstanding.queue
    queue.popleft()
    _over(slot)
    if session.draining and not queue:
        session.draining = False
        session.resume()


def _acknowledged(session: "Session", _buf: bytes, _pos: int, _end: int) -> bytes | None:
    """ParseComplete, BindComplete, CloseComplete, and NoData below."""
    slot = session.head
    if slot is None:
        return None
    _popped(session, slot)
    return b"" if slot.action in _UNASKED else None


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
        _popped(session, slot)
    elif action is not Action.SWALLOW:
        if slot.resent_behind_description:
            slot.resent_behind_description = False
            return b""
        if slot.parts is not None:
            slot.described = True
    if action is Action.SIMPLE and buf[pos] == ord("T"):
        # What writes is run whole before the answer to a simple query says so much.
        session.outstanding.queue[0].held = buf[pos:end]
    return b"" if action in _UNASKED else None


def _parameters(session: "Session", _buf: bytes, _pos: int, _end: int) -> bytes | None:
    slot = session.head
    return b"" if slot is not None and slot.action is Action.SWALLOW else None


def before_row(slot: Slot | None) -> bytes:
    """The RowDescription that has waited for the first row."""
    if slot is None or slot.action is not Action.SIMPLE:
        return b""
    described, slot.held = slot.held, b""
    return described


def _row(session: "Session", buf: bytes, pos: int, end: int) -> bytes | None:
    slot = session.head
    if slot is None or (slot.parts is None and slot.action is not Action.SWALLOW):
        described = before_row(slot)
        return described + buf[pos:end] if described else None
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
        if slot.gap is not None and buf[pos] == ord("C"):
            session.around.gap_unrecorded(session, slot.gap)
            slot.gap = None
        return _query_part(slot, buf, pos, end)
    if slot.kind != EXECUTE:
        return None
    if slot is session.copy_slot:
        session.copy_answered(Copying.NOT)
    _popped(session, slot)
    if slot.action is Action.SIMPLE:
        # It is told when the commit has succeeded.
        out = _tagged(buf, pos, end, slot.word) if slot.word else buf[pos:end]
        next(later for later in queue if later.kind == SYNC).held = out
        return before_row(slot)
    if slot.action is Action.SWALLOW:
        return b""
    return _tagged(buf, pos, end, slot.word) if slot.action is Action.REPAIR else None


def _tagged(buf: bytes, pos: int, end: int, word: bytes) -> bytes:
    """The message; the tag of a CommandComplete is that of the client's statement."""
    if buf[pos] != ord("C"):
        return buf[pos:end]
    return encode.command_complete(repair.tag(buf[pos + 5 : end].removesuffix(b"\0"), word))


def _query_part(slot: Slot, buf: bytes, pos: int, end: int) -> bytes | None:
    part = slot.current()
    if part is None:
        return None
    slot.part += 1
    if part.action is Action.SWALLOW:
        return b""
    repaired = part.action is Action.REPAIR
    out = _tagged(buf, pos, end, part.word) if repaired else buf[pos:end]
    if part.hold:
        slot.held = out
        return b""
    slot.emitted = True
    return out


def _ready(session: "Session", buf: bytes, pos: int, end: int) -> bytes | None:
    queue = session.outstanding.queue
    if end - pos != _READY_LENGTH:
        raise ValueError("ReadyForQuery without a status")
    session.status = status = buf[pos + 5]
    session.fatal = False  # a warning of a user's own that read like last words
    slot = session.head
    if status == _IDLE and len(queue) <= 1:
        # Else what was sent meanwhile may have begun another.
        session.names.portals.clear()
        if session.changed:
            session.transaction_ended()
    if slot is None:
        return None
    if slot.kind == QUERY and status == _IDLE and len(queue) == 1:
        session.unsynced = session.bound = session.executed = False
    if slot.resend and slot.sent is not None:
        queue.popleft()
        session.held = session.draining = True
        session.send_original(slot.sent, described=slot.described, behind=slot.behind)
        return b""
    _popped(session, slot)
    if slot.action is Action.SWALLOW:
        return b""
    first = slot.held + slot.behind
    return first + buf[pos:end] if first else None


def _failed(session: "Session", buf: bytes, pos: int, end: int) -> bytes | None:
    fields = decode.error_fields(buf[pos + 5 : end])
    found = dict(fields)
    session.fatal = found.get(b"V") in {b"FATAL", b"PANIC"}
    slot = session.head
    if slot is None or session.fatal:
        return None
    if slot.asked is not None:
        out = _question_failed(session, slot.asked, fields)
    else:
        out = repair.error(session, slot, fields)
    slot.held = b""
    skipping, over = session.outstanding.after_error()
    if session.head is not None:
        session.head.held = b""
    session.skipping = session.skipping or skipping
    for asked in over:
        finish(asked)
    if session.copying is not Copying.NOT and session.copy_slot not in session.outstanding.queue:
        session.copy_answered(Copying.NOT)
    if session.draining and not session.outstanding.queue:
        session.draining = False
        session.resume()
    return out


def _question_failed(session: "Session", asked: Asked, fields: Fields) -> bytes | None:
    """A question with a Sync of its own fails unseen, unless it was ended from outside or has ended
    the client's transaction: then what the server says is the answer to the message that waits."""
    asked.error = fields
    code = dict(fields).get(b"C", b"")
    sync = next((slot for slot in session.outstanding.queue if slot.last), None)
    if sync is None or sync.kind != SYNC:
        asked.told = True
        if asked.waiting in _ALONE:
            # ReadyForQuery follows its error, but the server waits for a Sync after one of ours.
            session.drop_message()
            session.unsynced = session.bound = session.executed = False
            session.outstanding.queue.append(Slot(SYNC))
            session.to_server.append(encode.SYNC)
        return repair.told(fields)
    if not (asked.speaks or session.in_block or code.startswith(_FROM_OUTSIDE)):
        return b""
    asked.told = True
    if asked.waiting in _ALONE:
        sync.action = Action.FORWARD
    else:
        session.discarding = True
    session.drop_message()
    return repair.told(fields)


def _notice(session: "Session", buf: bytes, pos: int, end: int) -> bytes | None:
    if _LAST_WORDS in buf[pos:end]:
        session.fatal = True
    slot = session.head
    if slot is not None and slot.kind == PARSE and slot.action is Action.SWALLOW:
        return b""  # the client's own text gives it, too
    if slot is None or (slot.parts is None and slot.back is None):
        return None
    slot.emitted = True
    return repair.notice(slot, decode.error_fields(buf[pos + 5 : end]))


def _takes_data(session: "Session", _buf: bytes, _pos: int, _end: int) -> bytes | None:
    """CopyInResponse: the server has taken no notice of any Sync that was sent meanwhile."""
    slot = session.head
    if slot is not None and slot.parts is not None:
        slot.emitted = True
    if slot is None or not slot.copies:
        return None
    queue = session.outstanding.queue
    for ignored in [other for other in queue if other.in_copy is slot]:
        queue.remove(ignored)
    if session.copying is Copying.ASKED and session.copy_slot is slot:
        session.unsynced = session.bound = True
        session.copy_answered(Copying.TAKING)
    return None


def _parameter_status(session: "Session", buf: bytes, pos: int, end: int) -> bytes | None:
    name, at = decode.cstring(buf[pos + 5 : end], 0)
    value, _ = decode.cstring(buf[pos + 5 : end], at)
    session.parameters = {**session.parameters, name: value}
    if name in _MATTERS:
        session.identity = None
    slot = session.head
    if slot is not None and slot.resend:
        slot.behind += buf[pos:end]
        return b""
    return _after_commit(session, buf, pos, end)


def _after_commit(session: "Session", buf: bytes, pos: int, end: int) -> bytes | None:
    """ParameterStatus and NotificationResponse come when the commit has succeeded: what waited for
    it goes first."""
    slot = session.head
    if slot is None or not slot.held:
        return None
    held, slot.held = slot.held, b""
    return held + buf[pos:end]


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
    ord("N"): _notice,
    ord("G"): _takes_data,
    ord("S"): _parameter_status,
    ord("A"): _after_commit,
}
