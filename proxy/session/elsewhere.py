"""Texts that take long to read are read elsewhere, so that nobody else has to wait for them: the
client's messages do, as for an answer of the server's.
"""

from functools import partial
from typing import TYPE_CHECKING, Final

from proxy.sql.analyse import Analysis, analyse

if TYPE_CHECKING:
    from proxy.session.session import Session

# Bytes that take some milliseconds.
_LONG: Final = 16_384


def analysed(
    session: "Session", text: bytes, kind: int, *, standard_strings: bool
) -> Analysis | None:
    """None: the message, of this kind, waits until the text has been read."""
    read_elsewhere = session.around.read_elsewhere
    if len(text) <= _LONG or read_elsewhere is None:
        session.read = None
        return analyse(text, standard_strings)
    asked = (text, standard_strings)
    if session.read is not None and session.read[0] == asked:
        return session.read[1]

    def done(found: Analysis) -> None:
        session.read = (asked, found)
        session.wake()

    session.held = True
    session.held_for = kind
    read_elsewhere(partial(analyse, *asked), done)
    return None
