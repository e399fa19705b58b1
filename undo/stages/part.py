"""The part of one transaction in an undo that takes several."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from undo.database import Database
from undo.stages.moves import Moves
from undo.stages.select import Chosen
from undo.stages.settle import Settled

# Is shown what would be done, with whom it takes along, and that is all: nothing is written.
Look = Callable[[Database, Settled, Moves, frozenset[int]], Awaitable[None]]


class Outdated(Exception):
    """More is to be undone than was known when the parts were made."""


@dataclass(frozen=True, slots=True)
class Part:
    listed: str = ""  # a condition on changes (c), in the place of the selection
    only: str = ""  # a condition on changes (c) besides the selection
    batched: bool = False
    batch_of: int | None = None  # None: this is the first batch
    undo_id: int | None = None  # what is recorded already, of which this is a part
    look: Look | None = None

    @property
    def asks(self) -> bool:
        """Whether gaps stop it: they were looked for in the whole selection before."""
        return not (self.listed or self.only)

    @property
    def parts(self) -> bool:
        """Whether it is a part of something at all."""
        return bool(self.listed or self.only or self.batched or self.undo_id or self.look)

    def of(self, chosen: Chosen) -> Chosen:
        if self.listed:
            return Chosen(changes=[self.listed], gaps=["false"], redo_of=chosen.redo_of)
        if self.only:
            chosen.changes.append(self.only)
        return chosen


WHOLE: Final = Part()
