"""IGNORE, UNIGNORE and SHOW IGNORED. What the list means is undo's."""

from collections.abc import Mapping
from typing import Any, Final

from proxy.admin import clauses
from proxy.admin.command import Asked, Command, Permission, Rows
from proxy.admin.table import TEXT, TIME, Column
from undo import ignored


async def ignore(asked: Asked, values: Mapping[str, Any]) -> Rows:
    async with asked.backend.database(values.get("database")) as db:
        await ignored.put(db, values["column"], by=asked.user, reason=values.get("reason"))
    return [(f"no undo heeds {values['column']}",)]


async def unignore(asked: Asked, values: Mapping[str, Any]) -> Rows:
    async with asked.backend.database(values.get("database")) as db:
        await ignored.take(db, values["column"])
    return [(f"undos heed {values['column']} again",)]


async def show(asked: Asked, values: Mapping[str, Any]) -> Rows:
    async with asked.backend.database(values.get("database")) as db:
        rows = await ignored.listed(db)
    return [[row[column.name] for column in _LIST] for row in rows]


_STATE: Final = (Column("state", TEXT, "what is so now"),)
_LIST: Final = (
    Column("relation", TEXT, "the table, and its partitions and children"),
    Column("column", TEXT, "of this name"),
    Column("by", TEXT, "who said so"),
    Column("at", TIME, "when"),
    Column("reason", TEXT, "why"),
)

COMMANDS: Final = (
    Command(
        ("SHOW", "IGNORED"),
        "columns that no undo heeds",
        Permission.LOOK,
        _LIST,
        show,
        (clauses.DATABASE,),
    ),
    Command(
        ("IGNORE",),
        "let every undo take this column for one that changes by itself, as IGNORE of a single"
        " undo does",
        Permission.UNDO,
        _STATE,
        ignore,
        (clauses.THE_COLUMN, clauses.DATABASE, clauses.REASON),
    ),
    Command(
        ("UNIGNORE",),
        "let it count again",
        Permission.UNDO,
        _STATE,
        unignore,
        (clauses.THE_COLUMN, clauses.DATABASE),
    ),
)
