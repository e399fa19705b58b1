"""CHECK: whether a migration could be undone, statement by statement. What that means is undo's."""

from collections.abc import Mapping
from typing import Any, Final

from proxy.admin import clauses
from proxy.admin.command import Asked, Command, Permission, Rows
from proxy.admin.table import BOOL, INT, TEXT, Column
from proxy.sql.kinds import Group, Kind
from proxy.sql.statement import Statement
from undo.rehearsal import Piece, rehearse

_LINE: Final = 100  # characters of a statement that are shown
_SPARED: Final = frozenset({Kind.DROP, Kind.ALTER})


async def check(asked: Asked, values: Mapping[str, Any]) -> Rows:
    # The command line reads the table of commands, too, and would wait for sqlglot each time.
    from proxy.sql.analyse import analyse  # noqa: PLC0415

    text = values["script"].encode()
    pieces = [_piece(s, text) for s in analyse(text).statements]
    timeout = values.get("lock_timeout", 2.0)
    async with asked.backend.database(values.get("database")) as db:
        verdicts = await rehearse(db, pieces, lock_timeout=timeout)
    return [(_line(v.text), v.exact, v.rows, v.bytes, ", ".join(v.locks), v.why) for v in verdicts]


def _piece(statement: Statement, text: bytes) -> Piece:
    return Piece(
        statement.slice(text).decode(),
        spared=statement.kind in _SPARED,
        apart=not statement.kind.in_block,
        left_out=statement.kind.group is Group.TRANSACTION,
    )


def _line(text: str) -> str:
    line = " ".join(text.split())
    return f"{line[:_LINE]}..." if len(line) > _LINE else line


_COLUMNS: Final = (
    Column("statement", TEXT, "its text"),
    Column("exact", BOOL, "an undo would give back what it takes"),
    Column("rows", INT, "that would be recorded, or whose values would be kept"),
    Column("bytes", INT, "of these"),
    Column("locks", TEXT, "the strong locks that it takes"),
    Column("why", TEXT, "what would be lost, or how it is kept"),
)

COMMANDS: Final = (
    Command(
        ("CHECK",),
        "before a migration: run it in a transaction that is rolled back, and say of each statement"
        " whether it could be undone exactly and what it would take to keep",
        Permission.UNDO,
        _COLUMNS,
        check,
        (clauses.SCRIPT, clauses.DATABASE, clauses.LOCK_TIMEOUT),
        must="exact",
    ),
)
