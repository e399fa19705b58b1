"""Replies to our form of a statement, put right: the client must see the answer to its own."""

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from proxy.capture.plan import Wrapped
from proxy.session.outstanding import BIND, PARSE, QUERY, Action, Sent, Slot
from proxy.session.unwrap import Fields, unwrapped
from proxy.wire import encode

if TYPE_CHECKING:
    from proxy.session.session import Session

_READ_ONLY: Final = b"25006"
# The server's files that say of a text that it is no SQL.
_GRAMMAR: Final = frozenset((b"gram.y", b"scan.l", b"parser.c"))
_NO_STATEMENT: Final = b"26000"
# Ours stood beside a statement that must stand alone, or that ends transactions.
_ALONE: Final = frozenset((b"25001", b"2D000"))
# Raised by ours, and meant for the client.
_REFUSALS: Final = b"RB"
# A write before a fence: of ours, raised by the client's own statement.
_FENCED: Final = b"RB004"
# Cancelled, in conflict, not allowed: the server's answer to whatever was running.
_ANYBODYS: Final = frozenset((b"57", b"40", b"25", b"08"))
# Names that only our text gives: the relation is no longer what it was taken for.
_NAMES: Final = re.compile(rb"\bhotrollback_(?:[onx]|[wlc][0-9]*|relid|before|after|key)\b")
_LOG: Final = re.compile(
    rb"\bhotrollback(?:\.|\b(?!_))|permission denied for (?:table change|sequence epoch)"
)
# The server names a function in SQL without its schema.
_OURS: Final = re.compile(rb'\bSQL function "[a-z_]+_v1"')
_WORD_IN_READ_ONLY: Final = re.compile(rb"\b(INSERT|SELECT)\b")
_HINT: Final = (
    b"The write was part of a statement that records it. Repair the log, or let writes through"
    b" unrecorded: CAPTURE OFF."
)

# What the server says of a prepared statement whose relation has got other columns.
_CHANGED: Final[Fields] = [
    (b"S", b"ERROR"),
    (b"V", b"ERROR"),
    (b"C", b"0A000"),
    (b"M", b"cached plan must not change result type"),
    (b"F", b"plancache.c"),
    (b"R", b"RevalidateCachedQuery"),
]


def tag(server: bytes, word: bytes) -> bytes:
    """'INSERT 0 5', 'SELECT 5' or 'CALL', as the client's own statement would have been tagged."""
    if server == b"CALL":
        return word
    rows = server.rsplit(b" ", 1)[-1]
    return b"INSERT 0 " + rows if word == b"INSERT" else word + b" " + rows


def error(session: "Session", slot: Slot, fields: Fields) -> bytes | None:
    """None: as it came. b"": the client's own text will be sent, and that answer counts."""
    part = slot.current()
    wrapped = (part or slot).wrapped
    grammar = _unread(slot, dict(fields), wrapped)
    if wrapped is not None:
        fields = unwrapped(fields, wrapped)
    found = dict(fields)
    ours = (part or slot).action is Action.SWALLOW
    if ours and found.get(b"C", b"")[:2] == _REFUSALS:
        return encode.fields(b"E", [(name, value) for name, value in fields if name not in b"WP"])
    if found.get(b"C") == _FENCED:
        return None
    sent = slot.sent if slot.kind == QUERY else None
    back = sent.back if sent is not None else slot.back
    if back is None and not ours:
        return None
    position = int(found[b"P"]) if found.get(b"P", b"").isdigit() else None
    mapped = back(position) if back is not None and position is not None else None
    if wrapped is not None:
        mapped = position
    ours = ours and mapped is None and not grammar
    changed = not ours and any(_NAMES.search(found.get(name, b"")) for name in (b"M", b"D"))
    log = not changed and _about_log(found, ours=ours)
    if log:
        session.log_failed()
        if sent is not None and sent.gap is not None:
            sent = slot.sent = replace(sent, gap=sent.gap.without_log())
    elif changed:
        session.knowledge.forget()
    lost = changed or (position is not None and mapped is None)
    lost = lost or found.get(b"C", b"") in _ALONE
    if sent is not None:
        if _ask_again(session, slot, sent, log=log, lost=lost, unread=grammar):
            slot.resend = True
            return b""
    elif _follows(session, slot, found, log=log, ours=ours, lost=lost):
        return b""
    if log or changed:
        fields, mapped = (_unavailable(found) if log else _CHANGED), None
    if slot.renamed is not None:
        fields = _renamed(session, fields, *slot.renamed)
    word = part.word if part is not None and part.word else slot.word
    return encode.fields(b"E", _repaired(fields, mapped, word))


def _renamed(session: "Session", fields: Fields, ours: bytes, theirs: bytes) -> Fields:
    """An error about our form of a statement, as one about the client's."""
    if dict(fields).get(b"C") == _NO_STATEMENT:
        session.names.forget_ours()
    quoted = b'"' + ours + b'"'
    return [(name, value.replace(quoted, b'"' + theirs + b'"')) for name, value in fields]


def told(fields: Fields) -> bytes:
    """An error of a question, as the answer to the client's message: where in our text it was is
    not the client's to know."""
    found = dict(fields)
    context = found.get(b"W", b"")
    ours = found.get(b"C", b"")[:2] == _REFUSALS or _LOG.search(context) or _OURS.search(context)
    unknown = (b"P", b"W", b"p", b"q") if ours else ()
    return encode.fields(b"E", [field for field in fields if field[0] not in unknown])


def notice(slot: Slot, fields: Fields) -> bytes | None:
    """A notice's position, which is one in our text."""
    wrapped = (slot.current() or slot).wrapped
    if wrapped is not None:
        return encode.fields(b"N", unwrapped(fields, wrapped))
    back = slot.sent.back if slot.sent is not None else slot.back
    found = dict(fields)
    if back is None or not found.get(b"P", b"").isdigit():
        return None
    return encode.fields(b"N", _repaired(fields, back(int(found[b"P"])), b""))


def _repaired(fields: Fields, position: int | None, word: bytes) -> Fields:
    read_only = word and dict(fields).get(b"C") == _READ_ONLY
    repaired: Fields = []
    for name, value in fields:
        new = value
        if name == b"P":
            if position is None:
                continue
            new = b"%d" % position
        elif name == b"M" and read_only:
            new = _WORD_IN_READ_ONLY.sub(word, value, count=1)
        repaired.append((name, new))
    return repaired


def _about_log(found: dict[bytes, bytes], *, ours: bool) -> bool:
    """Whether it is the log that failed, not the client's statement."""
    if found.get(b"C", b"")[:2] in _ANYBODYS:
        return False
    # An error while a statement of ours runs may be the commit's: its context tells.
    told = (b"M", b"D", b"W") if ours else (b"M", b"D")
    return found.get(b"s") == b"hotrollback" or any(
        _LOG.search(found[name]) for name in told if name in found
    )


def _unavailable(found: dict[bytes, bytes]) -> Fields:
    return [
        (b"S", found.get(b"S", b"ERROR")),
        (b"V", found.get(b"V", b"ERROR")),
        (b"C", b"RB003"),
        (b"M", b"the undo log of this database cannot be written"),
        (b"D", b"%s (%s)" % (found.get(b"M", b""), found.get(b"C", b""))),
        (b"H", _HINT),
    ]


def _unread(slot: Slot, found: dict[bytes, bytes], wrapped: Wrapped | None) -> bool:
    """Whether the whole text is no SQL, so that nothing of it was run: an analysis that failed, or
    the text that a function runs or has for its body, may have the same SQLSTATE."""
    if found.get(b"F") not in _GRAMMAR:
        return False
    if wrapped is not None and found.get(b"q") == wrapped.text:
        return True
    return slot.part == 0 and b"q" not in found


def _ask_again(
    session: "Session", slot: Slot, sent: Sent, *, log: bool, lost: bool, unread: bool
) -> bool:
    """Whether the client's own text can and should be sent to get the server's answer to it.

    A grammar error is raised before anything is run and before the check for an aborted
    transaction (exec_simple_query in src/backend/tcop/postgres.c), so it can be had again even in
    a transaction; anything else only where the error undid all that our text had done.
    """
    if slot.emitted or len(session.outstanding.queue) > 1:
        return False
    if unread:
        return True
    if not sent.idle or (log and session.around.fail):
        return False
    return lost or log


def _follows(
    session: "Session", slot: Slot, found: dict[bytes, bytes], *, log: bool, ours: bool, lost: bool
) -> bool:
    """Whether the client's own text will be sent to get the server's answer to it: where the log
    failed beside it, or a statement of ours with its values as parameters that stood in for it."""
    if not (log and ours):
        slots = session.outstanding.queue
        stood_in = any(each.action is Action.SIMPLE and each.back is not None for each in slots)
        if not stood_in or not (log or lost or _not_taken(slot, found)):
            return False
    return _sent_again(session, log=log)


def _not_taken(slot: Slot, found: dict[bytes, bytes]) -> bool:
    """A value, or a plan for it: of a constant in a text it is told otherwise."""
    return slot.kind in {PARSE, BIND} and found.get(b"C", b"")[:2] not in _ANYBODYS


def _sent_again(session: "Session", *, log: bool) -> bool:
    """Whether the client's simple query will follow, of which nothing has been run because ours
    before it failed."""
    last = session.outstanding.queue[-1]
    sent = last.sent
    unrun = any(slot.action is Action.SIMPLE for slot in session.outstanding.queue)
    if sent is None or not unrun or not sent.idle or (log and session.around.fail):
        return False
    if log:
        last.sent = replace(sent, gap=sent.gap.without_log() if sent.gap is not None else None)
    last.resend = True
    return True
