"""FunctionCall: functions called by number, those of large objects mostly. What they write is not
recorded."""

from typing import TYPE_CHECKING, Final

from proxy.capture import around
from proxy.capture.plan import How, Plan, Reason
from proxy.session import asking
from proxy.session.outstanding import FUNCTION, PLAIN
from proxy.session.planning import identify

if TYPE_CHECKING:
    from proxy.session.session import Session

# lo_open, lo_close, loread, lo_lseek, lo_tell, lo_lseek64, lo_tell64, lo_get (pg_proc.dat).
_READERS: Final = frozenset((952, 953, 954, 956, 958, 3170, 3171, 3458, 3459))


def call(session: "Session", buf: bytes, pos: int, end: int) -> list[bytes] | None:
    if session.skipping:
        return None
    out = head(session, buf, pos)
    if session.held:
        return out
    return [*out, buf[pos:end]] if out else None


def head(session: "Session", buf: bytes, pos: int) -> list[bytes]:
    """What goes out before the message."""
    out: list[bytes] = []
    if session.watching and int.from_bytes(buf[pos + 5 : pos + 9], "big") not in _READERS:
        session.held_for = FUNCTION
        if session.known() is None:
            return identify(session)
        out = _note(session)
        if session.held:
            return out
    session.outstanding.queue.append(PLAIN[FUNCTION])
    return out


def _note(session: "Session") -> list[bytes]:
    who = session.identity
    if who is None or not who.installed or who.in_recovery:
        return []
    if not session.recording:
        session.around.gap_unrecorded(session, Plan(How.NOTE, 0, Reason.LOG_UNAVAILABLE))
        return []
    how = How.REFUSE if session.around.reject else How.NOTE
    (own,) = around.before(Plan(how, 0, Reason.LARGE_OBJECT))
    if own.refuses:
        return asking.ask(session, [own], lambda _asked: session.resume(), speaks=True)
    return asking.run(session, own) if session.unsynced else asking.run_alone(session, own)
