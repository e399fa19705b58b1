"""Statements and portals of the console's extended protocol, and what Parse and Bind bring.

Not: the order of messages (console).
"""

import re
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field
from struct import Struct
from struct import error as short
from typing import Any, Final

from proxy.admin.command import Shaped
from proxy.admin.courtesies import ENDS, Manners, Reply
from proxy.admin.execution import CommandError, Execution
from proxy.admin.grammar import GrammarError, read, scan, split
from proxy.admin.table import Column
from proxy.wire.decode import cstring
from undo.tokens import Is, Token

_SHORT: Final = Struct("!H").unpack_from
_INT: Final = Struct("!i").unpack_from
_TEXTS: Final = frozenset({0, 25, 705, 1042, 1043})  # text types, or left to the server
_INTEGERS: Final = frozenset({20, 21, 23, 26})


@dataclass(frozen=True, slots=True)
class Statement:
    """A command as it was written, and what its answer will look like."""

    found: Sequence[Token]  # none: an empty query
    columns: tuple[Column, ...] = ()
    oids: tuple[int, ...] = ()  # of its parameters


@dataclass(slots=True)
class Portal:
    statement: Statement
    found: Sequence[Token]  # with the parameters' values in their places
    formats: tuple[int, ...]
    rows: Sequence[Sequence[Any]] = ()
    tag: str = ""
    sent: int = 0
    executed: bool = False


def parse(body: bytes, manners: Manners) -> tuple[bytes, Statement]:
    """Raises GrammarError, CommandError, BadSetting; ValueError for a malformed message."""
    name, at = cstring(body, 0)
    text, at = cstring(body, at)
    (count,) = _SHORT(body, at)
    oids = [_INT(body, at + 2 + 4 * n)[0] for n in range(count)]
    commands = list(split(scan(decoded(text))))
    if len(commands) > 1:
        raise CommandError("42601", "cannot insert multiple commands into a prepared statement")
    found = commands[0] if commands else []
    numbers = [int(token.text[1:]) for token in found if token.kind is Is.PARAMETER]
    wanted = max(numbers, default=0)
    oids = [oid or 25 for oid in [*oids, *([0] * wanted)][: max(wanted, count)]]
    columns = columns_of(found, manners) if found else ()
    return name, Statement(found, columns, tuple(oids))


def _scratch(manners: Manners) -> Manners:
    """A copy, to be asked what it would answer: nothing is done yet."""
    made = copy(manners)
    made.settings, made.changed = dict(manners.settings), []
    return made


def check(commands: Sequence[Sequence[Token]], manners: Manners) -> None:
    """Nothing is done of a text that is wrong in any place. Raises GrammarError, BadSetting."""
    scratch = _scratch(manners)
    for found in commands:
        if scratch.answer(found) is None:
            read(found)


def columns_of(found: Sequence[Token], manners: Manners) -> tuple[Column, ...]:
    reply = _scratch(manners).answer(found)
    if reply is not None:
        return reply.columns
    call = read(found)
    return call.command.columns_of(call.values)


def bind(body: bytes, statements: dict[bytes, Statement]) -> tuple[bytes, Portal]:
    try:
        return _bind(body, statements)
    except short as early:
        raise ValueError("Bind ends early") from early


def _bind(body: bytes, statements: dict[bytes, Statement]) -> tuple[bytes, Portal]:
    portal, at = cstring(body, 0)
    name, at = cstring(body, at)
    statement = statements.get(name)
    if statement is None:
        raise CommandError("26000", f'prepared statement "{decoded(name)}" does not exist')
    formats, at = _shorts(body, at)
    (count,) = _SHORT(body, at)
    at += 2
    if count != len(statement.oids):
        raise CommandError(
            "08P01",
            f"bind message supplies {count} parameters, but prepared statement requires"
            f" {len(statement.oids)}",
        )
    values = []
    for oid, binary in zip(statement.oids, _for_all(formats, count), strict=True):
        (length,) = _INT(body, at)
        at += 4
        if length < 0:
            raise CommandError("22004", "a parameter of a console command must not be null")
        if at + length > len(body):
            raise ValueError("invalid parameter length in Bind")
        values.append(_value(body[at : at + length], oid, binary=bool(binary)))
        at += length
    results, _ = _shorts(body, at)
    return portal, Portal(statement, [_put(t, values) for t in statement.found], results)


def _shorts(body: bytes, at: int) -> tuple[tuple[int, ...], int]:
    (count,) = _SHORT(body, at)
    found = tuple(_SHORT(body, at + 2 + 2 * n)[0] for n in range(count))
    return found, at + 2 + 2 * count


def _for_all(formats: Sequence[int], count: int) -> Sequence[int]:
    return formats if len(formats) == count else [formats[0] if formats else 0] * count


def _value(body: bytes, oid: int, *, binary: bool) -> str:
    if not binary or oid in _TEXTS:
        return decoded(body)
    if oid in _INTEGERS:
        return str(int.from_bytes(body, "big", signed=True))
    raise CommandError("0A000", f"parameters of type {oid} are not taken in binary: send text")


def _put(token: Token, values: Sequence[str]) -> Token:
    if token.kind is not Is.PARAMETER:
        return token
    value = values[int(token.text[1:]) - 1]
    kind = Is.NUMBER if re.fullmatch(r"[0-9]+", value) else Is.LITERAL
    return token._replace(kind=kind, text=value)


def decoded(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError as wrong:
        raise CommandError("22021", "invalid byte sequence for encoding UTF8") from wrong


@dataclass(slots=True)
class Doing:
    """A command that is to be done now, in any of the two protocols."""

    execution: Execution
    manners: Manners
    columns: tuple[Column, ...] = field(default=())

    async def do(self, found: Sequence[Token]) -> tuple[str, Sequence[Sequence[Any]]]:
        """Tag and rows; `columns` tell whether it is a result set."""
        manners = self.manners
        if manners.status == b"E" and found[0].text.lower() not in ENDS:
            raise CommandError(
                "25P02",
                "current transaction is aborted, commands ignored until end of transaction block",
            )
        reply: Reply | None = manners.answer(found)
        if reply is not None:
            self.columns = reply.columns
            return reply.tag, [reply.row] if reply.columns else []
        if any(token.kind is Is.PARAMETER for token in found):
            raise GrammarError("there is no parameter $1", found[0].start, sqlstate="42P02")
        call = read(found)
        self.columns = call.command.columns_of(call.values)
        tag, rows = await self.execution.run(call)
        if isinstance(rows, Shaped):
            self.columns = rows.columns
        return tag, rows
