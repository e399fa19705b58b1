"""Columns and rows -> messages of the protocol, in text and in binary format."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from struct import Struct
from typing import Any, Final

from proxy.wire.encode import message

_INT2: Final = Struct("!h").pack
_INT4: Final = Struct("!i").pack
_INT8: Final = Struct("!q").pack
_FIELD: Final = Struct("!ihihih").pack
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

TEXT_FORMAT: Final = 0
BINARY_FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class Type:
    name: str
    oid: int
    size: int
    text: Callable[[Any], str]
    binary: Callable[[Any], bytes]


def _time(value: datetime) -> str:
    """As the server prints it for TimeZone UTC."""
    return (
        value.astimezone(UTC).isoformat(sep=" ", timespec="microseconds").replace("+00:00", "+00")
    )


TEXT: Final = Type("text", 25, -1, str, lambda value: str(value).encode())
INT: Final = Type("int8", 20, 8, str, _INT8)
BOOL: Final = Type(
    "bool", 16, 1, lambda value: "t" if value else "f", lambda value: b"\1" if value else b"\0"
)
TIME: Final = Type(
    "timestamptz", 1184, 8, _time, lambda value: _INT8((value - _EPOCH) // _MICROSECOND)
)
JSON: Final = Type("json", 114, -1, str, lambda value: str(value).encode())


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    type: Type
    told: str  # for the reference page


def row_description(columns: Sequence[Column], formats: Sequence[int]) -> bytes:
    parts = [_INT2(len(columns))]
    for column, given in zip(columns, _formats(columns, formats), strict=True):
        of = column.type
        parts += [column.name.encode(), b"\0", _FIELD(0, 0, of.oid, of.size, -1, given)]
    return message(b"T", b"".join(parts))


def data_row(columns: Sequence[Column], formats: Sequence[int], values: Sequence[Any]) -> bytes:
    parts = [_INT2(len(columns))]
    for column, given, value in zip(columns, _formats(columns, formats), values, strict=True):
        if value is None:
            parts.append(b"\xff\xff\xff\xff")
            continue
        of = column.type
        body = of.binary(value) if given == BINARY_FORMAT else of.text(value).encode()
        parts += [_INT4(len(body)), body]
    return message(b"D", b"".join(parts))


def _formats(columns: Sequence[Column], formats: Sequence[int]) -> Sequence[int]:
    """One for each column, as Bind gives them: none means text, one means it for all."""
    if len(formats) == len(columns):
        return formats
    return [formats[0] if formats else TEXT_FORMAT] * len(columns)
