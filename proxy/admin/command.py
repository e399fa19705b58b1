"""What a command is: a row of words, clauses, columns, permission and a function."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from enum import StrEnum
from typing import Any

from proxy.admin.backend import Backend
from proxy.admin.clauses import AS_JSON, AS_SQL, Clause
from proxy.admin.table import Column


class Permission(StrEnum):
    """What a user of the console must have been given."""

    LOOK = "look"
    UNDO = "undo"  # changes data
    RUN = "run"  # changes how the proxy works


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asks, and what a command may use."""

    backend: Backend
    user: str
    zone: tzinfo  # of times that bring none
    now: datetime
    notice: Callable[[str], None]  # told at once
    warn: Callable[[str], None]
    progress: Callable[[str, int, int], None]


Rows = Sequence[Sequence[Any]]


class Shaped(list[Sequence[Any]]):
    """Rows whose columns are known only with them."""

    def __init__(self, columns: tuple[Column, ...], rows: Iterable[Sequence[Any]]) -> None:
        super().__init__(rows)
        self.columns = columns


Run = Callable[[Asked, Mapping[str, Any]], Awaitable[Rows]]


@dataclass(frozen=True, slots=True)
class Command:
    words: tuple[str, ...]
    help: str
    permission: Permission
    columns: tuple[Column, ...]
    run: Run
    clauses: tuple[Clause, ...] = ()
    json_columns: tuple[Column, ...] = ()  # of the answer AS JSON
    sql_columns: tuple[Column, ...] = ()  # AS SQL
    must: str = ""  # a column that is false where something is wrong: exit code 4
    word: str = ""  # its words on the command line, where they are not made of `words`

    @property
    def name(self) -> str:
        return " ".join(self.words)

    @property
    def family(self) -> str:
        """Its first word on the command line."""
        return self.word.partition(" ")[0] or self.words[0].lower()

    @property
    def last_word(self) -> str:
        """What tells it from others of its family there."""
        return self.word.rpartition(" ")[2] or self.words[-1].lower()

    @property
    def syntax(self) -> str:
        said = list(self.words)
        said += [
            clause.syntax if clause.needed else f"[{clause.syntax}]" for clause in self.clauses
        ]
        return " ".join(said)

    @property
    def wrapped_syntax(self) -> str:
        """The same in lines that fit a terminal beside something else."""
        lines = [""]
        for part in self.syntax.replace(" [", "\0[").split("\0"):
            if len(lines[-1]) + len(part) > 60:
                lines.append("   ")
            lines[-1] += f" {part}" if lines[-1] else part
        return "\n".join(lines)

    def columns_of(self, values: Mapping[str, Any]) -> tuple[Column, ...]:
        if values.get(AS_SQL.field):
            return self.sql_columns
        return self.json_columns if values.get(AS_JSON.field) else self.columns
