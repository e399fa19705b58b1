"""Take back, column by column, only what nobody has changed since: later work on a row stays.

Rows that others deleted stay deleted. What cannot be told apart by columns stops the undo.
"""

from typing import Final

from undo.model import Kind, Resolution

_BY_COLUMN: Final = frozenset((Kind.LATER_CHANGE, Kind.CHANGED))


def merge(kind: Kind) -> Resolution:
    if kind in _BY_COLUMN:
        return Resolution.MERGE
    return Resolution.DROP if kind is Kind.MISSING else Resolution.STOP
