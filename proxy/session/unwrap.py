"""What the server says of a statement of the client's that a procedure of ours has run: as it would
have said it of the statement itself.
"""

import re
from typing import Final

from proxy.capture.plan import Wrapped

Fields = list[tuple[bytes, bytes]]

# In the server's lines of context, in whatever language.
_OURS: Final = re.compile(rb"^.*\bhotrollback\.(?:quietly|run_ddl)_v1\(text\).*$", re.MULTILINE)


def unwrapped(fields: Fields, wrapped: Wrapped) -> Fields:
    """A place in the text that the procedure ran (`p` in `q`) is one in the client's message."""
    found = dict(fields)
    inside = found.get(b"q") == wrapped.text and found.get(b"p", b"").isdigit()
    told: Fields = []
    for name, value in fields:
        if name == b"P" or (inside and name == b"q"):
            continue
        if inside and name == b"p":
            told.append((b"P", b"%d" % (wrapped.at + int(value))))
        elif name == b"W":
            context = _context(value, b"" if inside else wrapped.text)
            if context:
                told.append((name, context))
        else:
            told.append((name, value))
    return told


def _context(value: bytes, text: bytes) -> bytes:
    """Without the lines of the procedure, and the one before them that names the text, which is
    there unless a place in it is told. What the text calls stands before them."""
    ours = _OURS.search(value)
    if ours is None:
        return value
    context = value[: ours.start()]
    at = context.rfind(text) if text else -1
    if at >= 0 and b"\n" not in context[at + len(text) :].rstrip(b"\n"):
        context = context[: context.rfind(b"\n", 0, at) + 1]
    return context.rstrip(b"\n")
