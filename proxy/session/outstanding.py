"""The queue of awaited replies: the only place where a server message is dropped, changed or added.

Rule 1: whatever is sent to the server, by the client or by us, has a slot here in the same order.
Rule 2: a slot says what happens to the reply; state changes when the server answers.
Rule 3: after an error the server discards everything up to Sync, and so does `after_error`.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto

from proxy.capture.plan import Plan, Wrapped

PARSE, BIND, CLOSE, DESCRIBE, EXECUTE = b"PBCDE"
SYNC, QUERY, FUNCTION, COPY_DONE = b"SQFc"


class Action(Enum):
    FORWARD = auto()
    SWALLOW = auto()
    REPAIR = auto()  # forwarded, with the command tag put right
    SIMPLE = auto()  # forwarded, as far as the answer to a simple query has it, and when it has it


class Copying(Enum):
    """Where a COPY FROM of the extended protocol is: the server ignores Sync while taking data."""

    NOT = auto()
    ASKED = auto()  # Execute was sent
    TAKING = auto()  # the server has said that it takes data


@dataclass(slots=True, eq=False)
class Part:
    """The reply to one statement of a simple query."""

    action: Action = Action.FORWARD
    word: bytes = b""  # REPAIR: the command tag's word
    hold: bool = False  # CommandComplete waits for what the server says of the commit
    refusal: bool = False  # its error is the answer to the client's statement
    wrapped: Wrapped | None = None  # the client's statement, which a procedure of ours runs


@dataclass(slots=True, eq=False)
class Asked:
    """A question of ours: its rows come here, `done` is called when it is over."""

    done: Callable[["Asked"], None]
    waiting: int  # type byte of the client's message that waits for it
    speaks: bool = False  # an error is the client's, too
    rows: list[list[bytes | None]] = field(default_factory=list)
    columns: list[bytes] | None = None
    error: list[tuple[bytes, bytes]] | None = None
    cut: bool = False  # an earlier message failed, the question was never run
    told: bool = False  # the client has been told of the error

    @property
    def answer(self) -> list[bytes | None] | None:
        """The first row of a question that was answered."""
        return self.rows[0] if self.rows and self.error is None and not self.cut else None


@dataclass(slots=True, eq=False)
class Sent:
    """A simple query whose text is not the client's: how to find back from the server's answer."""

    original: bytes  # the client's whole message
    back: Callable[[int], int | None]  # character position in our text -> in the client's
    idle: bool  # no transaction was open: an error undid all of it
    gap: Plan | None  # what is not recorded if the client's own text must run instead


class Slot:
    """Made for nearly every message: `__init__` is written out, compiled code would leave that
    of a dataclass to the interpreter."""

    __slots__ = (
        "action", "answered", "asked", "back", "behind", "copies", "described", "emitted", "gap",
        "held", "in_copy", "kind", "last", "part", "parts", "refusal", "renamed", "resend",
        "resent_behind_description", "sent", "skipped", "word", "wrapped",
    )  # fmt: skip

    def __init__(
        self,
        kind: int,
        action: Action = Action.FORWARD,
        word: bytes = b"",
        *,
        parts: list[Part] | None = None,
        asked: Asked | None = None,
        sent: Sent | None = None,
        back: Callable[[int], int | None] | None = None,
        wrapped: Wrapped | None = None,
        renamed: tuple[bytes, bytes] | None = None,
        copies: bool = False,
        in_copy: "Slot | None" = None,
        gap: Plan | None = None,
        resent_behind_description: bool = False,
        behind: bytes = b"",
        answered: Callable[[], None] | None = None,
        skipped: Callable[[], object] | None = None,
    ) -> None:
        self.kind = kind  # type byte of the message that it answers
        self.action = action
        self.word = word
        self.parts = parts  # QUERY whose statements need different things
        self.part = 0
        self.held = b""  # CommandComplete of a part with `hold`
        self.asked = asked
        self.last = False  # of the question
        self.sent = sent
        self.back = back  # EXECUTE, BIND of a rewritten text
        self.wrapped = wrapped  # EXECUTE: the client's statement, which a procedure of ours runs
        self.renamed = renamed  # our name of a statement, and the client's
        self.refusal = False  # its error is the answer to the client's message
        self.copies = copies  # COPY FROM whose data the client sends
        self.in_copy = in_copy  # a Sync that the server ignores if it takes that data by then
        self.gap = gap  # what is not recorded if it succeeds
        self.emitted = False  # the client has seen something of the answer
        self.described = False  # it has seen a RowDescription; the next answer begins with it, too
        self.resend = False  # the client's own text is sent when this one has ended
        self.resent_behind_description = resent_behind_description  # the client has it already
        self.behind = behind  # what the server said behind the error of ours
        self.answered = answered  # the server did it
        self.skipped = skipped  # the server never ran it: take the state back

    def current(self) -> Part | None:
        parts = self.parts
        return parts[self.part] if parts is not None and self.part < len(parts) else None


PLAIN = {
    kind: Slot(kind) for kind in (PARSE, BIND, CLOSE, DESCRIBE, EXECUTE, SYNC, QUERY, FUNCTION)
}
SWALLOWED_CLOSE = Slot(CLOSE, Action.SWALLOW)
_ENDED_BY_ITSELF = (SYNC, QUERY, FUNCTION)


class Outstanding:
    __slots__ = ("queue",)

    def __init__(self) -> None:
        self.queue: deque[Slot] = deque()

    @property
    def may_be_refused(self) -> bool:
        """Whether the client's own text may yet have to follow one of ours."""
        return any(slot.sent is not None and not slot.emitted for slot in self.queue)

    def after_error(self) -> tuple[bool, list[Asked]]:
        """The head failed: drop what the server will not answer.

        Returns whether no Sync has been sent yet, so that whatever comes before it is discarded
        too, and the questions that are over by it. An error of a simple query, a function call or
        of the commit at Sync is followed by its own ReadyForQuery; otherwise everything up to the
        next Sync is discarded, simple queries too.
        """
        queue = self.queue
        if not queue or queue[0].kind in _ENDED_BY_ITSELF:
            return False, []
        undo: list[Callable[[], object]] = []
        over: list[Asked] = []
        while queue and queue[0].kind != SYNC:
            slot = queue.popleft()
            if slot.skipped is not None:
                undo.append(slot.skipped)
            if slot.asked is not None and slot.last:
                slot.asked.cut = slot.asked.error is None
                over.append(slot.asked)
        for take_back in reversed(undo):
            take_back()
        return not queue, over
