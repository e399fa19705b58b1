"""Partitions of the log: made some days ahead, dropped when they are old or the log is too big.

Upkeep never queues writers: a partition is made as a plain table and attached, and detached
concurrently before it is dropped. There is no default partition, since every ATTACH would lock it.
A partition is a day, named by its date (UTC), so that one that was made and not attached, or
detached and not dropped, is known for what it is. One more, `later`, has all days behind those: if
nobody does the upkeep, capture triggers must not fail their tables' writers. They are few days,
since every question to the log is planned for each of its partitions.

A log that is too big loses its oldest days. Where only today is left the log is full: what is
written until tomorrow is counted and not kept, and leaves a gap (`log_full`); nobody has to wait.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from undo.bin.expire import expire
from undo.database import Database
from undo.log import CHANGE, FULL_TRIGGER, LATER, LOCK_INSTALL, PARTITION_PREFIX, SCHEMA
from undo.triggers import attach, locked, needs, sweep

DAYS_AHEAD: Final = 3
_DAY: Final = timedelta(days=1)
# A server's clock may be put back a little; before the first partition nothing could be written.
_SLACK: Final = timedelta(hours=1)
_LOCK_TIMEOUT_MS: Final = 2000
# For the one lock that writers of the log queue behind.
_SHORT_MS: Final = 100

_PARTITIONS: Final = """
SELECT c.relname AS name, pg_catalog.pg_total_relation_size(c.oid) AS size,
       i.inhrelid IS NOT NULL AS attached, COALESCE(i.inhdetachpending, false) AS pending,
       EXISTS (SELECT FROM pg_catalog.pg_trigger t
                WHERE t.tgrelid = c.oid AND t.tgname = 'hotrollback_full') AS full
  FROM pg_catalog.pg_class c
  LEFT JOIN pg_catalog.pg_inherits i ON i.inhrelid = c.oid
 WHERE c.relnamespace = 'hotrollback'::pg_catalog.regnamespace AND c.relkind = 'r'
   AND c.relname ~ '^change_[0-9]{8}$'
 ORDER BY c.relname
"""

# Rows that live beside the changes and mean nothing without them; $1: older than this instant.
_BESIDES: Final = (
    ("gaps", "DELETE FROM hotrollback.gap WHERE at < $1"),
    ("DDL commands", "DELETE FROM hotrollback.command WHERE at < $1"),
    (
        "sessions",
        """
        DELETE FROM hotrollback.session s
         WHERE s.ended < $1 OR s.ended IS NULL AND s.started < $1
           AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity a WHERE a.pid = s.pid)
        """,
    ),
    (
        "entries of undos",
        """
        DELETE FROM hotrollback.undone d USING hotrollback.undo u
         WHERE u.id = d.undo AND u.at < $1
        """,
    ),
)


@dataclass(frozen=True, slots=True)
class Partition:
    name: str
    begins: date
    size: int  # bytes, with indexes and TOAST
    attached: bool
    pending: bool  # a concurrent detach was cut off
    full: bool  # what is written to it is not kept

    @property
    def ends(self) -> date:
        return self.begins + _DAY


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
            row["full"],
        )
        for row in await db.fetch(_PARTITIONS)
    )


def days(now: datetime, ahead: int) -> tuple[date, ...]:
    """The days that there must be a partition for."""
    first, today = (now - _SLACK).astimezone(UTC).date(), now.astimezone(UTC).date()
    return tuple(first + n * _DAY for n in range((today - first).days + ahead + 1))


async def ensure_partitions(db: Database, ahead: int = DAYS_AHEAD) -> tuple[str, ...]:
    """Make what is missing of today's partition and those of the days to come."""
    now = await db.fetchval("SELECT pg_catalog.clock_timestamp()")
    today = now.astimezone(UTC).date()
    later = await _later(db)
    lines = []
    if later is not None and later.attached and later.begins <= today:
        lines.append(await _close_later(db, later.begins, today))
        later = await _later(db)
    there = {partition.begins: partition for partition in await partitions(db)}
    missing = [day for day in days(now, ahead) if day not in there or not there[day].attached]
    if today in there and there[today].attached:
        # An earlier day that is not there now belongs to today's, or was never needed.
        missing = [day for day in missing if day > today]
    wanted = days(now, ahead)[-1] + _DAY
    if later is not None and later.attached and later.begins < wanted:
        why = await _detach(db, LATER, pending=later.pending)
        if why is not None:
            return (*lines, f"partition {LATER} could not be detached yet: {why}")
    made = []
    for day in missing:
        name = f"{PARTITION_PREFIX}{day:%Y%m%d}"
        why = await _attach_partition(db, name, day, day + _DAY, make=day not in there)
        if why is None:
            made.append(day)
        else:
            lines.append(why)
    if made:
        lines.insert(0, f"made {len(made)} partitions, for {made[0]} to {made[-1]}")
    if later is None or not later.attached or later.begins < wanted:
        why = await _attach_partition(db, LATER, wanted, None, make=later is None)
        if why is not None:
            lines.append(why)
        elif later is None and not made:
            lines.append(f"made partition {LATER}, for what comes after {wanted - _DAY}")
    return tuple(lines)


async def _attach_partition(
    db: Database, name: str, begins: date, ends: date | None, *, make: bool
) -> str | None:
    if make:
        await db.execute(
            f"CREATE TABLE {SCHEMA}.{name} (LIKE {CHANGE}"
            " INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)"
        )
    end = "MAXVALUE" if ends is None else f"'{ends} 00:00:00+00'"
    attach_it = (
        f"ALTER TABLE {CHANGE} ATTACH PARTITION {SCHEMA}.{name}"
        f" FOR VALUES FROM ('{begins} 00:00:00+00') TO ({end})"
    )
    _, why = await locked(db, attach_it, lock_timeout_ms=_LOCK_TIMEOUT_MS)
    return f"partition {name} could not be attached yet: {why}" if why else None


@dataclass(frozen=True, slots=True)
class _Later:
    begins: date
    attached: bool
    pending: bool


async def _later(db: Database) -> _Later | None:
    row = await db.fetchrow(
        """
        SELECT i.inhrelid IS NOT NULL AS attached, COALESCE(i.inhdetachpending, false) AS pending,
               (pg_catalog.regexp_match(
                   pg_catalog.pg_get_expr(c.relpartbound, c.oid), 'FROM \\(''([^'']+)''\\)'))[1]
                   ::pg_catalog.timestamptz AS begins
          FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_inherits i ON i.inhrelid = c.oid
         WHERE c.relnamespace = 'hotrollback'::pg_catalog.regnamespace AND c.relname = $1
        """,
        LATER,
    )
    if row is None:
        return None
    begins = row["begins"] or datetime.max.replace(tzinfo=UTC)
    return _Later(begins.astimezone(UTC).date(), row["attached"], row["pending"])


async def _close_later(db: Database, begins: date, today: date) -> str:
    """Nobody has made partitions for so long that today's rows are in this one: it becomes today's,
    and there is no moment in which a row could not be written."""
    name = f"{PARTITION_PREFIX}{today:%Y%m%d}"
    close = (
        f"DO $$ BEGIN DROP TABLE IF EXISTS {SCHEMA}.{name};"
        f" ALTER TABLE {CHANGE} DETACH PARTITION {SCHEMA}.{LATER};"
        f" ALTER TABLE {SCHEMA}.{LATER} RENAME TO {name};"
        f" ALTER TABLE {CHANGE} ATTACH PARTITION {SCHEMA}.{name} FOR VALUES"
        f" FROM ('{begins} 00:00:00+00') TO ('{today + _DAY} 00:00:00+00'); END $$"
    )
    _, why = await locked(db, close, lock_timeout_ms=_LOCK_TIMEOUT_MS)
    if why is not None:
        return f"partition {LATER}, which is in use, could not be closed yet: {why}"
    return f"partition {LATER} was in use since {begins}, and is today's now"


def expired(
    found: tuple[Partition, ...], now: datetime, retention: timedelta | None, max_size: int | None
) -> tuple[Partition, ...]:
    """Which partitions go, oldest first: those that ended before the retention, and as many more as
    it takes to come under the size; never the one that is being written, nor one to come."""
    past = [p for p in found if _midnight(p.ends) <= now - _SLACK]
    gone = [p for p in past if retention is not None and _midnight(p.ends) <= now - retention]
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
    lines, cutoff = [], None
    for partition in gone:
        line, dropped = await _drop(db, partition)
        lines.append(line)
        if not dropped:  # a detach that was cut off stands in the way of the next
            break
        cutoff = _midnight(partition.ends)
    size = sum(p.size for p in found) - sum(p.size for p in gone)
    too_much = max_log_size is not None and size > max_log_size
    lines += [await _keep(db, p, full=too_much) for p in _today(found, now) if p.full != too_much]
    if too_much:
        lines.append(
            f"the log has {size} bytes, more than max_log_size ({max_log_size}), and only today is"
            " left: what is written until tomorrow is not kept, and is a gap"
        )
    if cutoff is not None:
        for what, delete in _BESIDES:
            count = int((await _deleted(db, delete, cutoff)).rpartition(" ")[2])
            if count:
                lines.append(f"removed {count} {what} from before {cutoff:%Y-%m-%d}")
    return tuple(lines)


def _today(found: tuple[Partition, ...], now: datetime) -> tuple[Partition, ...]:
    return tuple(p for p in found if p.begins == now.astimezone(UTC).date() and p.attached)


async def _keep(db: Database, partition: Partition, *, full: bool) -> str:
    """Begin or cease to leave out the images of what is written to a partition."""
    name = f"{SCHEMA}.{partition.name}"
    change = (
        f"CREATE TRIGGER {FULL_TRIGGER} BEFORE INSERT ON {name} FOR EACH ROW"
        f" EXECUTE FUNCTION {SCHEMA}.on_full_v1()"
        if full
        else f"DROP TRIGGER {FULL_TRIGGER} ON {name}"
    )
    _, why = await locked(db, change, lock_timeout_ms=_SHORT_MS)
    if why is not None:
        return f"whether partition {partition.name} keeps what is written cannot be changed: {why}"
    return f"partition {partition.name} {'no longer keeps' if full else 'keeps'} what is written"


async def _deleted(db: Database, delete: str, cutoff: datetime) -> str:
    return await db.execute(delete, cutoff)


async def _drop(db: Database, partition: Partition) -> tuple[str, bool]:
    """What was done, and whether it is gone."""
    name = f"{SCHEMA}.{partition.name}"
    if partition.attached:
        why = await _detach(db, partition.name, pending=partition.pending)
        if why is not None:
            return f"partition {partition.name} could not be detached yet: {why}", False
    _, why = await locked(db, f"DROP TABLE {name}", lock_timeout_ms=_LOCK_TIMEOUT_MS)
    if why is not None:
        return f"partition {partition.name} could not be dropped yet: {why}", False
    return f"dropped partition {partition.name} ({partition.size} bytes)", True


async def _detach(db: Database, name: str, *, pending: bool) -> str | None:
    """Without a lock that writers would wait for; why it could not be done now."""
    how = "FINALIZE" if pending else "CONCURRENTLY"
    return await _alone(db, f"ALTER TABLE {CHANGE} DETACH PARTITION {SCHEMA}.{name} {how}")


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
    max_bin_size: int | None = None,
    days_ahead: int = DAYS_AHEAD,
) -> tuple[str, ...]:
    """All that has to be done now and then: partitions, the bin, capture triggers of tables that
    were made or changed where no event trigger saw it, what was left of dropped ones. A line for
    each thing done. Somebody else who does it at the moment is left to it."""
    lock: Any = LOCK_INSTALL
    if not await db.fetchval("SELECT pg_catalog.to_regclass('hotrollback.meta') IS NOT NULL"):
        return ()
    if not await db.fetchval("SELECT pg_catalog.pg_try_advisory_lock($1)", lock):
        return ()
    try:
        lines = list(await ensure_partitions(db, days_ahead))
        lines += await drop_expired(db, retention, max_log_size)
        lines += await expire(db, retention, max_bin_size, lock_timeout_ms=_LOCK_TIMEOUT_MS)
        done, left = await attach(db, await needs(db), lock_timeout_ms=_LOCK_TIMEOUT_MS)
        lines += [f"{did.did} the capture trigger of {did.relation}" for did in done]
        lines += [f"no capture trigger on {it.relation}: {it.why}" for it in left]
        await sweep(db)
    finally:
        await db.execute(f"SELECT pg_catalog.pg_advisory_unlock({lock})")
    return tuple(lines)
