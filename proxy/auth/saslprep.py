"""Passwords as SCRAM means them: SASLprep (RFC 4013), the way PostgreSQL does it.

What the profile does not allow is taken as it is, and characters that are in both tables of mapping
become spaces.
"""

import stringprep
import unicodedata
from collections.abc import Callable
from typing import Final

_Table = Callable[[str], bool]
_PROHIBITED: Final[tuple[_Table, ...]] = (
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
    stringprep.in_table_a1,  # unassigned
)


def prepared(password: str) -> str:
    if password.isascii():
        return password
    mapped = "".join(
        " " if stringprep.in_table_c12(char) else char
        for char in password
        if stringprep.in_table_c12(char) or not stringprep.in_table_b1(char)
    )
    normal = unicodedata.normalize("NFKC", mapped)
    allowed = normal and not any(table(char) for char in normal for table in _PROHIBITED)
    return normal if allowed and _one_direction(normal) else password


def _one_direction(text: str) -> bool:
    """Of text written from right to left, both ends are, and nothing is written the other way."""
    if not any(map(stringprep.in_table_d1, text)):
        return True
    ends = stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])
    return ends and not any(map(stringprep.in_table_d2, text))
