"""One try of an undo after another: what ends one, and what is learnt from it for the next."""

from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Final

from undo.database import sqlstate
from undo.errors import Refused, RowsLocked, TooBusy
from undo.report import Report
from undo.request import UndoRequest
from undo.script import Say

# A deadlock or a serialization failure.
_RETRIED: Final = frozenset({"40P01", "40001"})
# A unique value or an exclusion: somebody took it in the last moment, or rows of the undo get it
# from one another by an index over expressions, which then needs them to be parked.
_COLLISIONS: Final = frozenset({"23505", "23P01"})
# Values that a column does not take, and constraints.
_REFUSALS: Final = ("22", "23")
_ATTEMPTS: Final = 3
_CHASES: Final = 20
_LOCK_NOT_AVAILABLE: Final = "55P03"
_LOCK_TIMEOUT: Final = "30s"
# Where another time was asked for: how often it is tried, and the first pause in between, seconds.
_LOCK_TRIES: Final = 5
BACK_OFF: Final = 0.2


class RolledBack(Exception):
    """Ends the transaction without a trace; carries what is reported."""

    def __init__(self, report: Report) -> None:
        super().__init__()
        self.report = report


class TakeAlong(Exception):
    """Others are to be taken back, too."""

    def __init__(self, xids: frozenset[int]) -> None:
        super().__init__()
        self.xids = xids


class Again(Exception):
    """What is selected has changed since it was looked for."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What is learnt by one attempt for the next."""

    number: int = 1
    park_all: bool = False
    along: frozenset[int] = frozenset()
    began: int = 0  # transactions from this one on began later than the undo
    chases: int = 0  # attempts that ended at what these did
    blocked: int = 0  # attempts that ended at a lock
    begun: float = field(default_factory=monotonic)
    script: Say | None = None

    def next(self) -> "Trial":
        if self.number == _ATTEMPTS:
            raise TooBusy(_ATTEMPTS)
        return replace(self, number=self.number + 1)

    def taking(self, more: frozenset[int]) -> "Trial":
        """Whoever goes on writing these rows could be run after for ever."""
        chases = self.chases + (max(more) >= self.began)
        if chases > _CHASES:
            raise TooBusy(_CHASES)
        return replace(self, along=self.along | more, chases=chases)


def after(error: Exception, trial: Trial, request: UndoRequest) -> Trial | None:
    """What to try when an attempt has failed so; None if that ends it. Raises it in our words."""
    state = sqlstate(error)
    if state == _LOCK_NOT_AVAILABLE:
        blocked = trial.blocked + 1
        if request.lock_timeout is None or blocked == _LOCK_TRIES:
            tries = "" if blocked == 1 else f", in {blocked} attempts"
            raise RowsLocked(lock_timeout(request) + tries) from error
        return replace(trial, blocked=blocked)
    if state in _COLLISIONS and trial.number < _ATTEMPTS:
        return replace(trial.next(), park_all=True)
    if state is not None and state.startswith(_REFUSALS):
        said = str(error).partition("\n")[0]
        detail = getattr(error, "detail", None)
        raise Refused(f"{said} ({detail})" if detail else said) from error
    return trial.next() if state in _RETRIED and trial.number < _ATTEMPTS else None


def lock_timeout(request: UndoRequest) -> str:
    seconds = request.lock_timeout
    return _LOCK_TIMEOUT if seconds is None else f"{max(1, round(seconds * 1000))}ms"
