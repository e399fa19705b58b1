"""Kinds of values that clauses take: read from tokens or from a flag's text, and written again.

For every kind: what `text` reads, `render` writes so that `read` gives the same value back.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any, Final, Protocol

from proxy.admin import moments
from proxy.admin.moments import TIMES, BadInput, Moment
from undo import filters
from undo.errors import BadFilter
from undo.policies import POLICIES
from undo.tokens import Is, Token, literal, name


@dataclass(frozen=True, slots=True)
class Point:
    """A restore point, where a moment is wanted."""

    name: str


@dataclass(frozen=True, slots=True)
class Parameter:
    """$1 of a prepared command, before it is bound."""

    number: int


class Cursor(Protocol):
    """The tokens of one command."""

    def peek(self) -> Token | None: ...
    def next(self, wanted: str) -> Token:
        """Raises a syntax error that says what was wanted."""

    def accept(self, sign: str) -> bool: ...
    def wrong(self, token: Token, text: str) -> Exception: ...
    def conditions(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class Value:
    """A value of one token; `text` raises BadInput."""

    wanted: str  # completes "... expected"
    text: Callable[[str], Any]
    render: Callable[[Any], str]
    choices: tuple[str, ...] = ()

    def read(self, cursor: Cursor) -> Any:
        token = cursor.next(self.wanted)
        if token.kind is Is.PARAMETER:
            return Parameter(int(token.text[1:]))
        if token.kind is Is.SIGN:
            raise cursor.wrong(token, f"{self.wanted} expected")
        try:
            return self.text(token.text)
        except BadInput as error:
            raise cursor.wrong(token, str(error)) from error


@dataclass(frozen=True, slots=True)
class Presence(Value):
    """The words alone say it."""

    wanted: str = ""
    text: Callable[[str], Any] = bool
    render: Callable[[Any], str] = field(default=lambda _: "")

    def read(self, cursor: Cursor) -> Any:
        del cursor
        return True


@dataclass(frozen=True, slots=True)
class Optional(Value):
    """A value that may be left out; `otherwise` then."""

    otherwise: Any = None

    def read(self, cursor: Cursor) -> Any:
        token = cursor.peek()
        if token is None or token.kind not in {Is.LITERAL, Is.NUMBER, Is.PARAMETER}:
            return self.otherwise
        return Value.read(self, cursor)


@dataclass(frozen=True, slots=True)
class Several(Value):
    """Values separated by commas; a tuple."""

    def read(self, cursor: Cursor) -> Any:
        found = [self._one(cursor)]
        while cursor.accept(","):
            found.append(self._one(cursor))
        return tuple(found)

    def _one(self, cursor: Cursor) -> Any:
        return Value.read(self, cursor)


@dataclass(frozen=True, slots=True)
class Relations(Several):
    """Tables: names as SQL has them, or their text."""

    def _one(self, cursor: Cursor) -> Any:
        return _relation(self, cursor)


@dataclass(frozen=True, slots=True)
class Relation(Value):
    """One of them."""

    def read(self, cursor: Cursor) -> Any:
        return _relation(self, cursor)


def _relation(value: Value, cursor: Cursor) -> Any:
    first = cursor.next(value.wanted)
    if first.kind is Is.PARAMETER:
        return Parameter(int(first.text[1:]))
    if first.kind is Is.LITERAL:
        return value.text(first.text)
    parts = [first]
    while cursor.accept("."):
        parts.append(cursor.next(value.wanted))
    for part in parts:
        if part.kind not in {Is.WORD, Is.NAME}:
            raise cursor.wrong(part, f"{value.wanted} expected")
    return ".".join(_as_written(part) for part in parts)


def _as_written(part: Token) -> str:
    return '"' + part.text.replace('"', '""') + '"' if part.kind is Is.NAME else part.text


@dataclass(frozen=True, slots=True)
class Signed(Several):
    """Whole numbers, which may be negative."""

    def _one(self, cursor: Cursor) -> Any:
        if not cursor.accept("-"):
            return Value.read(self, cursor)
        token = cursor.next(self.wanted)
        if token.kind is not Is.NUMBER:
            raise cursor.wrong(token, f"{self.wanted} expected")
        return self.text(f"-{token.text}")


@dataclass(frozen=True, slots=True)
class KeyOf(Value):
    """Of one row: `42`, `(42, 3)` in the order of the primary key, or `(id = 42, line = 3)`."""

    def read(self, cursor: Cursor) -> Any:
        if not cursor.accept("("):
            return (("", self._text(cursor)),)
        found = [self._part(cursor)]
        while cursor.accept(","):
            found.append(self._part(cursor))
        if not cursor.accept(")"):
            raise cursor.wrong(cursor.next(") or ,"), ") or , expected")
        return tuple(found)

    def _part(self, cursor: Cursor) -> tuple[str, Any]:
        token = cursor.peek()
        if token is None or token.kind not in {Is.WORD, Is.NAME}:
            return "", self._text(cursor)
        cursor.next(self.wanted)
        # As the server does it: what is not quoted is in small letters.
        column = token.text if token.kind is Is.NAME else token.text.lower()
        if not cursor.accept("="):
            raise cursor.wrong(token, f"= expected behind {token.text}")
        return column, self._text(cursor)

    def _text(self, cursor: Cursor) -> Any:
        sign = "-" if cursor.accept("-") else ""
        token = cursor.next(self.wanted)
        if token.kind is Is.PARAMETER and not sign:
            return Parameter(int(token.text[1:]))
        if token.kind is not Is.NUMBER and (sign or token.kind not in {Is.LITERAL, Is.WORD}):
            raise cursor.wrong(token, f"{self.wanted} expected")
        return sign + token.text


@dataclass(frozen=True, slots=True)
class When(Value):
    """A time, or RESTORE POINT 'name'."""

    def read(self, cursor: Cursor) -> Any:
        token = cursor.peek()
        if token is None or not token.is_word("RESTORE"):
            return Value.read(self, cursor)
        cursor.next(self.wanted)
        point = cursor.next("POINT")
        if not point.is_word("POINT"):
            raise cursor.wrong(point, "POINT expected behind RESTORE")
        found = TEXT.read(cursor)
        return found if isinstance(found, Parameter) else Point(found)


@dataclass(frozen=True, slots=True)
class Conditions(Value):
    def read(self, cursor: Cursor) -> Any:
        return cursor.conditions()


# -- from text -------------------------------------------------------------------------------------


def _some_text(text: str) -> str:
    if not text:
        raise BadInput("the text must not be empty")
    return text


def _number(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise BadInput(f"{text!r} is not a whole number")
    return int(text)


def _positive(text: str) -> int:
    number = _number(text)
    if not number:
        raise BadInput("0 is not enough")
    return number


def _signed(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,19}", text) or not -(2**63) <= int(text) < 2**63:
        raise BadInput(f"{text!r} is not a whole number of 64 bits")
    return int(text)


_PART: Final = re.compile(
    r"""\s*(?P<column>[^\W\d][\w$]*|"(?:[^"]|"")+")\s*=\s*(?P<text>'(?:[^']|'')*'|[^\s',()]+)\s*"""
)


def _key(text: str) -> Any:
    """Of a flag: `id=42, line=3`, the same in parentheses, or the one value as it is."""
    inner = text.strip()
    if inner.startswith("(") and inner.endswith(")"):
        inner = inner[1:-1]
    found, at = [], 0
    while match := _PART.match(inner, at):
        column, value = match["column"], match["text"]
        column = column[1:-1].replace('""', '"') if column[0] == '"' else column.lower()
        value = value[1:-1].replace("''", "'") if value[0] == "'" else value
        found.append((column, value))
        at = match.end()
        if at == len(inner):
            return tuple(found)
        if inner[at] != ",":
            break
        at += 1
    return (("", _some_text(text)),)


def _render_key(key: Any) -> str:
    parts = [
        f"{name(column)} = {literal(text)}" if column else literal(text) for column, text in key
    ]
    return parts[0] if len(key) == 1 and not key[0][0] else f"({', '.join(parts)})"


_UNITS: Final = {"ms": 0.001, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0}


def _duration(text: str) -> float:
    found = re.fullmatch(r"\s*([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*([a-z]*)\s*", text)
    if found is None or (found[2] or "s") not in _UNITS or not float(found[1]):
        raise BadInput(f"{text!r} is no time to wait: write '30s', '500ms', '5min' or '2h'")
    return float(found[1]) * _UNITS[found[2] or "s"]


def _render_duration(seconds: float | None) -> str:
    return "" if seconds is None else literal(f"{seconds:f}s")


_DAYS: Final = {**_UNITS, "d": 86400.0, "w": 604800.0}


def _age(text: str) -> float:
    found = re.fullmatch(r"\s*([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*([a-z]+)\s*", text)
    if found is None or found[2] not in _DAYS:
        raise BadInput(f"{text!r} is no age: write '30d', '2w' or '12h'")
    return float(found[1]) * _DAYS[found[2]]


def _conditions(text: str) -> Any:
    try:
        return filters.parse(text)
    except BadFilter as error:
        raise BadInput(str(error)) from error


def _when(text: str) -> Moment | Point:
    words = text.split(maxsplit=2)
    if len(words) == 3 and [word.lower() for word in words[:2]] == ["restore", "point"]:
        return Point(words[2])
    return moments.read(text)


def _render_when(when: Moment | Point) -> str:
    if isinstance(when, Point):
        return f"RESTORE POINT {literal(when.name)}"
    return literal(when.isoformat())


def word_of(*words: str) -> Value:
    def text(given: str) -> str:
        if given.lower() in words:
            return given.lower()
        near = get_close_matches(given.lower(), words, n=1)
        meant = f": did you mean {near[0]}?" if near else ""
        raise BadInput(f'"{given}" is none of {", ".join(words)}{meant}')

    return Value("one of " + ", ".join(words), text, str, words)


def _table_policy(text: str) -> tuple[str, str]:
    table, sign, policy = text.rpartition("=")
    if not (sign and table.strip()):
        raise BadInput(f"{text!r} is not a table and its policy: write orders=merge")
    return table.strip(), POLICY.text(policy.strip())


def _undo_id(text: str) -> int | None:
    return None if text.lower() == "last" else _positive(text)


def _join(render: Callable[[Any], str]) -> Callable[[Any], str]:
    return lambda values: ", ".join(render(value) for value in values)


PRESENCE: Final = Presence()
TEXT: Final = Value("a text ('...')", _some_text, literal)
NUMBER: Final = Value("a whole number", _positive, str)
NUMBERS: Final = Several("a whole number", _positive, _join(str))
TEXTS: Final = Several("a text ('...')", _some_text, _join(literal))
SIGNED: Final = Signed("a whole number", _signed, _join(str))
SCRIPT: Final = Value("statements ('...')", _some_text, literal)
TABLES: Final = Relations("a table", _some_text, _join(literal))
TIME: Final = Value(f"a time ({TIMES})", moments.read, lambda moment: literal(moment.isoformat()))
COMING: Final = replace(TIME)  # to be waited for
KEY: Final = KeyOf("a value of the key", _key, _render_key)
TABLE: Final = Relation("a table", _some_text, literal)
COLUMN: Final = Relation("a column (table.column)", _some_text, literal)
WHEN: Final = When(f"a time ({TIMES}) or RESTORE POINT 'name'", _when, _render_when)
WAIT: Final = Optional("a time to wait ('30s')", _duration, _render_duration)
COLUMNS: Final = Relations("a column (table.column)", _some_text, _join(literal))
POLICY: Final = word_of(*POLICIES)
TABLE_POLICIES: Final = Several(
    "a text such as 'orders=merge'", _table_policy, _join(lambda one: literal("=".join(one)))
)
WHERE: Final = Conditions("conditions", _conditions, filters.render)
UNDO_ID: Final = Value(
    "the number of an undo, or LAST", _undo_id, lambda number: str(number or "LAST")
)
DURATION: Final = Value("a time ('30s')", _duration, _render_duration)
AGE: Final = Value("an age ('30d')", _age, _render_duration)
