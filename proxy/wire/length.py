"""How long a client's message may be; a longer one the server refuses by its first bytes.

Source: PQ_SMALL_MESSAGE_LIMIT and PQ_LARGE_MESSAGE_LIMIT in libpq.h, SocketBackend in postgres.c.
"""

from typing import Final

SMALL_LIMIT: Final = 10_000
LARGE_LIMIT: Final = 0x3FFFFFFF
_SMALL: Final = frozenset(b"CDEHSXcp")
_LARGE: Final = frozenset(b"QPBFdf")


def allowed(kind: int, length: int) -> bool:
    limit = SMALL_LIMIT if kind in _SMALL else LARGE_LIMIT if kind in _LARGE else 0
    return 4 <= length <= limit
