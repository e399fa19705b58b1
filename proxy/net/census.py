"""How many clients there are, of all workers together, so that max_clients is the whole proxy's.

The numbers are in memory that the workers share, a place for each: one that dies takes its clients
along when its place is given to the next.
"""

import ctypes
from dataclasses import dataclass
from multiprocessing.sharedctypes import RawArray


def places(workers: int) -> "ctypes.Array[ctypes.c_int]":
    return RawArray(ctypes.c_int, workers)


@dataclass(frozen=True, slots=True)
class Census:
    """As one worker sees it."""

    counts: "ctypes.Array[ctypes.c_int]"
    number: int  # of this worker
    most: int | None

    def begin(self) -> None:
        self.counts[self.number] = 0

    def enter(self) -> bool:
        """Whether there is room for one more, who is counted then. Two workers at once may both say
        no to the last one, never both yes."""
        self.counts[self.number] += 1
        if self.most is None or sum(self.counts) <= self.most:
            return True
        self.leave()
        return False

    def leave(self) -> None:
        self.counts[self.number] -= 1
