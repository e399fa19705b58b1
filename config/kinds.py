"""Kinds of values: how each is read from TOML or text, and how it is shown again.

A reader takes what TOML gave (or text, from the environment and flags) and raises BadValue; the
kind's `allowed` completes the message. Not: which settings there are.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from config import upstream
from config.tags import BadRule, TagRules

N = TypeVar("N", int, float)


class BadValue(Exception):
    """A value that its kind does not allow; the text says why where `allowed` is not enough."""


class Address(NamedTuple):
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Kind:
    allowed: str  # completes "must be ..."
    read: Callable[[Any], Any]
    show: Callable[[Any], str] = str


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise BadValue
    return value


# -- switches and words --------------------------------------------------------------------------

_SWITCH: Final = {"on": True, "true": True, "1": True, "off": False, "false": False, "0": False}


def _read_switch(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    try:
        return _SWITCH[_text(value).lower()]
    except KeyError:
        raise BadValue from None


def one_of(*words: str) -> Kind:
    def read(value: Any) -> str:
        if value not in words:
            raise BadValue
        return str(value)

    return Kind("one of " + ", ".join(f'"{word}"' for word in words), read)


# -- numbers, durations, sizes ---------------------------------------------------------------------


def whole(least: int, most: int) -> Kind:
    def read(value: Any) -> int:
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,12}", value):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise BadValue
        return value

    return Kind(f"a whole number from {least} to {most}", read)


_SECONDS: Final = {"ms": 0.001, "s": 1, "min": 60, "m": 60, "h": 3600, "d": 86400, "w": 604800}
# Of statements that are read whole: with what is written into them they stay far below what the
# server takes in one message.
LONGEST: Final = 256 << 20
_TCP_MOST: Final = 9 * 3600.0  # Linux counts such timers in 15 bits of seconds
_BYTES: Final = {"B": 1, "kB": 1 << 10, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}


def _measured(value: Any, units: dict[str, Any]) -> float:
    """A number with its unit. Without one it is refused, but for 0: a retention of 30 is not
    obviously days."""
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", str(value))
    if found is None or isinstance(value, bool):
        raise BadValue
    number, unit = float(found[1]), found[2]
    if number == 0 and not unit:
        return 0
    if unit not in units:
        raise BadValue
    return number * float(units[unit])


def _read_span(value: Any) -> timedelta:
    seconds = _measured(value, _SECONDS)
    if not 0 < seconds < timedelta.max.total_seconds():
        raise BadValue
    return timedelta(seconds=seconds)


def _at_most(most: N, read: Callable[[Any], N]) -> Callable[[Any], N]:
    def bounded(value: Any) -> N:
        found = read(value)
        if found > most:
            raise BadValue
        return found

    return bounded


def _read_seconds(value: Any) -> float:
    return _measured(value, _SECONDS)


def _show_seconds(seconds: float) -> str:
    for unit in ("w", "d", "h", "min", "s"):
        if seconds and seconds % _SECONDS[unit] == 0:
            return f"{seconds / _SECONDS[unit]:.0f}{unit}"
    return f"{seconds * 1000:.0f}ms" if seconds else "0"


def _read_size(value: Any) -> int:
    size = int(_measured(value, _BYTES))
    if size <= 0:
        raise BadValue
    return size


def _show_size(size: int) -> str:
    for unit in ("TB", "GB", "MB", "kB"):
        if size % _BYTES[unit] == 0:
            return f"{size // _BYTES[unit]}{unit}"
    return f"{size}B"


# -- addresses and places ------------------------------------------------------------------------


def _read_address(value: Any) -> Address:
    host, colon, port = _text(value).rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise BadValue
    return Address(host, int(port))


def _read_url(value: Any) -> str:
    text = _text(value)
    try:
        upstream.read(text)
    except ValueError as error:
        raise BadValue(str(error)) from error
    return text


def _read_path(value: Any) -> Path:
    return Path(_text(value)).expanduser()


def _read_query(value: Any) -> str | None:
    text = _text(value)
    if text == "off":
        return None
    if not re.search(r"\$1(?![0-9])", text):
        raise BadValue
    return text


def _read_mode(value: Any) -> int:
    if not re.fullmatch(r"0?[0-7]{3}", _text(value)):
        raise BadValue
    return int(value, 8)


def _read_tags(value: Any) -> TagRules:
    try:
        return TagRules.read(value)
    except BadRule as error:
        raise BadValue(str(error)) from error


SWITCH: Final = Kind('"on" or "off"', _read_switch, lambda on: "on" if on else "off")
SECONDS: Final = Kind(
    'a duration, a number with a unit of ms, s, min, h, d or w: "10s"',
    _read_seconds,
    _show_seconds,
)
TCP_TIMER: Final = Kind(
    'a duration up to 9h, or 0: "60s"', _at_most(_TCP_MOST, _read_seconds), _show_seconds
)
SPAN: Final = Kind(
    'a duration longer than 0, a number with a unit of ms, s, min, h, d or w: "30d"',
    _read_span,
    lambda span: _show_seconds(span.total_seconds()),
)
SIZE: Final = Kind(
    'a size above 0, a number with a unit of B, kB, MB, GB or TB: "10GB"', _read_size, _show_size
)
LENGTH: Final = Kind(
    'a size above 0, up to 256MB: "4MB"', _at_most(LONGEST, _read_size), _show_size
)
ADDRESS: Final = Kind('HOST:PORT, such as "127.0.0.1:6432" or "[::1]:6432"', _read_address)
URL: Final = Kind(
    "an address such as postgresql://operator@db.example:5432/shop",
    _read_url,
    upstream.without_password,
)
PATH: Final = Kind("the name of a directory", _read_path)
FILE: Final = Kind("the name of a file", _read_path)
QUERY: Final = Kind('a query in which $1 is the role, or "off"', _read_query)
MODE: Final = Kind(
    'file permissions as chmod takes them, in octal: "0770"', _read_mode, lambda mode: f"{mode:04o}"
)
TAGS: Final = Kind(
    "a list of tables, each with tag and at least one of application, role, database, address",
    _read_tags,
)
