"""Put the selection's rows back whatever others have made of them since.

Only these rows: nobody's row is deleted or orphaned because it refers to one of them, and no right
is assumed.
"""

from typing import Final

from undo.model import Kind, Resolution

_OWN_ROW: Final = frozenset((Kind.LATER_CHANGE, Kind.CHANGED, Kind.MISSING, Kind.OCCUPIED))


def force(kind: Kind) -> Resolution:
    return Resolution.OVERWRITE if kind in _OWN_ROW else Resolution.STOP
