"""What goes from the bin by itself: what no undo can reach any more, since the log's records of it
are gone, and, where the bin is too big, the oldest. What is pinned stays.

Nothing goes unsaid: an upkeep says what goes when, and only a later one lets it go.
"""

from datetime import datetime, timedelta
from typing import Final

from undo.bin.entries import HELD, TABLE, VALUES, Entry, day_after, entries, installed, size
from undo.bin.purge import drop_unneeded, let_go
from undo.database import Database
from undo.errors import StillNeeded

# How long before its records go that is said.
_AHEAD: Final = timedelta(days=1)
_SOON: Final = timedelta(minutes=1)

_UNREACHABLE: Final = f"""
SELECT e.id FROM ({HELD}) e
 WHERE e.at < hotrollback.begins_v1()
   AND NOT EXISTS (SELECT FROM hotrollback.change c WHERE c.xid = e.xid)
   AND NOT EXISTS (SELECT FROM hotrollback.command c WHERE c.xid = e.xid)
"""
# What somebody dropped there without us.
_FORGET: Final = """
DELETE FROM hotrollback.bin b
 WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = b.relid);
DELETE FROM hotrollback.kept k
 WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_class c
                    WHERE c.relname = k.name
                      AND c.relnamespace = pg_catalog.to_regnamespace('hotrollback_bin'))
"""
_GOES: Final = {
    TABLE: "UPDATE hotrollback.bin SET goes = $2 WHERE relid = $1::pg_catalog.text::pg_catalog.oid",
    VALUES: "UPDATE hotrollback.kept SET goes = $2 WHERE name = $1",
}


async def expire(
    db: Database,
    retention: timedelta | None,
    max_bin_size: int | None,
    *,
    lock_timeout_ms: int,
) -> tuple[str, ...]:
    """A line for each thing that was said, or done."""
    if not await installed(db):
        return ()
    await db.execute(_FORGET)
    found = await entries(db)
    if not found:
        if await db.fetchval("SELECT EXISTS (SELECT FROM hotrollback.binned)"):
            await drop_unneeded(db)
        return ()
    now = await db.fetchval("SELECT pg_catalog.clock_timestamp()")
    unreachable = frozenset(row["id"] for row in await db.fetch(_UNREACHABLE))
    going = due(found, now, unreachable, retention, max_bin_size)
    lines = []
    for entry in reversed(found):
        when, why = going.get(entry.id, (None, ""))
        if when is not None and entry.goes is not None and entry.goes <= when:
            if when <= now:
                lines.append(await _go(db, entry, why, lock_timeout_ms))
        elif when != entry.goes:
            await db.execute(_GOES[entry.kind], entry.id, when)
            if when is not None:
                lines.append(_said(entry, when, why))
    if lines:
        await drop_unneeded(db)
    return tuple(lines)


def due(
    found: tuple[Entry, ...],
    now: datetime,
    unreachable: frozenset[str],
    retention: timedelta | None,
    max_bin_size: int | None,
) -> dict[str, tuple[datetime, str]]:
    """By id: when it goes, at the earliest now, and why. `found`: the newest first."""
    going = {}
    for entry in found:
        if entry.pinned:
            continue
        if entry.id in unreachable:
            going[entry.id] = now, "the log's records of it are gone"
        elif retention is not None and day_after(entry.at) + retention <= now + _AHEAD:
            # Not before they have gone.
            when = max(now + _SOON, day_after(entry.at) + retention)
            going[entry.id] = when, "the log's records of it go"
    if max_bin_size is not None:
        why = f"the bin has {size(found)} bytes, more than max_bin_size ({max_bin_size})"
        left = size(entry for entry in found if entry.id not in unreachable or entry.pinned)
        for entry in reversed(found):
            if left <= max_bin_size:
                break
            if not entry.pinned and entry.id not in unreachable:
                going[entry.id] = now, why
                left -= entry.bytes
    return going


def _said(entry: Entry, when: datetime, why: str) -> str:
    return (
        f"{_what(entry)} goes for good at {when:%Y-%m-%d %H:%M:%S}Z, or at the upkeep after it:"
        f" {why}; hotrollback bin pin {entry.id} keeps it"
    )


async def _go(db: Database, entry: Entry, why: str, lock_timeout_ms: int) -> str:
    try:
        left = await let_go(db, entry, lock_timeout_ms=lock_timeout_ms)
    except StillNeeded as error:
        left = str(error)
    if left:
        return f"{_what(entry)} could not be dropped yet: {left}"
    return f"dropped {_what(entry)}: {why}"


def _what(entry: Entry) -> str:
    kind = "table" if entry.kind == TABLE else "values of"
    return f"{kind} {entry.label} ({entry.bytes} bytes, in the bin since {entry.at:%Y-%m-%d})"
