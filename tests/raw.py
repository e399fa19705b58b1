"""A PostgreSQL client that is nothing but a socket: bytes out, messages in; and how the trace of one
conversation is compared with that of another. Not: what a conversation should look like.
"""

import re
import select
import socket
import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Self

PATIENCE = 30.0  # seconds until an awaited message is missed


# -- messages of a client --------------------------------------------------------------------------


def message(kind: str, body: bytes = b"") -> bytes:
    return kind.encode() + struct.pack("!i", len(body) + 4) + body


def startup(version: tuple[int, int] = (3, 0), /, **parameters: str) -> bytes:
    pairs = b"".join(f"{name}\0{value}\0".encode() for name, value in parameters.items())
    return packet((version[0] << 16) + version[1], pairs + b"\0")


def packet(code: int, body: bytes = b"") -> bytes:
    """Without a type, as they come first."""
    return struct.pack("!ii", len(body) + 8, code) + body


SSL_REQUEST = packet(80877103)
GSSENC_REQUEST = packet(80877104)


def cancel_request(key: bytes) -> bytes:
    return packet(80877102, key)


def query(text: str | bytes) -> bytes:
    return message("Q", _bytes(text) + b"\0")


def parse(text: str | bytes, name: str = "", oids: Sequence[int] = ()) -> bytes:
    types = struct.pack(f"!H{len(oids)}I", len(oids), *oids)
    return message("P", name.encode() + b"\0" + _bytes(text) + b"\0" + types)


def bind(
    *values: str | bytes | None,
    name: str = "",
    portal: str = "",
    formats: Sequence[int] = (),
    results: Sequence[int] = (),
) -> bytes:
    parts = [portal.encode() + b"\0" + name.encode() + b"\0", _shorts(formats)]
    parts.append(struct.pack("!H", len(values)))
    for value in values:
        if value is None:
            parts.append(b"\xff\xff\xff\xff")
        else:
            raw = _bytes(value)
            parts.append(struct.pack("!i", len(raw)) + raw)
    return message("B", b"".join(parts) + _shorts(results))


def describe(name: str = "", kind: str = "P") -> bytes:
    return message("D", kind.encode() + name.encode() + b"\0")


def execute(portal: str = "", limit: int = 0) -> bytes:
    return message("E", portal.encode() + b"\0" + struct.pack("!i", limit))


def close(name: str = "", kind: str = "P") -> bytes:
    return message("C", kind.encode() + name.encode() + b"\0")


def copy_data(data: str | bytes) -> bytes:
    return message("d", _bytes(data))


SYNC = message("S")
FLUSH = message("H")
TERMINATE = message("X")
COPY_DONE = message("c")


def extended(text: str | bytes, *values: str | bytes | None) -> bytes:
    """As a driver does it: all at once, with the unnamed statement."""
    return parse(text) + bind(*values) + describe() + execute() + SYNC


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def _shorts(values: Sequence[int]) -> bytes:
    return struct.pack(f"!H{len(values)}H", len(values), *values)


# -- the conversation ------------------------------------------------------------------------------


class Message(NamedTuple):
    kind: str  # type byte; "" for a byte or for bytes that are no message
    body: bytes

    @property
    def fields(self) -> dict[str, str]:
        """Of an error or a notice."""
        parts = (part for part in self.body.split(b"\0") if part)
        return {part[:1].decode(): part[1:].decode("utf-8", "replace") for part in parts}


class Raw:
    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.socket = socket.create_connection((host, port), PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.trace: list[Message] = []
        self.ended = False
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def log_in(self, user: str, database: str, **parameters: str) -> Self:
        self.send(startup(user=user, database=database, **parameters))
        self.until("Z")
        return self

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def _receive(self) -> bool:
        try:
            data = self.socket.recv(1 << 20)
        except ConnectionResetError:
            data = b""
        self._buffer += data
        return bool(data)

    def told(self, within: float) -> bool:
        """Whether anything comes within so many seconds."""
        return bool(self._buffer) or bool(select.select([self.socket], [], [], within)[0])

    def end(self) -> None:
        """Nothing more will be sent; what comes is still read."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Gone without a word."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def byte(self) -> bytes:
        """The answer to a request for encryption."""
        while not self._buffer:
            if not self._receive():
                self.ended = True
                return b""
        found, self._buffer = self._buffer[:1], self._buffer[1:]
        self.trace.append(Message("", found))
        return found

    def read(self) -> Message | None:
        """The next message; None at the end."""
        while True:
            if len(self._buffer) >= 5:
                end = 1 + struct.unpack_from("!i", self._buffer, 1)[0]
                if len(self._buffer) >= end:
                    found = Message(chr(self._buffer[0]), self._buffer[5:end])
                    self._buffer = self._buffer[end:]
                    self.trace.append(found)
                    return found
            if not self._receive():
                self.ended = True
                if self._buffer:
                    self.trace.append(Message("", self._buffer))
                    self._buffer = b""
                return None

    def until(self, kinds: str) -> list[Message]:
        """What comes until a message of each of these kinds has come, in this order, or the end."""
        came: list[Message] = []
        for kind in kinds:
            while (found := self.read()) is not None:
                came.append(found)
                if found.kind == kind:
                    break
        return came

    def rest(self) -> list[Message]:
        came = []
        while (found := self.read()) is not None:
            came.append(found)
        return came

    def ask(self, text: str) -> list[Message]:
        self.send(query(text))
        return self.until("Z")


# -- comparing -------------------------------------------------------------------------------------

_NUMBER = re.compile(r"\d{4,}|(?<=pg_temp_)\d+")


def masked(found: Message, *, ours: bool) -> object:
    """What has to be the same in two conversations: without process ids, keys, oids of relations,
    numbers of temporary schemas; with `ours`, without what only the server itself can say of its error."""
    kind, body = found
    if kind == "K":
        return (kind, len(body))
    if kind == "R":
        return (kind, struct.unpack_from("!i", body)[0])
    if kind == "A":
        return (kind, body[4:])
    if kind in {"E", "N"}:
        fields = {n: v if n == "C" else _NUMBER.sub("#", v) for n, v in found.fields.items()}
        if ours:
            fields = {
                n: v.partition(": server supports")[0] for n, v in fields.items() if n not in "FLR"
            }
        return (kind, fields)
    if kind == "T":
        return (kind, _columns(body))
    return (kind, body)


def _columns(body: bytes) -> list[object]:
    columns = []
    at = 2
    while at < len(body):
        end = body.index(b"\0", at)
        table, *rest = struct.unpack_from("!IHIHiH", body, end + 1)
        columns.append((body[at:end], bool(table), *rest))
        at = end + 19
    return columns


def compared(trace: Iterable[Message], *, ours: bool = False) -> list[object]:
    return [masked(found, ours=ours) for found in trace]
