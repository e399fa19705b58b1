"""Undos that stand: not redone, and not redos themselves."""

from undo.database import Database
from undo.errors import AlreadyRedone, UnknownUndo, UsageError


async def last_undo(db: Database) -> int:
    """That still stands. Raises UsageError if there is none."""
    found: int | None = await db.fetchval(
        "SELECT pg_catalog.max(id) FROM hotrollback.undo"
        " WHERE redone_by IS NULL AND redo_of IS NULL"
    )
    if found is None:
        raise UsageError("there is no undo that could be redone")
    return found


async def not_redone_yet(db: Database, undo_id: int) -> None:
    """Raises UnknownUndo, AlreadyRedone, UsageError."""
    row = await db.fetchrow(
        "SELECT redo_of, redone_by FROM hotrollback.undo WHERE id = $1", undo_id
    )
    if row is None:
        raise UnknownUndo(undo_id)
    if row["redone_by"] is not None:
        raise AlreadyRedone(undo_id, row["redone_by"])
    if row["redo_of"] is not None:
        raise UsageError(f"{undo_id} is itself a redo: select what it brought back, and undo that")
