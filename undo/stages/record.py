"""Writing down that an undo was done, and of what: from then on that is out of every selection."""

import json
from collections.abc import Iterable
from typing import Any, Final

from undo.database import Database
from undo.model import Change
from undo.request import UndoRequest

_UNDO: Final = """
INSERT INTO hotrollback.undo (by, redo_of, request)
VALUES ($1, $2, $3::pg_catalog.text::pg_catalog.json)
RETURNING id, xid
"""
_UNDONE: Final = """
INSERT INTO hotrollback.undone (undo, xid, lsn)
SELECT $1::pg_catalog.int8, d.xid, '0/0'::pg_catalog.pg_lsn + d.lsn
  FROM ROWS FROM (pg_catalog.unnest($2::pg_catalog.int8[]),
                  pg_catalog.unnest($3::pg_catalog.int8[])) AS d(xid, lsn)
"""


async def record(
    db: Database, request: UndoRequest, redo_of: int | None, changes: Iterable[Change]
) -> tuple[int, int]:
    """The undo's id and its transaction."""
    row = await db.fetchrow(_UNDO, request.by, redo_of, json.dumps(request.as_dict()))
    if redo_of is not None:
        await db.execute(
            "UPDATE hotrollback.undo SET redone_by = $1 WHERE id = $2", row["id"], redo_of
        )
    else:
        done = list(changes)
        await db.execute(
            _UNDONE, row["id"], [change.xid for change in done], [change.lsn for change in done]
        )
    return row["id"], row["xid"]


async def keep_report(db: Database, undo: int, report: dict[str, Any]) -> None:
    """What SHOW UNDOS tells of it later, without the rows."""
    kept = {
        name: report[name] for name in ("outcome", "selected_transactions", "tables", "message")
    }
    kept["conflicts"] = len(report["conflicts"])
    kept["gaps"] = len(report["gaps"])
    await db.execute(
        "UPDATE hotrollback.undo SET report = $2::pg_catalog.text::pg_catalog.json WHERE id = $1",
        undo,
        json.dumps(kept),
    )
