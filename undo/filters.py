"""Conditions on what rows were and became: `after.price = 0 AND before.price IS NOT NULL`.

    condition   (before|after).COLUMN OPERATOR LITERAL
              | (before|after).COLUMN [NOT] LIKE 'pattern'
              | (before|after).COLUMN IS [NOT] NULL

Compared as numbers if the literal is one, as text otherwise. Values travel as parameters; a name
does too, as the key of an image. Not: where images are kept.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from undo.errors import BadFilter
from undo.tokens import BadToken, Is, Token, literal, name, tokens

_ALLOWED: Final = (
    "a condition is before.COLUMN or after.COLUMN, then =, <>, <, <=, > or >= with a number or"
    " 'text', or [NOT] LIKE 'pattern', or IS [NOT] NULL; conditions are joined by AND"
)
_COMPARISONS: Final = {"=": "=", "<>": "<>", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
# What of an image's text is a number; everything else does not compare with one.
_NUMERIC: Final = r"^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$"


@dataclass(frozen=True, slots=True)
class Condition:
    side: str  # before, after
    column: str
    operator: str  # of _COMPARISONS, LIKE, NOT LIKE, IS NULL, IS NOT NULL
    value: str = ""
    numeric: bool = False

    def __str__(self) -> str:
        what = f"{self.side}.{name(self.column)} {self.operator}"
        if self.operator.endswith("NULL"):
            return what
        return f"{what} {self.value if self.numeric else literal(self.value)}"


def parse(text: str) -> tuple[Condition, ...]:
    """Raises BadFilter."""
    try:
        found = tokens(text)
    except BadToken as error:
        raise BadFilter(f"{error}; {_ALLOWED}") from error
    conditions, used = read(found, 0)
    if used < len(found):
        raise _not_allowed(found, used)
    return conditions


def render(conditions: Sequence[Condition]) -> str:
    return " AND ".join(str(condition) for condition in conditions)


def read(found: Sequence[Token], at: int) -> tuple[tuple[Condition, ...], int]:
    """The conditions that begin at a token, and where they end. Raises BadFilter."""
    conditions = []
    while True:
        condition, at = _condition(found, at)
        conditions.append(condition)
        if at >= len(found) or not found[at].is_word("AND"):
            return tuple(conditions), at
        at += 1


def _not_allowed(found: Sequence[Token], at: int) -> BadFilter:
    where = f"unexpected {found[at].text!r}" if at < len(found) else "the condition ends early"
    return BadFilter(f"{where}; {_ALLOWED}")


def _condition(found: Sequence[Token], at: int) -> tuple[Condition, int]:
    def take(fits: Callable[[Token], bool]) -> Token | None:
        nonlocal at
        if at < len(found) and fits(found[at]):
            at += 1
            return found[at - 1]
        return None

    def need(fits: Callable[[Token], bool]) -> Token:
        token = take(fits)
        if token is None:
            raise _not_allowed(found, at)
        return token

    side = need(lambda t: t.is_word("BEFORE") or t.is_word("AFTER")).text.lower()
    need(lambda t: t.is_sign("."))
    column = need(lambda t: t.kind in {Is.WORD, Is.NAME})
    # As the server does it: what is not quoted is in small letters.
    key = column.text if column.kind is Is.NAME else column.text.lower()
    if take(lambda t: t.is_word("IS")):
        negated = take(lambda t: t.is_word("NOT"))
        need(lambda t: t.is_word("NULL"))
        return Condition(side, key, "IS NOT NULL" if negated else "IS NULL"), at
    negated = take(lambda t: t.is_word("NOT"))
    if negated or (at < len(found) and found[at].is_word("LIKE")):
        need(lambda t: t.is_word("LIKE"))
        pattern = need(lambda t: t.kind is Is.LITERAL).text
        return Condition(side, key, "NOT LIKE" if negated else "LIKE", pattern), at
    operator = _COMPARISONS[need(lambda t: t.kind is Is.SIGN and t.text in _COMPARISONS).text]
    sign = take(lambda t: t.is_sign("-") or t.is_sign("+"))
    if sign or (at < len(found) and found[at].kind is Is.NUMBER):
        number = need(lambda t: t.kind is Is.NUMBER).text
        negative = "-" if sign and sign.text == "-" else ""
        return Condition(side, key, operator, negative + number, numeric=True), at
    value = need(lambda t: t.kind is Is.LITERAL or t.is_word("TRUE") or t.is_word("FALSE"))
    text = value.text if value.kind is Is.LITERAL else value.text.lower()
    return Condition(side, key, operator, text), at


def sql(conditions: Sequence[Condition], parameter: Callable[[object], str]) -> list[str]:
    """Each as SQL over `c.before` and `c.after`; `parameter` keeps a value and gives its $n."""
    return [_sql(condition, parameter) for condition in conditions]


def _sql(condition: Condition, parameter: Callable[[object], str]) -> str:
    text = f"(c.{condition.side} ->> {parameter(condition.column)}::text)"
    if condition.operator == "IS NULL":
        # Of an image that is there: an INSERT has no row before, so its columns were not null.
        return f"(c.{condition.side} IS NOT NULL AND {text} IS NULL)"
    if condition.operator == "IS NOT NULL":
        return f"{text} IS NOT NULL"
    if condition.numeric:
        number = f"CASE WHEN {text} ~ '{_NUMERIC}' THEN {text}::numeric END"
        value = parameter(condition.value)
        return f"({number}) {condition.operator} {value}::text::numeric"
    return f"{text} {condition.operator} {parameter(condition.value)}::text"
