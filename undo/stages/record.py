"""Writing down that an undo was done, and of what: from then on that is out of every selection."""

import json
from typing import Any, Final

from undo.database import Database
from undo.request import UndoRequest
from undo.stages.part import Part

_UNDO: Final = """
INSERT INTO hotrollback.undo (by, redo_of, request)
VALUES ($1, $2, $3::pg_catalog.text::pg_catalog.json)
RETURNING id, xid
"""
# The first batch is what the others are named by.
_BATCHED: Final = """
UPDATE hotrollback.undo u
   SET batch_of = COALESCE($2, u.id), more = CASE WHEN $2 IS NULL THEN true END
 WHERE u.id = $1
"""
# A transaction of which everything is taken back needs one row. To find that out costs a look at
# the log, which is worth it only for many rows.
_MANY = 10_000
_UNDONE: Final = """
WITH done AS MATERIALIZED ({done}), whole AS MATERIALIZED (
    SELECT d.xid FROM done d GROUP BY d.xid
    HAVING CASE WHEN pg_catalog.count(*) >= {many} THEN pg_catalog.count(*) =
                (SELECT pg_catalog.count(*) FROM hotrollback.change c WHERE c.xid = d.xid)
           ELSE false END
)
INSERT INTO hotrollback.undone (undo, xid, lsn)
SELECT {undo}, d.xid, d.lsn FROM done d WHERE d.xid NOT IN (SELECT w.xid FROM whole w)
 UNION ALL
SELECT {undo}, w.xid, NULL FROM whole w
"""


async def record(
    db: Database, request: UndoRequest, redo_of: int | None, part: Part, done: str, *args: Any
) -> tuple[int, int]:
    """The undo's id and its transaction. `done`: a query for xid and lsn of what was taken back."""
    if part.undo_id is not None:
        if redo_of is None:
            await db.execute(_UNDONE.format(undo=part.undo_id, done=done, many=_MANY), *args)
        xid = await db.fetchval("SELECT xid FROM hotrollback.undo WHERE id = $1", part.undo_id)
        return part.undo_id, xid
    row = await db.fetchrow(_UNDO, request.by, redo_of, json.dumps(request.as_dict()))
    if part.batched:
        await db.execute(_BATCHED, row["id"], part.batch_of)
    if redo_of is not None:
        await redone(db, row["id"], redo_of)
    else:
        await db.execute(_UNDONE.format(undo=row["id"], done=done, many=_MANY), *args)
    return row["id"], row["xid"]


async def begin(db: Database, request: UndoRequest, redo_of: int | None) -> tuple[int, int]:
    """The same for an undo whose parts are recorded one by one; what it redoes, at its end."""
    row = await db.fetchrow(_UNDO, request.by, redo_of, json.dumps(request.as_dict()))
    return row["id"], row["xid"]


async def redone(db: Database, undo_id: int, redo_of: int) -> None:
    await db.execute("UPDATE hotrollback.undo SET redone_by = $1 WHERE id = $2", undo_id, redo_of)


async def keep_report(db: Database, undo: int, report: dict[str, Any]) -> None:
    """What SHOW UNDOS tells of it later, without the rows."""
    kept = {
        name: report[name]
        for name in (
            *("outcome", "selected_transactions", "tables", "untouched", "seconds", "message"),
        )
    }
    kept["conflicts"] = len(report["conflicts"])
    kept["gaps"] = len(report["gaps"])
    await db.execute(
        "UPDATE hotrollback.undo SET report = $2::pg_catalog.text::pg_catalog.json WHERE id = $1",
        undo,
        json.dumps(kept),
    )
