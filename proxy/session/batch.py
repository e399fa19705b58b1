"""A simple query: one message, any number of statements, edited in place and never split.

Statements of ours stand before and after the client's inside the same message, so that all of it
stays one implicit transaction; `Part`s say whose answer is whose.
"""

from typing import TYPE_CHECKING, Final

from proxy.capture import around
from proxy.capture.choose import may_write
from proxy.capture.plan import How, Plan, Reason
from proxy.catalog.capabilities import pipeline_lasts
from proxy.session import asking, effects, repeated, untouched
from proxy.session.elsewhere import analysed
from proxy.session.outstanding import PLAIN, QUERY, Action, Part, Sent, Slot
from proxy.session.planning import (
    Hold,
    before_fence,
    identify,
    plan,
    plan_unsettled,
    spelled,
    unread,
)
from proxy.sql.analyse import Analysis
from proxy.sql.kinds import Group, Kind
from proxy.sql.splice import Edit, apply
from proxy.sql.statement import Statement
from proxy.wire import encode

if TYPE_CHECKING:
    from proxy.session.session import Session

# Plans of which something runs behind the statement.
_AROUND: Final = frozenset((How.WATCH, How.TRIGGER, How.SPARE))
# And whose answer is put right.
_REPAIRED: Final = frozenset((How.REWRITE, How.SPARE))
_BLOCK: Final = ord("T")


def query(session: "Session", buf: bytes, pos: int, end: int) -> list[bytes] | None:
    queue = session.outstanding.queue
    if session.knowledge.installed is False or buf[end - 1] != 0:
        session.simple_sent()
        queue.append(PLAIN[QUERY])
        return None
    text = buf[pos + 5 : end - 1]
    shorn = repeated.find(session, text)
    if shorn is not None:
        known = repeated.query(session, shorn, text, buf, pos, end)
        if not isinstance(known, bool):
            return known
    analysis = analysed(session, text, QUERY, standard_strings=session.standard_strings)
    if analysis is None:
        return []
    statements = analysis.statements
    cursors = session.writing_cursors
    if not session.watching or not any(may_write(each, cursors) for each in statements):
        for statement in statements:
            effects.sent(session, statement)
        session.simple_sent()
        queue.append(PLAIN[QUERY])
        if shorn is not None:
            repeated.passes(shorn, statements)
        return None
    session.held_for = QUERY
    if queue:
        # Whether a transaction is open is known when everything before has been answered.
        return asking.wait(session)
    plans: list[Plan] = []
    settled = True
    for statement in statements:
        found = _plan(session, analysis, statement, text, settled=settled)
        if not isinstance(found, Hold) and len(statements) > 1:
            found = spelled(session, statement, text, found)
        if isinstance(found, Hold):
            return found.out
        plans.append(found)
        if statement.kind.group is Group.CURSOR:
            effects.sent(session, statement)
        settled = settled and not effects.unsettles(session, statement)
    if len(plans) == 1 and plans[0].how is How.ANNOUNCE and not session.in_block:
        waiting = before_fence(session)
        if waiting is not None:
            return waiting
    if len(plans) > 1 and any(chosen.how in _AROUND for chosen in plans):
        left = any(chosen.how is How.REWRITE and not chosen.captured for chosen in plans)
        plans = [chosen.beside(rewritten=left) for chosen in plans]
    for statement, chosen in zip(statements, plans, strict=True):
        effects.sent(session, statement)
        session.count(chosen)
    if shorn is not None and len(plans) == 1 and plans[0].how is How.REWRITE:
        repeated.rewritten(shorn, text, statements[0])
    return _send(session, buf[pos:end], statements, plans)


def _plan(
    session: "Session", analysis: Analysis, statement: Statement, text: bytes, *, settled: bool
) -> Plan | Hold:
    """Not `settled`: what its names mean is changed by a statement before it in the message."""
    if not settled:
        return plan_unsettled(session, statement, text)
    alone = len(analysis.statements) == 1
    if not alone and session.in_block:
        return plan(session, statement, text, None)

    def describe(done: asking.Done) -> list[bytes]:
        asked = text if alone else statement.slice(text)
        return asking.describe_text(session, asked, done, speaks=session.in_block)

    return plan(session, statement, text, describe)


def _send(
    session: "Session", original: bytes, statements: tuple[Statement, ...], plans: list[Plan]
) -> list[bytes] | None:
    queue = session.outstanding.queue
    executed = session.executed
    piped = executed and pipeline_lasts(session.login.version)
    opened = session.in_block or session.bound
    session.simple_sent()
    if all(chosen.how is How.PASS for chosen in plans):
        queue.append(PLAIN[QUERY])
        return None
    if piped:
        plans = [chosen.unspared() for chosen in plans]
    only = plans[0] if len(plans) == 1 else None
    if piped and only is not None and only.how in _AROUND and not only.refuse:
        return _in_pipeline(session, original, only)
    if only is not None and not executed and untouched.fits(session, statements[0], only):
        return untouched.within(session, original, statements[0], only)
    if any(map(untouched.needed, statements, plans)) and not any(map(_refuses, plans)):
        return untouched.send(session, original, plans, piped=executed)
    edits: list[Edit] = []
    parts: list[Part] = []
    gap = None
    for statement, chosen in zip(statements, plans, strict=True):
        if chosen.how is How.ANNOUNCE:
            if len(statements) == 1 and not opened:
                return untouched.behind(
                    session, [around.note(chosen, alone=True)], original, piped=False
                )
            chosen = chosen.in_transaction()  # noqa: PLW2901
        cursor = statement.kind.group is Group.CURSOR
        if chosen.how is How.NOTE and len(statements) == 1 and (executed or cursor):
            # A text of two statements would end the transaction of the pipeline before it, and a
            # cursor's shows in pg_cursors.
            own = around.note(chosen, alone=not executed)
            return untouched.behind(session, [own], original, piped=executed)
        if chosen.how is not How.PASS:
            gap = chosen
        _surround(statement, chosen, edits, parts)
    parts_of_client = [part for part in parts if part.action is not Action.SWALLOW]
    if parts[-1].action is Action.SWALLOW and not opened:
        # The server sends the last CommandComplete of a message after the commit.
        parts_of_client[-1].hold = True
    text, back = apply(original[5:-1], edits)
    sent = Sent(original, back.back, not opened, gap)
    queue.append(Slot(QUERY, parts=parts, sent=sent))
    # If the server refuses our text the client's own must come in its place.
    session.alone = not any(statement.kind is Kind.COPY_FROM for statement in statements)
    return [encode.query(text)]


def _refuses(chosen: Plan) -> bool:
    return chosen.refuse or chosen.how is How.REFUSE


def _in_pipeline(session: "Session", original: bytes, chosen: Plan) -> list[bytes]:
    """The pipeline's transaction goes on behind a text of one statement, and would end with one of
    several: ours stand outside it, and those behind it are not sent if it has failed."""

    def answered() -> None:
        if session.status == _BLOCK:
            for own in around.after(chosen):
                session.to_server.extend(asking.run(session, own))
            session.to_server.append(encode.FLUSH)

    out = [piece for own in around.before(chosen) for piece in asking.run(session, own)]
    session.outstanding.queue.append(Slot(QUERY, gap=None, answered=answered))
    session.alone = True
    return [*out, original]


def _surround(statement: Statement, chosen: Plan, edits: list[Edit], parts: list[Part]) -> None:
    for own in around.before(chosen):
        edits.append(Edit(statement.start, statement.start, own.inline() + b"; ", "before"))
        parts.append(Part(Action.SWALLOW, refusal=own.refuses))
    edits.extend(chosen.edits)
    if chosen.how in _REPAIRED:
        parts.append(Part(Action.REPAIR, statement.tag, wrapped=chosen.wrapped))
    else:
        parts.append(Part())
    for own in around.after(chosen):
        edits.append(Edit(statement.end, statement.end, b"; " + own.inline(), "after"))
        parts.append(Part(Action.SWALLOW, refusal=own.refuses))


def unanalysed(session: "Session") -> list[bytes]:
    """Before a simple query that is too long to be looked at: a gap, if it can be had."""
    if not session.watching:
        return []
    session.held_for = QUERY
    if session.outstanding.queue:
        return asking.wait(session)
    if session.known() is None:
        return identify(session)
    return unread(session, Reason.TOO_LONG)
