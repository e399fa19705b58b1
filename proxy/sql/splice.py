"""Edits of a text, and where a place in the edited text was before.

The client's text is never made anew: pieces are put in or replaced, everything else stays byte for
byte. The server counts positions in characters from 1; PositionMap answers in the same way.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Edit(NamedTuple):
    """`text` instead of what is between the two byte offsets; `why` is for people. A piece of the
    client's that only moves has a `source`: where it was."""

    start: int
    end: int
    text: bytes
    why: str
    source: int | None = None


@dataclass(frozen=True, slots=True)
class PositionMap:
    original: bytes
    edited: bytes
    # Where each piece begins, in the edited text and in the original; None if it is ours.
    starts: tuple[int, ...]
    sources: tuple[int | None, ...]

    def back(self, position: int, encoding: str = "utf8") -> int | None:
        """The position in the original of the character at `position`; None if it is in a piece of
        ours or nowhere. `encoding` as Python calls it."""
        offset = _offset(self.edited, position - 1, encoding)
        if offset is None:
            return None
        index = bisect_right(self.starts, offset) - 1
        source = self.sources[index]
        if source is None:
            return None
        return length(self.original[: source + offset - self.starts[index]], encoding) + 1


def apply(text: bytes, edits: Sequence[Edit]) -> tuple[bytes, PositionMap]:
    """Edits at the same place stay in their order. Raises ValueError if they overlap."""
    pieces: list[bytes] = []
    starts: list[int] = []
    sources: list[int | None] = []
    at = done = 0
    for edit in sorted(edits, key=lambda edit: edit.start):
        if edit.start < done or edit.end < edit.start or edit.end > len(text):
            raise ValueError(f"edits overlap or are out of the text: {edit.why}")
        for piece, source in ((text[done : edit.start], done), (edit.text, edit.source)):
            if piece:
                pieces.append(piece)
                starts.append(at)
                sources.append(source)
                at += len(piece)
        done = edit.end
    if done < len(text) or not pieces:
        pieces.append(text[done:])
        starts.append(at)
        sources.append(done)
    edited = b"".join(pieces)
    return edited, PositionMap(text, edited, tuple(starts), tuple(sources))


def length(data: bytes, encoding: str = "utf8") -> int:
    """In characters; bytes that make none count as the server counts them, one each at most."""
    if data.isascii():
        return len(data)
    if encoding == "utf8":
        return len(data) - sum(0x80 <= byte < 0xC0 for byte in data)
    return len(data.decode(encoding, "replace"))


def _offset(data: bytes, characters: int, encoding: str) -> int | None:
    """The offset of the character with that many before it; the end is one, too."""
    if characters < 0:
        return None
    if data.isascii():
        return characters if characters <= len(data) else None
    if encoding == "utf8":
        seen = 0
        for offset, byte in enumerate(data):
            if 0x80 <= byte < 0xC0:
                continue
            if seen == characters:
                return offset
            seen += 1
        return len(data) if seen == characters else None
    decoded = data.decode(encoding, "replace")
    if characters > len(decoded):
        return None
    return len(decoded[:characters].encode(encoding, "replace"))
