"""The list of columns that change by themselves (`updated_at`, a version): no undo takes somebody's
change of them for a conflict, and none sets them back in rows that are there.

By the column's name, so that one that was dropped and came back is still on it. Not: columns that
one request names (stages.rules).
"""

from collections.abc import Sequence
from typing import Any, Final

from undo.database import Database
from undo.errors import NotIgnored
from undo.naming import column_there
from undo.origin import check_installed

_LISTED: Final = """
SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) AS relation, i.name AS "column",
       i.by, i.at, i.reason
  FROM hotrollback.ignored i
  JOIN pg_catalog.pg_class c ON c.oid = i.relid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 ORDER BY 1, 2
"""


async def put(db: Database, name: str, *, by: str, reason: str | None = None) -> None:
    """On the list, with partitions and children of its table. Raises UnknownColumn,
    UnknownRelation, BadFilter, NotInstalled."""
    await check_installed(db, "ignored")
    relid, column, _ = await column_there(db, name)
    await db.execute(
        "INSERT INTO hotrollback.ignored (relid, name, by, reason) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (relid, name) DO UPDATE SET by = excluded.by, reason = excluded.reason,"
        "    at = pg_catalog.clock_timestamp()",
        *(relid, column, by, reason),
    )


async def take(db: Database, name: str) -> None:
    """Off it. Raises NotIgnored and what `put` does."""
    await check_installed(db, "ignored")
    relid, column, _ = await column_there(db, name)
    if not await db.fetch(
        "DELETE FROM hotrollback.ignored WHERE relid = $1 AND name = $2 RETURNING true",
        *(relid, column),
    ):
        raise NotIgnored(name)


async def listed(db: Database) -> Sequence[Any]:
    """relation, column, by, at, reason; of tables that are there. Raises NotInstalled."""
    await check_installed(db, "ignored")
    return await db.fetch(_LISTED)
