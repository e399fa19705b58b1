"""What is known of a role's password, read as the server reads what it keeps.

Not: where it was found.
"""

import re
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from proxy.auth.saslprep import prepared
from proxy.auth.scram import KEY_LENGTH, Keys, decoded

_VERIFIER: Final = re.compile(
    r"SCRAM-SHA-256\$([1-9][0-9]{0,9}):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)"
)
_MD5: Final = re.compile(r"md5[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Verifier:
    salt: bytes = field(repr=False)
    iterations: int
    keys: Keys = field(repr=False)

    def fits(self, salt: bytes, iterations: int) -> bool:
        """Whether it was made as the server's own was."""
        return (self.salt, self.iterations) == (salt, iterations)


@dataclass(frozen=True, slots=True)
class Password:
    text: str = field(repr=False)

    @property
    def raw(self) -> bytes:
        """What keys are derived from."""
        return prepared(self.text).encode()


class Lack(Enum):
    """There is no secret."""

    NONE = auto()  # known: nobody logs in as this role by SCRAM, or there is no such role
    UNKNOWN = auto()  # it is not known whether there is one


Secret = Verifier | Password | Lack


def read(text: str | None) -> Secret:
    """Of pg_authid.rolpassword, or of a list. An md5 hash is of no use to SCRAM. Raises ValueError
    for what begins as a verifier and is none; the text is not in it."""
    if not text or _MD5.fullmatch(text):
        return Lack.NONE
    if not text.startswith("SCRAM-SHA-256$"):
        return Password(text)
    found = _VERIFIER.fullmatch(text)
    if found is not None:
        salt, stored, server = (decoded(found[n].encode()) for n in (2, 3, 4))
        if salt and stored and server and len(stored) == len(server) == KEY_LENGTH:
            return Verifier(salt, int(found[1]), Keys(stored, server))
    raise ValueError("begins with SCRAM-SHA-256$ and is not a whole verifier")
