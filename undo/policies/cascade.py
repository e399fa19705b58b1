"""Take back the transactions that are in the way, too, and those in the way of these."""

from typing import Final

from undo.model import Kind, Resolution

_SOMEBODY: Final = frozenset(
    (Kind.LATER_CHANGE, Kind.OCCUPIED, Kind.UNIQUE, Kind.REFERENCED, Kind.PARENT_MISSING)
)


def cascade(kind: Kind) -> Resolution:
    return Resolution.TAKE_ALONG if kind in _SOMEBODY else Resolution.STOP
