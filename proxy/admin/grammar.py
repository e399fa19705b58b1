"""Text -> calls of commands, and back: parse(render(call)) == [call].

The words are those of the tables (commands, clauses); nothing here knows what they mean. Errors say
where, and which words would have been right.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from proxy.admin.clauses import Clause
from proxy.admin.command import Command
from proxy.admin.commands import COMMANDS
from undo import filters
from undo.errors import BadFilter
from undo.tokens import BadToken, Is, Token, tokens


class GrammarError(Exception):
    """A text that is no command; `at` is where, in characters from 0."""

    def __init__(self, text: str, at: int, hint: str = "", sqlstate: str = "42601") -> None:
        super().__init__(text)
        self.at = at
        self.hint = hint
        self.sqlstate = sqlstate


@dataclass(frozen=True, slots=True)
class Call:
    """One command with what its clauses say, by field."""

    command: Command
    values: Mapping[str, Any]


@dataclass(slots=True)
class Reading:
    """The tokens of one command and how far they were read; a values.Cursor."""

    found: Sequence[Token]
    end: int  # of the text
    at: int = 0

    def peek(self) -> Token | None:
        return self.found[self.at] if self.at < len(self.found) else None

    def next(self, wanted: str) -> Token:
        token = self.peek()
        if token is None:
            raise GrammarError(f"{wanted} expected at the end of the command", self.end)
        self.at += 1
        return token

    def accept(self, sign: str) -> bool:
        token = self.peek()
        if token is None or not token.is_sign(sign):
            return False
        self.at += 1
        return True

    def wrong(self, token: Token, text: str) -> GrammarError:
        return GrammarError(text, token.start)

    def conditions(self) -> Any:
        try:
            conditions, self.at = filters.read(self.found, self.at)
        except BadFilter as error:
            raise GrammarError(str(error), self._here()) from error
        return conditions

    def takes(self, words: Sequence[str]) -> bool:
        """Read these words, if they come next."""
        ahead = self.found[self.at : self.at + len(words)]
        if len(ahead) < len(words) or not all(
            token.is_word(word) for token, word in zip(ahead, words, strict=True)
        ):
            return False
        self.at += len(words)
        return True

    def _here(self) -> int:
        token = self.peek()
        return token.start if token else self.end


def scan(text: str) -> list[Token]:
    """Raises GrammarError."""
    try:
        return tokens(text)
    except BadToken as error:
        raise GrammarError(str(error), error.at) from error


def split(found: Sequence[Token]) -> Iterator[Sequence[Token]]:
    """The commands of a text; empty ones are left out."""
    start = 0
    for at, token in enumerate(found):
        if token.is_sign(";"):
            if at > start:
                yield found[start:at]
            start = at + 1
    if start < len(found):
        yield found[start:]


def parse(text: str) -> list[Call]:
    """Raises GrammarError."""
    return [read(found) for found in split(scan(text))]


def read(found: Sequence[Token]) -> Call:
    """One command. Raises GrammarError."""
    reading = Reading(found, found[-1].end)
    command = _command(reading)
    values: dict[str, Any] = {}
    while (token := reading.peek()) is not None:
        clause = _clause(reading, command, values)
        if clause.field in values and not clause.repeats:
            raise GrammarError(f"{clause.syntax} is given twice", token.start)
        value = clause.value.read(reading)
        values[clause.field] = (*values.get(clause.field, ()), *value) if clause.repeats else value
    for clause in command.clauses:
        if clause.needed and clause.field not in values:
            reading.next(clause.syntax if clause.words else clause.value.wanted)
    return Call(command, values)


_LONGEST_FIRST = sorted(COMMANDS, key=lambda command: len(command.words), reverse=True)


def _command(reading: Reading) -> Command:
    for command in _LONGEST_FIRST:
        if reading.takes(command.words):
            return command
    known = 0
    while any(reading.takes(c.words[: known + 1]) for c in COMMANDS if len(c.words) > known):
        reading.at = 0
        known += 1
    begun = [token.text.upper() for token in reading.found[:known]]
    reading.at = known
    token = reading.next(f"something after {' '.join(begun)}")
    words = {
        c.words[known] for c in COMMANDS if len(c.words) > known and [*c.words[:known]] == begun
    }
    raise _unknown(token, words, "SHOW HELP lists the commands")


def _clause(reading: Reading, command: Command, values: Mapping[str, Any]) -> Clause:
    for clause in sorted(command.clauses, key=lambda c: len(c.words), reverse=True):
        if clause.words and reading.takes(clause.words):
            return clause
        if not clause.words and clause.field not in values:
            return clause
    token = reading.found[reading.at]
    words = {clause.words[0] for clause in command.clauses if clause.words}
    raise _unknown(token, words, f"it may be: {command.syntax}")


def _unknown(token: Token, words: set[str], otherwise: str) -> GrammarError:
    near = get_close_matches(token.text.upper(), sorted(words), n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near and token.kind is Is.WORD else otherwise
    return GrammarError(f"syntax error at or near {token.text!r}", token.start, hint)


def render(call: Call) -> str:
    """A text that reads as this call."""
    parts = [*call.command.words]
    for clause in call.command.clauses:
        if clause.field in call.values:
            parts += [*clause.words, clause.value.render(call.values[clause.field])]
    return " ".join(part for part in parts if part)
