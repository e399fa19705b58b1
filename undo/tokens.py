"""Tokens of the small languages that operators write: conditions on images, console commands.

They are SQL's: words, "quoted names", 'literals', numbers, $1, operators, comments. Not: what they
mean; the SQL of clients, which has a lexer of its own that is true to the server's.
"""

import re
from enum import StrEnum
from typing import Final, NamedTuple


class Is(StrEnum):
    WORD = "word"
    NAME = "name"  # in double quotes
    LITERAL = "literal"
    NUMBER = "number"
    PARAMETER = "parameter"
    SIGN = "sign"


class Token(NamedTuple):
    kind: Is
    text: str  # without quotes, as it was written otherwise
    start: int
    end: int

    def is_word(self, word: str) -> bool:
        return self.kind is Is.WORD and self.text.upper() == word

    def is_sign(self, sign: str) -> bool:
        return self.kind is Is.SIGN and self.text == sign


class BadToken(Exception):
    """A text that cannot be cut into tokens."""

    def __init__(self, text: str, at: int) -> None:
        super().__init__(text)
        self.at = at


_TOKEN: Final = re.compile(
    r"""(?P<space>\s+|--[^\n]*|/\*.*?\*/)
      | (?P<literal>'(?:[^']|'')*')
      | (?P<name>"(?:[^"]|"")+")
      | (?P<parameter>\$[0-9]{1,4})
      | (?P<number>(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?(?![\w.]))
      | (?P<word>[^\W\d][\w$]*)
      | (?P<sign><>|!=|<=|>=|::|[-+=<>(),;.*])""",
    re.VERBOSE | re.DOTALL,
)
_QUOTES: Final = {Is.LITERAL: "'", Is.NAME: '"'}


def tokens(text: str) -> list[Token]:
    """Raises BadToken."""
    found = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise BadToken(_why(text, at), at)
        at = match.end()
        if match.lastgroup != "space":
            kind = Is(str(match.lastgroup))
            quote = _QUOTES.get(kind)
            said = match[0][1:-1].replace(quote * 2, quote) if quote else match[0]
            found.append(Token(kind, said, match.start(), at))
    return found


def _why(text: str, at: int) -> str:
    what = {"'": "unterminated quoted string", '"': "unterminated quoted identifier"}
    if text[at] in what:
        return f"{what[text[at]]} at or near {text[at:]!r}"
    if text.startswith("/*", at):
        return "unterminated /* comment"
    near = text[at : at + 20].split(maxsplit=1)[0]
    return f"syntax error at or near {near!r}: quote what is text: '...'"


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def name(text: str) -> str:
    """A name so that it reads back as itself."""
    if re.fullmatch(r"[a-z_][a-z0-9_$]*", text):
        return text
    return '"' + text.replace('"', '""') + '"'
