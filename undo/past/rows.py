"""The rows of a table as they were. What they were is worked out by the server
(0011_past.sql); here is how they are asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from undo.database import Database, set_all
from undo.errors import NotInstalled
from undo.image import COLUMNS_SQL, PINNED_SETTINGS, Column, image, quote_ident, read_columns
from undo.naming import there


@dataclass(frozen=True, slots=True)
class Past:
    columns: tuple[Column, ...]
    rows: Sequence[Any]  # values as text, in the order of the columns; or JSON text, one by one


async def ready(db: Database) -> None:
    """Raises NotInstalled."""
    if not await db.fetchval("SELECT pg_catalog.to_regclass('hotrollback.change') IS NOT NULL"):
        raise NotInstalled


async def pinned(db: Database) -> None:
    """Values read back as they were, for the rest of the transaction."""
    await set_all(db, (*PINNED_SETTINGS, ("jit", "off")), local=True)


async def as_of(
    db: Database, table: str, moment: datetime | None, *, restore_point: str = "", json: bool
) -> Past:
    """At a moment, or where none is given at a restore point. Raises UsageError, and the server's
    errors where it is not known."""
    await ready(db)
    async with db.transaction(readonly=True):
        await pinned(db)
        oid, name, _ = await there(db, table)
        columns = read_columns([tuple(c) for c in await db.fetch(COLUMNS_SQL, [oid])]).get(oid, ())
        if json:
            # What is computed is shown, too.
            every = [replace(column, generated="") for column in columns]
            shown = f"({image(every, 'r', safe_settings=True)})::pg_catalog.text"
        else:
            shown = ", ".join(_text(column) for column in columns)
        past = f"hotrollback.as_of($1::pg_catalog.timestamptz, NULL::{name}) r"
        if moment is None:
            past = f"hotrollback.as_of_restore_point($1::pg_catalog.text, NULL::{name}) r"
        rows = await db.fetch(f"SELECT {shown} FROM {past}", moment or restore_point)
    return Past(columns, rows)


def _text(column: Column) -> str:
    """As the server prints it. A cast might be a user's code, or cut blanks."""
    value = f"r.{quote_ident(column.name)}"
    return f"CASE WHEN pg_catalog.num_nulls({value}) = 0 THEN pg_catalog.format('%s', {value}) END"
