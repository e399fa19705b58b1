"""Messages that the proxy makes itself. Not: what they are for."""

from collections.abc import Iterable, Sequence
from struct import Struct

_INT = Struct("!i").pack
_SHORT = Struct("!H").pack

SYNC = b"S\x00\x00\x00\x04"
FLUSH = b"H\x00\x00\x00\x04"
TERMINATE = b"X\x00\x00\x00\x04"
PARSE_COMPLETE = b"1\x00\x00\x00\x04"
BIND_COMPLETE = b"2\x00\x00\x00\x04"
CLOSE_COMPLETE = b"3\x00\x00\x00\x04"
NO_DATA = b"n\x00\x00\x00\x04"
EMPTY_QUERY = b"I\x00\x00\x00\x04"

CANCEL_CODE = 80877102
SSL_CODE = 80877103
GSSENC_CODE = 80877104
SSL_REQUEST = _INT(8) + _INT(SSL_CODE)


def message(kind: bytes, body: bytes) -> bytes:
    return kind + _INT(len(body) + 4) + body


def query(text: bytes) -> bytes:
    return message(b"Q", text + b"\0")


def parse(name: bytes, text: bytes, oids: bytes = b"\0\0") -> bytes:
    """`oids` as they travel: a count and the type oids."""
    return message(b"P", name + b"\0" + text + b"\0" + oids)


def bind(portal: bytes, statement: bytes, values: Sequence[bytes | None]) -> bytes:
    """Parameters and results in text format."""
    parts = [portal, b"\0", statement, b"\0\0\0", _SHORT(len(values))]
    for value in values:
        if value is None:
            parts.append(b"\xff\xff\xff\xff")
        else:
            parts.append(_INT(len(value)))
            parts.append(value)
    parts.append(b"\0\0")
    return message(b"B", b"".join(parts))


def describe_statement(name: bytes) -> bytes:
    return message(b"D", b"S" + name + b"\0")


def describe_portal(name: bytes) -> bytes:
    return message(b"D", b"P" + name + b"\0")


def execute(portal: bytes = b"", limit: int = 0) -> bytes:
    return message(b"E", portal + b"\0" + _INT(limit))


def close_statement(name: bytes) -> bytes:
    return message(b"C", b"S" + name + b"\0")


def close_portal(name: bytes) -> bytes:
    return message(b"C", b"P" + name + b"\0")


def command_complete(tag: bytes) -> bytes:
    return message(b"C", tag + b"\0")


def fields(kind: bytes, pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """An ErrorResponse (E) or NoticeResponse (N) from its fields."""
    return message(kind, b"".join(code + value + b"\0" for code, value in pairs) + b"\0")


def error(severity: str, sqlstate: str, text: str, *, detail: str = "", hint: str = "") -> bytes:
    pairs = [
        (b"S", severity.encode()),
        (b"V", severity.encode()),
        (b"C", sqlstate.encode()),
        (b"M", text.encode()),
    ]
    if detail:
        pairs.append((b"D", detail.encode()))
    if hint:
        pairs.append((b"H", hint.encode()))
    return fields(b"E", pairs)


def cancel_request(key: bytes) -> bytes:
    """`key` is what the client sent after the code: process id and secret."""
    return _INT(len(key) + 8) + _INT(CANCEL_CODE) + key


def startup(version: int, parameters: Iterable[tuple[bytes, bytes]]) -> bytes:
    body = b"".join(name + b"\0" + value + b"\0" for name, value in parameters) + b"\0"
    return _INT(len(body) + 8) + _INT(version) + body
