"""The messages that the proxy opens. Bodies are without type and length. Not: sessions, SQL.

Raises ValueError where a body is not what its type promises.
"""

from struct import Struct, error
from typing import NamedTuple

_INT = Struct("!i").unpack_from
_SHORT = Struct("!H").unpack_from


class Parse(NamedTuple):
    name: bytes
    text: bytes
    oids: bytes  # count and oids, as they came


class Column(NamedTuple):
    name: bytes
    table: int
    attnum: int
    type: int


def cstring(body: bytes, start: int) -> tuple[bytes, int]:
    """The string at `start` and the offset behind its NUL."""
    end = body.find(b"\0", start)
    if end < 0:
        raise ValueError("invalid string in message")
    return body[start:end], end + 1


def parse(body: bytes) -> Parse:
    name, at = cstring(body, 0)
    text, at = cstring(body, at)
    return Parse(name, text, body[at:])


def error_fields(body: bytes) -> list[tuple[bytes, bytes]]:
    """Code and value of each field of an ErrorResponse or NoticeResponse; unknown ones too."""
    found = []
    at = 0
    while at < len(body) and body[at]:
        value, end = cstring(body, at + 1)
        found.append((body[at : at + 1], value))
        at = end
    return found


def first_fields(body: bytes) -> list[tuple[bytes, bytes]]:
    """Those of them that are whole, where the end of the body is missing."""
    return error_fields(body[: body.rfind(b"\0") + 1])


def data_row(body: bytes) -> list[bytes | None]:
    try:
        (count,) = _SHORT(body, 0)
        at = 2
        values: list[bytes | None] = []
        for _ in range(count):
            (length,) = _INT(body, at)
            at += 4
            if length < -1 or at + max(length, 0) > len(body):
                raise ValueError("invalid field length in DataRow")
            if length < 0:
                values.append(None)
            else:
                values.append(body[at : at + length])
                at += length
    except error as short:
        raise ValueError("DataRow ends early") from short
    return values


def row_description(body: bytes) -> list[Column]:
    try:
        (count,) = _SHORT(body, 0)
        at = 2
        columns = []
        for _ in range(count):
            name, at = cstring(body, at)
            (table,) = _INT(body, at)
            (attnum,) = _SHORT(body, at + 4)
            (kind,) = _INT(body, at + 6)
            columns.append(Column(name, table & 0xFFFFFFFF, attnum, kind & 0xFFFFFFFF))
            at += 18
        if at > len(body):
            raise ValueError("RowDescription ends early")
    except error as short:
        raise ValueError("RowDescription ends early") from short
    return columns


def startup_parameters(body: bytes) -> list[tuple[bytes, bytes]]:
    """Name and value pairs behind the protocol version; the empty name must be the last byte."""
    pairs: list[tuple[bytes, bytes]] = []
    at = 0
    while True:
        name, at = cstring(body, at)
        if not name:
            if at != len(body):
                raise ValueError("expected terminator as last byte")
            return pairs
        value, at = cstring(body, at)
        pairs.append((name, value))
