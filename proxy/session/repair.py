"""Replies to our form of a statement, put right: what the client must see is the answer to its own."""

import re
from typing import TYPE_CHECKING, Final

from proxy.session.outstanding import QUERY, Slot
from proxy.wire import encode

if TYPE_CHECKING:
    from proxy.session.session import Session

_READ_ONLY: Final = b"25006"
_SYNTAX: Final = b"42601"
# Ours stood beside a statement that must stand alone, or that ends transactions.
_ALONE: Final = frozenset((b"25001", b"2D000"))
_OURS: Final = b"hotrollback"
_WORD_IN_READ_ONLY: Final = re.compile(rb"\b(INSERT|SELECT)\b")

Fields = list[tuple[bytes, bytes]]


def tag(server: bytes, word: bytes) -> bytes:
    """'INSERT 0 5' or 'SELECT 5', as the client's own statement would have been tagged."""
    rows = server.rsplit(b" ", 1)[-1]
    return b"INSERT 0 " + rows if word == b"INSERT" else word + b" " + rows


def error(session: "Session", slot: Slot, fields: Fields) -> bytes | None:
    """None: as it came. b"": the client's own text will be sent, and that answer counts."""
    sent = slot.sent
    back = sent.back if sent is not None else slot.back
    if back is None:
        return None
    found = dict(fields)
    code = found.get(b"C", b"")
    position = int(found[b"P"]) if found.get(b"P", b"").isdigit() else None
    mapped = back(position) if position is not None else None
    if sent is not None and slot.kind == QUERY and _ask_again(session, slot, found, mapped):
        slot.resend = True
        return b""
    repaired: Fields = []
    for name, value in fields:
        new = value
        if name == b"P":
            if mapped is None:
                continue
            new = b"%d" % mapped
        elif name == b"M" and code == _READ_ONLY:
            part = slot.current()
            word = part.word if part is not None and part.word else slot.word
            if word:
                new = _WORD_IN_READ_ONLY.sub(word, value, count=1)
        repaired.append((name, new))
    return encode.fields(b"E", repaired)


def _ask_again(
    session: "Session", slot: Slot, found: dict[bytes, bytes], mapped: int | None
) -> bool:
    """Whether the client's own text can and should be sent to get the server's answer to it.

    A grammar error is raised before anything is run and before the check for an aborted
    transaction (exec_simple_query in src/backend/tcop/postgres.c), so it can be had again even in
    a transaction; anything else only where the error undid all that our text had done.
    """
    sent = slot.sent
    if sent is None or slot.emitted or len(session.outstanding.queue) > 1:
        return False
    code = found.get(b"C", b"")
    if code == _SYNTAX:
        return True
    ours = any(_OURS in value for name, value in found.items() if name in {b"M", b"D", b"s", b"W"})
    return sent.idle and ((b"P" in found and mapped is None) or ours or code in _ALONE)
