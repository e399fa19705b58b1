"""FunctionCall: functions called by number, those of large objects mostly. What they write is not
recorded."""

from typing import TYPE_CHECKING, Final

from proxy.capture.plan import Reason
from proxy.session.outstanding import FUNCTION, PLAIN
from proxy.session.planning import identify, unread

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
        out = unread(session, Reason.LARGE_OBJECT)
        if session.held:
            return out
    session.outstanding.queue.append(PLAIN[FUNCTION])
    return out
