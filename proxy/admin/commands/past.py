"""SHOW TABLE .. AS OF and SHOW HISTORY: the past, read without changing it. How it is worked out is
undo.past's."""

from collections.abc import Mapping
from typing import Any, Final

from proxy.admin import clauses
from proxy.admin.command import Asked, Command, Permission, Rows, Shaped
from proxy.admin.moments import instant
from proxy.admin.table import INT, JSON, TEXT, TIME, Column
from proxy.admin.values import Point
from undo.past.history import history as history_of
from undo.past.rows import as_of


async def table(asked: Asked, values: Mapping[str, Any]) -> Rows:
    when = values["moment"]
    moment, point = None, ""
    if isinstance(when, Point):
        point = when.name
    else:
        moment = instant(when, asked.zone, asked.now)
        if when.tzinfo is None:
            asked.notice(f"AS OF {moment:%Y-%m-%d %H:%M:%S} UTC")
    as_json = values.get("as_json", False)
    async with asked.backend.database(values.get("database")) as db:
        past = await as_of(db, values["table"], moment, restore_point=point, json=as_json)
    if as_json:
        return past.rows
    shape = tuple(Column(column.name, TEXT, "") for column in past.columns)
    return Shaped(shape, [tuple(row) for row in past.rows])


async def history(asked: Asked, values: Mapping[str, Any]) -> Rows:
    async with asked.backend.database(values.get("database")) as db:
        rows = await history_of(db, values["table"], values["key"])
    return [[row[column.name] for column in _HISTORY] for row in rows]


_HISTORY: Final = (
    Column("at", TIME, "when it was recorded"),
    Column("xid", INT, "its transaction, as UNDO XID takes it"),
    Column("session", TEXT, "PID.MICROS: backend and its start; null if not known"),
    Column("tag", TEXT, "the tag that it was written under"),
    Column("role", TEXT, "the role that wrote it; null if it was dropped since"),
    Column("relation", TEXT, "the table; a -> b where the row moved between partitions"),
    Column("op", TEXT, "insert, update or delete"),
    Column("changed", TEXT, "of an update the columns that it changed: price: 3 -> 0"),
    Column("before", JSON, "the row before; null for an insert"),
    Column("after", JSON, "the row after; null for a delete"),
    Column("undone", INT, "the undo that took it back and was not redone"),
    Column("statement", TEXT, "the client's statement; null if it is not known"),
)

COMMANDS: Final = (
    Command(
        ("SHOW", "TABLE"),
        "the rows of a table as they were, without changing anything",
        Permission.LOOK,
        (Column("...", TEXT, "the columns that the table has now, each as text"),),
        table,
        (clauses.AS_OF, clauses.THE_TABLE, clauses.DATABASE, clauses.AS_JSON),
        json_columns=(Column("row", JSON, "each row as one JSON object"),),
        word="as-of",
    ),
    Command(
        ("SHOW", "HISTORY"),
        "every change of one row, the newest first, also under other keys and in other partitions",
        Permission.LOOK,
        _HISTORY,
        history,
        (clauses.ITS_TABLE, clauses.ITS_KEY, clauses.DATABASE),
        word="history",
    ),
)
