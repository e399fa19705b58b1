"""A simple query whose text is data to it: nothing of ours may be written into its message.

One statement goes by the extended protocol, which gives it its own text, too: ours stand around it
in its transaction. Of several, what would have been compared behind them is a gap before them;
where a trigger records, it is looked at before whether it is there.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from proxy.capture import around
from proxy.capture.around import Own
from proxy.capture.case import reads_text
from proxy.capture.plan import How, Plan, Reason
from proxy.session import asking
from proxy.session.outstanding import (
    BIND,
    CLOSE,
    DESCRIBE,
    EXECUTE,
    PARSE,
    PLAIN,
    QUERY,
    SWALLOWED_CLOSE,
    SYNC,
    Action,
    Sent,
    Slot,
)
from proxy.sql.kinds import Group, Kind
from proxy.sql.statement import Statement
from proxy.wire import encode

if TYPE_CHECKING:
    from proxy.session.session import Session


# What a statement of a simple query is in the extended protocol, and the unnamed gone behind it.
_MESSAGES: Final = (
    (PARSE, Action.SIMPLE),
    (BIND, Action.SIMPLE),
    (DESCRIBE, Action.SIMPLE),
    (EXECUTE, Action.SIMPLE),
    (CLOSE, Action.SWALLOW),
    (CLOSE, Action.SWALLOW),
)
_READS: Final = (*_MESSAGES[:2], (DESCRIBE, Action.FORWARD), *_MESSAGES[3:])
# In their bodies `$1` is theirs.
_FUNCTION: Final = frozenset((b"function", b"procedure"))
_SAME: Final = frozenset((Group.ROW_WRITER, Group.READER, Group.DDL, Group.TRUNCATE))


def needed(statement: Statement, chosen: Plan) -> bool:
    """Whether the text is data to the statement, or to triggers of what it writes."""
    relation = chosen.relation
    return reads_text(statement) or (relation is not None and relation.query_seen)


def fits(session: "Session", statement: Statement, chosen: Plan) -> bool:
    """Whether it is needed, or nobody knows, and the extended protocol does the same with it. There
    `$1` is a parameter, and what runs at the commit has no text."""
    if chosen.how in {How.WATCH, How.TRIGGER}:
        seen = needed(statement, chosen) or statement.kind.group is Group.DDL
        wanted = seen and (session.in_block or not chosen.late)
    else:
        wanted = chosen.how is How.NOTE
    same = statement.kind.group in _SAME and statement.kind is not Kind.COPY_TO
    parameters = statement.params and _FUNCTION.isdisjoint(statement.words)
    return wanted and same and statement.understood and not parameters


def within(session: "Session", original: bytes, statement: Statement, chosen: Plan) -> list[bytes]:
    """The client's one statement between ours, all of it one transaction."""
    queue = session.outstanding.queue
    out = [piece for own in around.before(chosen) for piece in asking.run(session, own)]
    reads = statement.kind.group is Group.READER and not statement.ctes_write
    queue.extend(Slot(kind, action) for kind, action in (_READS if reads else _MESSAGES))
    left: list[bytes] = []
    queue[-1].skipped = lambda: left.append(encode.close_statement(b""))
    out += [
        encode.parse(b"", original[5:-1]),
        encode.bind(b"", b"", ()),
        encode.describe_portal(b""),
        encode.execute(),
        encode.close_portal(b""),
        encode.close_statement(b""),
    ]
    out += [piece for own in around.after(chosen) for piece in asking.run(session, own)]
    sent = Sent(original, lambda position: position, not session.in_block, chosen)

    def answered() -> None:
        """A simple query leaves nothing behind when it fails."""
        if left:
            session.to_server += [*left, encode.SYNC]
            queue.extend((SWALLOWED_CLOSE, Slot(SYNC, Action.SWALLOW)))

    queue.append(Slot(SYNC, sent=sent, answered=answered))
    session.alone = True
    return [*out, encode.SYNC]


def send(session: "Session", original: bytes, plans: Iterable[Plan], *, piped: bool) -> list[bytes]:
    """`piped`: a pipeline's transaction is open that a Sync of ours would end."""
    return behind(session, _owns(plans, alone=not piped), original, piped=piped)


def behind(session: "Session", owns: Iterable[Own], original: bytes, *, piped: bool) -> list[bytes]:
    """The client's message as it came, behind ours."""
    run = asking.run if piped else asking.run_alone
    out = [piece for own in owns for piece in run(session, own)]
    session.outstanding.queue.append(PLAIN[QUERY])
    return [*out, original]


def _owns(plans: Iterable[Plan], *, alone: bool) -> list[Own]:
    owns: list[Own] = []
    for chosen in plans:
        if chosen.how is How.TRIGGER and not chosen.watch:
            owns += [*around.before(chosen), *around.after(chosen)]
        elif chosen.how is How.REWRITE:
            owns.append(around.note(replace(chosen, reason=Reason.CURRENT_QUERY), alone=alone))
        elif chosen.how is not How.PASS:
            owns.append(around.note(chosen, alone=alone))
    return owns
