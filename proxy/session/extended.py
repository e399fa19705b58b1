"""Parse, Bind and Execute: the client's statements as they are, and ours that stand in for them.

Whatever is to be asked is asked before Parse where that may be, so that a pipeline need not wait.
"""

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from proxy.capture import around
from proxy.capture.plan import PASS, How, Plan, Reason
from proxy.session import asking, effects
from proxy.session.elsewhere import analysed
from proxy.session.names import Portal, Prepared, Shadow
from proxy.session.outstanding import (
    BIND,
    EXECUTE,
    PARSE,
    PLAIN,
    SWALLOWED_CLOSE,
    Action,
    Copying,
    Slot,
)
from proxy.session.planning import Hold, before_fence, plan, warm
from proxy.sql.kinds import Kind
from proxy.sql.splice import apply
from proxy.wire import decode, encode
from proxy.wire.length import LARGE_LIMIT

if TYPE_CHECKING:
    from proxy.session.session import Session

# Of these our form is run.
_SHADOWED: Final = frozenset((How.REWRITE, How.SPARE))
# What the name of our form of a statement may add to the length of a Bind.
_NAME_ROOM: Final = 64
# Texts that are longer are not kept beside their statements.
_KEPT: Final = 16_384


def parse(session: "Session", buf: bytes, pos: int, end: int) -> list[bytes] | None:
    if session.skipping:
        return None
    try:
        message = decode.parse(buf[pos + 5 : end])
    except ValueError:
        session.unsynced = True
        session.outstanding.queue.append(PLAIN[PARSE])
        return None
    before = session.names.statements.get(message.name)
    strings = session.standard_strings
    if (
        before is not None
        and before.text == message.text
        and before.oids == message.oids
        and before.standard_strings is strings
    ):
        prepared = before
    else:
        prepared = Prepared(message.text, message.oids, strings)
    if session.watching and not session.unsynced:
        held = _warm(session, prepared)
        if held is not None:
            return held
    session.unsynced = True
    name_prepared(session, message.name, prepared)
    return None


def _warm(session: "Session", prepared: Prepared) -> list[bytes] | None:
    if not _analyse(session, prepared, PARSE):
        return []
    if prepared.analysis is None or len(prepared.analysis.statements) != 1:
        return None
    session.held_for = PARSE
    return warm(session, prepared.analysis.statements[0], prepared)


def _analyse(session: "Session", prepared: Prepared, kind: int) -> bool:
    """False: the message waits until it has been read."""
    if prepared.analysis is None and not prepared.too_long:
        prepared.analysis = analysed(
            session, prepared.text, kind, standard_strings=prepared.standard_strings
        )
        return prepared.analysis is not None
    return True


def name_prepared(session: "Session", name: bytes, prepared: Prepared) -> None:
    statements = session.names.statements
    before = statements.get(name)
    if before is prepared:
        session.outstanding.queue.append(PLAIN[PARSE])
        return
    statements[name] = prepared

    def take_back() -> None:
        if statements.get(name) is not prepared:
            return  # what was sent later has seen to it
        if before is None:
            statements.pop(name, None)
        else:
            statements[name] = before

    session.outstanding.queue.append(Slot(PARSE, skipped=take_back))


def bind(session: "Session", buf: bytes, pos: int, end: int) -> list[bytes] | None:
    if session.skipping:
        return None
    bound = bind_head(session, buf, pos, int.from_bytes(buf[pos + 1 : pos + 5], "big"))
    if bound is None:
        session.unsynced = session.bound = True
        session.outstanding.queue.append(PLAIN[BIND])
        return None
    out, at, behind = bound
    if session.held:
        return out
    if not at:
        return [*out, buf[pos:end]] if out else None
    out[-1] += buf[at:end]
    return out + behind


Bound = tuple[list[bytes], int, list[bytes]]


def bind_head(session: "Session", buf: bytes, pos: int, length: int) -> Bound | None:
    """What goes out instead of the beginning of a Bind, the offset of its rest, which is forwarded
    as it is, and what goes out behind it; offset 0 if it is forwarded whole. None if its names are
    not to be found."""
    try:
        portal, at = decode.cstring(buf, pos + 5)
        name, at = decode.cstring(buf, at)
    except ValueError:
        return None
    prepared = session.names.statements.get(name)
    chosen, out = PASS, []
    if prepared is not None and not _analyse(session, prepared, BIND):
        return [], 0, []
    if session.watching:
        session.held_for = BIND
        found = _plan(session, prepared, name)
        if isinstance(found, Hold):
            return found.out, 0, []
        chosen = found
        if chosen.how in _SHADOWED and length + _NAME_ROOM > LARGE_LIMIT:
            # With our name for its statement the server would no longer take it.
            chosen = replace(chosen, how=How.WATCH, reason=Reason.TOO_LONG, edits=(), wrapped=None)
            chosen = chosen.refused(certain=True) if session.around.reject else chosen
        if chosen.how is How.ANNOUNCE:
            if session.in_block or session.bound:
                chosen = chosen.in_transaction()
            else:
                waiting = asking.drain(session)
                if waiting is None:
                    waiting = before_fence(session)
                if waiting is not None:
                    return waiting, 0, []
                out = asking.run_alone(session, around.note(chosen, alone=True))
                chosen = PASS
    session.unsynced = session.bound = True
    made = session.names.portals[portal] = Portal(prepared, chosen)
    if chosen.how not in _SHADOWED or prepared is None:
        session.outstanding.queue.append(PLAIN[BIND])
        return out, 0, []
    ours, behind = shadow(session, prepared, chosen, out)
    made.back = ours.back
    renamed = (ours.name, name)
    slot = Slot(BIND, word=prepared.word, back=ours.back, renamed=renamed)
    session.outstanding.queue.append(slot)
    size = length + len(ours.name) - len(name)
    head = b"".join((b"B", size.to_bytes(4, "big"), portal, b"\0", ours.name, b"\0"))
    out.append(head)
    if behind:
        session.outstanding.queue.append(SWALLOWED_CLOSE)
    return out, at, behind


def _plan(session: "Session", prepared: Prepared | None, name: bytes) -> Plan | Hold:
    if prepared is None or prepared.too_long or prepared.analysis is None:
        return _unread(session, Reason.EXECUTE if prepared is None else Reason.TOO_LONG)
    if len(prepared.analysis.statements) != 1:
        return PASS

    def describe(done: asking.Done) -> list[bytes]:
        return asking.describe(session, name, done)

    statement = prepared.analysis.statements[0]
    return plan(session, statement, prepared.text, describe, prepared)


def _unread(session: "Session", reason: Reason) -> Plan:
    """Prepared by SQL, or too long: its text is not known."""
    who = session.identity
    if who is None or not who.installed or who.in_recovery:
        return PASS
    found = Plan(How.WATCH, 0, reason)
    if session.recording:
        return found.refused(certain=False) if session.around.reject else found
    session.around.gap_unrecorded(session, Plan(How.NOTE, 0, Reason.LOG_UNAVAILABLE))
    return PASS


def shadow(
    session: "Session", prepared: Prepared, chosen: Plan, out: list[bytes]
) -> tuple[Shadow, list[bytes]]:
    """Our form of it on the server, parsed now if it is not there yet, and what closes it again."""
    names = session.names
    formed = prepared.formed
    if formed is None or formed[0] is not chosen:
        text, positions = apply(prepared.text, chosen.edits)
        formed = prepared.formed = (chosen, text, positions.back)
    _, text, back = formed
    key = (text, prepared.oids)
    made = names.shadow(key)
    if made is not None:
        return made, []
    queue = session.outstanding.queue
    made = Shadow(names.fresh(), back)
    kept = len(text) < _KEPT
    if kept:
        names.make_room()
        out.extend(asking.close_forgotten(session))
        names.shadows[key] = made
    out.append(encode.parse(made.name, text, prepared.oids))
    slot = Slot(PARSE, Action.SWALLOW, word=prepared.word, back=made.back)
    slot.skipped = partial(names.shadows.pop, key, None)
    queue.append(slot)
    return made, [] if kept else [encode.close_statement(made.name)]


def execute(session: "Session", buf: bytes, pos: int, end: int) -> list[bytes] | None:
    if session.skipping:
        return None
    aborted = effects.aborted(session)
    session.unsynced = session.bound = session.executed = True
    queue = session.outstanding.queue
    try:
        name, _ = decode.cstring(buf, pos + 5)
    except ValueError:
        queue.append(PLAIN[EXECUTE])
        return None
    portal = session.names.portals.get(name)
    if portal is None:
        chosen, copies = _cursor(session), False
    else:
        chosen, copies = portal.plan, _sent(session, portal.prepared)
    if chosen.how is How.PASS or aborted:
        read = portal.prepared if portal is not None and not aborted else None
        hidden = asking.hide(session, read.text) if read is not None else []
        queue.append(_execution(session, copies=copies))
        return [*hidden, buf[pos:end]] if hidden else None
    session.count(chosen)
    out = [piece for own in around.before(chosen) for piece in asking.run(session, own)]
    if chosen.how in _SHADOWED and portal is not None and portal.prepared is not None:
        word = portal.prepared.word
        wrapped = chosen.wrapped
        queue.append(Slot(EXECUTE, Action.REPAIR, word, back=portal.back, wrapped=wrapped))
    else:
        queue.append(_execution(session, copies=copies))
    out.append(buf[pos:end])
    if copies:
        # The server takes nothing but data now: it is checked behind the client's CopyDone.
        session.copy_in = chosen
        return out
    out.extend(piece for own in around.after(chosen) for piece in asking.run(session, own))
    return out


def _execution(session: "Session", *, copies: bool) -> Slot:
    if not copies:
        return PLAIN[EXECUTE]
    session.copying = Copying.ASKED
    session.copy_slot = Slot(EXECUTE, copies=True)
    return session.copy_slot


def _cursor(session: "Session") -> Plan:
    """A portal that SQL has declared."""
    if not session.writing_cursors or not session.recording:
        return PASS
    return Plan(How.WATCH, 0, Reason.CURSOR, refuse=session.around.reject)


def _sent(session: "Session", prepared: Prepared | None) -> bool:
    """What it does to what the session relies on, and whether the client's data follows."""
    if prepared is None or prepared.analysis is None:
        return False
    copies = False
    for statement in prepared.analysis.statements:
        effects.sent(session, statement)
        copies = statement.kind is Kind.COPY_FROM and "stdin" in statement.idents
    return copies
