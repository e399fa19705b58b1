"""A simple query whose text is data to it: nothing of ours may be written into its message.

What would have been compared behind it is a gap before it; where a trigger records, it is looked at
before whether the trigger is there.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from proxy.capture import around
from proxy.capture.around import Own
from proxy.capture.plan import How, Plan, Reason
from proxy.session import asking
from proxy.session.outstanding import PLAIN, QUERY

if TYPE_CHECKING:
    from proxy.session.session import Session


def send(session: "Session", original: bytes, plans: Iterable[Plan], *, piped: bool) -> list[bytes]:
    """`piped`: a pipeline's transaction is open that a Sync of ours would end."""
    return behind(session, _owns(plans), original, piped=piped)


def behind(session: "Session", owns: Iterable[Own], original: bytes, *, piped: bool) -> list[bytes]:
    """The client's message as it came, behind ours."""
    run = asking.run if piped else asking.run_alone
    out = [piece for own in owns for piece in run(session, own)]
    session.outstanding.queue.append(PLAIN[QUERY])
    return [*out, original]


def _owns(plans: Iterable[Plan]) -> list[Own]:
    owns: list[Own] = []
    for chosen in plans:
        if chosen.how is How.TRIGGER and not chosen.watch:
            owns += [*around.before(chosen), *around.after(chosen)]
        elif chosen.how is How.REWRITE:
            owns.append(around.note(replace(chosen, reason=Reason.CURRENT_QUERY)))
        elif chosen.how is not How.PASS:
            owns.append(around.note(chosen))
    return owns
