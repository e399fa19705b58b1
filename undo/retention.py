"""Partitions of the log: made weeks ahead, dropped when they are old or the log is too big.

Upkeep never queues writers: a partition is made as a plain table and attached, and detached
concurrently before it is dropped. There is no default partition, since every ATTACH would lock it.
A partition is named by the Monday (UTC) with which it begins, so that one that was made and not
attached, or detached and not dropped, is known for what it is.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from undo.database import Database
from undo.log import CHANGE, LOCK_INSTALL, PARTITION_PREFIX, SCHEMA
from undo.triggers import attach, locked, needs, sweep

WEEKS_AHEAD: Final = 4
_WEEK: Final = timedelta(days=7)
# A server's clock may be put back a little; before the first partition nothing could be written.
_SLACK: Final = timedelta(days=1)
_LOCK_TIMEOUT_MS: Final = 2000

_PARTITIONS: Final = """
SELECT c.relname AS name, pg_catalog.pg_total_relation_size(c.oid) AS size,
       i.inhrelid IS NOT NULL AS attached, COALESCE(i.inhdetachpending, false) AS pending
  FROM pg_catalog.pg_class c
  LEFT JOIN pg_catalog.pg_inherits i ON i.inhrelid = c.oid
 WHERE c.relnamespace = 'hotrollback'::pg_catalog.regnamespace AND c.relkind = 'r'
   AND c.relname ~ '^change_[0-9]{8}$'
 ORDER BY c.relname
"""

# Rows that live beside the changes and mean nothing without them; $1: older than this instant.
_BESIDES: Final = (
    ("gaps", "DELETE FROM hotrollback.gap WHERE at < $1"),
    ("sessions", "DELETE FROM hotrollback.session WHERE ended < $1"),
    (
        "entries of undos",
        "DELETE FROM hotrollback.undone d USING hotrollback.undo u"
        " WHERE u.id = d.undo AND u.at < $1",
    ),
)


@dataclass(frozen=True, slots=True)
class Partition:
    name: str
    begins: date
    size: int  # bytes, with indexes and TOAST
    attached: bool
    pending: bool  # a concurrent detach was cut off

    @property
    def ends(self) -> date:
        return self.begins + _WEEK


async def partitions(db: Database) -> tuple[Partition, ...]:
    """All of them, oldest first."""
    return tuple(
        Partition(
            row["name"],
            datetime.strptime(row["name"].removeprefix(PARTITION_PREFIX), "%Y%m%d")
            .replace(tzinfo=UTC)
            .date(),
            row["size"],
            row["attached"],
            row["pending"],
        )
        for row in await db.fetch(_PARTITIONS)
    )


def weeks(now: datetime, weeks_ahead: int) -> tuple[date, ...]:
    """The Mondays of the partitions that there must be."""

    def monday(instant: datetime) -> date:
        day = instant.astimezone(UTC).date()
        return day - timedelta(days=day.weekday())

    first, last = monday(now - _SLACK), monday(now) + weeks_ahead * _WEEK
    return tuple(first + n * _WEEK for n in range((last - first).days // 7 + 1))


async def ensure_partitions(db: Database, weeks_ahead: int = WEEKS_AHEAD) -> tuple[str, ...]:
    """Make what is missing of this week's partition and those of the weeks to come."""
    now = await db.fetchval("SELECT pg_catalog.clock_timestamp()")
    there = {partition.begins: partition for partition in await partitions(db)}
    lines = []
    for begins in weeks(now, weeks_ahead):
        if begins in there and there[begins].attached:
            continue
        name = f"{PARTITION_PREFIX}{begins:%Y%m%d}"
        if begins not in there:
            await db.execute(
                f"CREATE TABLE {SCHEMA}.{name} (LIKE {CHANGE}"
                " INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)"
            )
        why = await _attach_partition(db, name, begins)
        lines.append(why or f"made partition {name} (from {begins}, one week)")
    return tuple(lines)


async def _attach_partition(db: Database, name: str, begins: date) -> str | None:
    attach_it = (
        f"ALTER TABLE {CHANGE} ATTACH PARTITION {SCHEMA}.{name}"
        f" FOR VALUES FROM ('{begins} 00:00:00+00') TO ('{begins + _WEEK} 00:00:00+00')"
    )
    _, why = await locked(db, attach_it, lock_timeout_ms=_LOCK_TIMEOUT_MS)
    return f"partition {name} could not be attached yet: {why}" if why else None


def expired(
    found: tuple[Partition, ...], now: datetime, retention: timedelta | None, max_size: int | None
) -> tuple[Partition, ...]:
    """Which partitions go, oldest first: those that ended before the retention, and as many more as
    it takes to come under the size; never the one that is being written, nor one to come."""
    today = now.astimezone(UTC)
    past = [p for p in found if _midnight(p.ends) <= today]
    gone = [p for p in past if retention is not None and _midnight(p.ends) <= today - retention]
    if max_size is not None:
        size = sum(p.size for p in found) - sum(p.size for p in gone)
        for partition in past[len(gone) :]:
            if size <= max_size:
                break
            gone.append(partition)
            size -= partition.size
    return tuple(gone)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


async def drop_expired(
    db: Database, retention: timedelta | None, max_log_size: int | None
) -> tuple[str, ...]:
    """Drop what is too old, or too much (bytes). What could not be had in time is left for the next
    call."""
    now = await db.fetchval("SELECT pg_catalog.clock_timestamp()")
    found = await partitions(db)
    gone = expired(found, now, retention, max_log_size)
    lines = [await _drop(db, partition) for partition in gone]
    size = sum(p.size for p in found) - sum(p.size for p in gone)
    if max_log_size is not None and size > max_log_size:
        lines.append(
            f"the log has {size} bytes, more than max_log_size ({max_log_size}): only the partition"
            " of this week is left, which cannot be dropped"
        )
    if gone:
        cutoff = _midnight(gone[-1].ends)
        for what, delete in _BESIDES:
            count = int((await _deleted(db, delete, cutoff)).rpartition(" ")[2])
            if count:
                lines.append(f"removed {count} {what} from before {cutoff:%Y-%m-%d}")
    return tuple(lines)


async def _deleted(db: Database, delete: str, cutoff: datetime) -> str:
    return await db.execute(delete, cutoff)


async def _drop(db: Database, partition: Partition) -> str:
    name = f"{SCHEMA}.{partition.name}"
    if partition.attached:
        how = "FINALIZE" if partition.pending else "CONCURRENTLY"
        why = await _alone(db, f"ALTER TABLE {CHANGE} DETACH PARTITION {name} {how}")
        if why is not None:
            return f"partition {partition.name} could not be detached yet: {why}"
    _, why = await locked(db, f"DROP TABLE {name}", lock_timeout_ms=_LOCK_TIMEOUT_MS)
    if why is not None:
        return f"partition {partition.name} could not be dropped yet: {why}"
    return f"dropped partition {partition.name} ({partition.size} bytes)"


async def _alone(db: Database, command: str) -> str | None:
    """Run a command that must not be in a transaction block; why it could not be run now."""
    before = await db.fetchval("SELECT pg_catalog.current_setting('lock_timeout')")
    await db.execute(f"SET lock_timeout = {_LOCK_TIMEOUT_MS}")
    try:
        await db.execute(command)
    except Exception as error:
        if getattr(error, "sqlstate", None) not in {"55P03", "40P01"}:
            raise
        return str(error)
    finally:
        await db.execute(f"SET lock_timeout = '{before}'")
    return None


async def upkeep(
    db: Database,
    *,
    retention: timedelta | None,
    max_log_size: int | None,
    weeks_ahead: int = WEEKS_AHEAD,
) -> tuple[str, ...]:
    """All that has to be done now and then: partitions, capture triggers of tables that were made or
    changed where no event trigger saw it, what was left of dropped ones. A line for each thing done.
    Somebody else who does it at the moment is left to it."""
    lock: Any = LOCK_INSTALL
    if not await db.fetchval("SELECT pg_catalog.to_regclass('hotrollback.meta') IS NOT NULL"):
        return ()
    if not await db.fetchval("SELECT pg_catalog.pg_try_advisory_lock($1)", lock):
        return ()
    try:
        lines = list(await ensure_partitions(db, weeks_ahead))
        lines += await drop_expired(db, retention, max_log_size)
        done, left = await attach(db, await needs(db), lock_timeout_ms=_LOCK_TIMEOUT_MS)
        lines += [f"{did.did} the capture trigger of {did.relation}" for did in done]
        lines += [f"no capture trigger on {it.relation}: {it.why}" for it in left]
        await sweep(db)
    finally:
        await db.execute(f"SELECT pg_catalog.pg_advisory_unlock({lock})")
    return tuple(lines)
