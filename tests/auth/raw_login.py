"""Logging in by a socket, whatever is asked for, and what it looked like from the client's side."""

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass

from raw import Message, Raw, masked, message, startup
from scram_ends import Client

Answer = Callable[[int, bytes], bytes | None]  # request and its data -> message; None: nothing


@dataclass(slots=True)
class Answers:
    """What a client with this password says; `header` as in scram_ends.Client."""

    user: str
    password: str | bytes
    header: bytes = b""
    binding: bytes | None = None  # to a certificate
    _scram: Client | None = None

    def __call__(self, code: int, data: bytes) -> bytes | None:
        raw = self.password.encode() if isinstance(self.password, str) else self.password
        if code == 3:
            return message("p", raw + b"\0")
        if code == 5:
            inner = hashlib.md5(raw + self.user.encode()).hexdigest().encode()
            return message("p", b"md5" + hashlib.md5(inner + data).hexdigest().encode() + b"\0")
        if code == 10:
            self._scram = Client(str(self.password), self.binding, self.header)
            return self._scram.first()
        if code == 11 and self._scram is not None:
            return self._scram.final(message("R", struct.pack("!i", code) + data))
        return None


def log_in(
    port: int,
    user: str,
    answer: Answer,
    *,
    secure: Callable[[Raw], None] = lambda _: None,
    **parameters: str,
) -> list[object]:
    """The trace, masked as it has to be the same in two conversations."""
    with Raw(port) as raw:
        secure(raw)
        raw.send(startup(user=user, **{"database": "postgres", **parameters}))
        while (found := raw.read()) is not None and found.kind != "Z":
            if found.kind == "R":
                said = answer(struct.unpack_from("!i", found.body)[0], found.body[4:])
                if said is not None:
                    raw.send(said)
        return [_masked(found) for found in raw.trace] + [raw.ended]


def _masked(found: Message) -> object:
    """What a server offers is looked at whole."""
    if found.kind == "R" and found.body[:4] == struct.pack("!i", 10):
        return found
    return masked(found, ours=False)
