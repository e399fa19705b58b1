"""What is in the bin is let go of for good: by name, by age, or all of it but what is pinned.

An undo of the drop then finds the table gone, or the values not kept any more, and changes nothing.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from undo.bin.entries import TABLE, Entry, entries, find, with_partitions
from undo.database import Database, lock_undo, sqlstate
from undo.errors import StillNeeded

_LOCK_TIMEOUT_MS: Final = 10_000
_IN_USE: Final = frozenset({"55P03", "40P01"})

# What would go along, is no part of what goes and is not in the bin.
_NEEDED: Final = """
WITH RECURSIVE going(classid, objid, part) AS (
    SELECT 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid, $1::pg_catalog.oid, true
     UNION
    SELECT d.classid, d.objid, d.deptype <> 'n'
      FROM going g JOIN pg_catalog.pg_depend d ON (d.refclassid, d.refobjid) = (g.classid, g.objid)
)
SELECT CASE WHEN w.rulename = '_RETURN' -- as the view itself is called
            THEN pg_catalog.pg_describe_object(
                     'pg_catalog.pg_class'::pg_catalog.regclass, w.ev_class, 0)
            ELSE pg_catalog.pg_describe_object(g.classid, g.objid, 0) END
  FROM (SELECT classid, objid FROM going GROUP BY 1, 2 HAVING NOT pg_catalog.bool_or(part)) g
  LEFT JOIN pg_catalog.pg_constraint c
    ON g.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND c.oid = g.objid
  LEFT JOIN pg_catalog.pg_attrdef a
    ON g.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND a.oid = g.objid
  LEFT JOIN pg_catalog.pg_trigger t
    ON g.classid = 'pg_catalog.pg_trigger'::pg_catalog.regclass AND t.oid = g.objid
  LEFT JOIN pg_catalog.pg_rewrite w
    ON g.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND w.oid = g.objid
  LEFT JOIN pg_catalog.pg_policy p
    ON g.classid = 'pg_catalog.pg_policy'::pg_catalog.regclass AND p.oid = g.objid
  LEFT JOIN hotrollback.binned b
    ON (b.classid, b.objid) = (g.classid, g.objid)
  LEFT JOIN pg_catalog.pg_class o
    ON o.oid = COALESCE(c.conrelid, a.adrelid, t.tgrelid, w.ev_class, p.polrelid,
                        CASE WHEN g.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                             THEN g.objid END)
 WHERE o.relnamespace IS DISTINCT FROM pg_catalog.to_regnamespace('hotrollback_bin')::pg_catalog.oid
   AND b.objid IS NULL
 ORDER BY 1 LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Purged:
    entry: Entry
    left: str = ""  # why it is still there; empty: it is gone


async def purge(
    db: Database,
    name: str | None = None,
    *,
    older_than: timedelta | None = None,
    dry_run: bool = False,
) -> tuple[Purged, ...]:
    """One by one, each in its own transaction. Of a name all is meant to go, or an error is raised;
    of the rest what cannot is told."""
    wanted = await meant(db, name, older_than)
    done = []
    for entry in wanted:
        if dry_run:
            done.append(Purged(entry, await _needed(db, entry)))
            continue
        try:
            why = await let_go(db, entry, lock_timeout_ms=_LOCK_TIMEOUT_MS)
        except StillNeeded as error:
            if name is not None:
                raise
            why = str(error)
        done.append(Purged(entry, why))
    if any(not purged.left for purged in done) and not dry_run:
        await drop_unneeded(db)
    return tuple(done)


async def drop_unneeded(db: Database) -> None:
    """Types and routines in the bin, of which nothing there is made any more."""
    async with db.transaction():
        await lock_undo(db)
        await db.execute("SELECT hotrollback.drop_unneeded_v1()")


async def meant(db: Database, name: str | None, older_than: timedelta | None) -> tuple[Entry, ...]:
    """A table with those of its partitions that went with it, or everything that is not pinned; of
    this what is old enough."""
    found = await entries(db)
    if name is not None:
        named = await find(db, name)
        below = await with_partitions(db, named)
        found = tuple(entry for entry in found if entry.id in below)
    else:
        found = tuple(entry for entry in found if not entry.pinned)
    if older_than is None:
        return found
    now = await db.fetchval("SELECT pg_catalog.clock_timestamp()")
    return tuple(entry for entry in found if entry.at <= now - older_than)


async def let_go(db: Database, entry: Entry, *, lock_timeout_ms: int) -> str:
    """Drop it; why it could not be done now. Raises StillNeeded."""
    try:
        async with db.transaction():
            await db.execute(f"SET LOCAL lock_timeout = {int(lock_timeout_ms)}")
            return await _drop(db, entry)
    except Exception as error:
        if sqlstate(error) not in _IN_USE:
            raise
        return f"it is in use ({error})"


async def _drop(db: Database, entry: Entry) -> str:
    await lock_undo(db)
    place = await db.fetchval(_PLACE, entry.held)
    if place is None:
        return "it is not in the bin any more"
    await db.execute(f"LOCK TABLE {place} IN ACCESS EXCLUSIVE MODE")
    needed = await _needed(db, entry)
    if needed:
        raise StillNeeded(entry.label, needed)
    await db.execute(f"DROP TABLE {place} CASCADE")
    if entry.kind == TABLE:
        await db.execute("DELETE FROM hotrollback.bin WHERE relid = $1", entry.relid)
    else:
        await db.execute("DELETE FROM hotrollback.kept WHERE name = $1", entry.id)
    return ""


_PLACE: Final = """
SELECT pg_catalog.format('%I.%I', n.nspname, c.relname)
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.oid = $1 AND n.nspname = 'hotrollback_bin'
"""


async def _needed(db: Database, entry: Entry) -> str:
    """What needs it and is not in the bin; empty if nothing does."""
    return await db.fetchval(_NEEDED, entry.held) or ""
