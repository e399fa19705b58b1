"""A list of roles and their secrets, as PgBouncer's userlist.txt has it: a role a line,

    "role" "secret"

where the secret is a SCRAM verifier, a plain password or an md5 hash, and a quote is written twice.
A line that begins with a semicolon is a comment; what follows the secret is left out.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from proxy.auth import secret
from proxy.auth.secret import Lack, Secret

_LINE: Final = re.compile(r'"((?:[^"]|"")+)"[ \t]+"((?:[^"]|"")*)"(?:[ \t].*)?')


class BadList(Exception):
    """A line cannot be meant; the text says which and why, and not what is in it."""


@dataclass(frozen=True, slots=True)
class Users:
    secrets: Mapping[str, Secret] = field(default_factory=dict, repr=False)

    def secret(self, role: str) -> Secret:
        """A list does not know who is not in it."""
        return self.secrets.get(role, Lack.UNKNOWN)


def read(text: str) -> Users:
    """Raises BadList."""
    found: dict[str, Secret] = {}
    lines: dict[str, int] = {}
    for number, whole in enumerate(text.split("\n"), 1):
        line = whole.strip(" \t\r")
        if line and not line.startswith(";"):
            role, kept = _entry(line, number)
            if role in lines:
                raise BadList(f"line {number} names a role that line {lines[role]} has named")
            found[role], lines[role] = kept, number
    return Users(found)


def _entry(line: str, number: int) -> tuple[str, Secret]:
    fields = _LINE.fullmatch(line)
    if fields is None:
        raise BadList(f'line {number} is not "role" "secret", both in double quotes')
    role, text = (field.replace('""', '"') for field in fields.groups())
    if "\0" in line:
        raise BadList(f"line {number} has a NUL character in it")
    try:
        kept = secret.read(text)
    except ValueError as error:
        raise BadList(f"line {number}: the secret {error}") from error
    # A hash of the other kind says nothing of whether the server has a verifier.
    return role, Lack.UNKNOWN if kept is Lack.NONE else kept
