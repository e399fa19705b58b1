"""Capture triggers: which tables need one and why, and attaching them, table by table.

What a capture function looks like is said in 0005_triggers.sql, since an event trigger makes them
too. A trigger is put on every table that holds rows, never on a partitioned parent: a clone of the
parent's would collide, when a table with a trigger of its own is attached as a partition, and the
client's ALTER TABLE would fail.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from undo.database import Database, sqlstate
from undo.log import CAPTURE_TRIGGER, TABLE_TRIGGERS

# Words of needs_v1 -> what they mean to whoever reads the report.
WHY: Final = {
    "all_tables": "every table has one",
    "no_old": "before PostgreSQL 18 an UPDATE cannot be recorded by rewriting",
    "foreign_table": "foreign table",
    "row_security": "row-level security",
    "rules": "rules",
    "triggers": "triggers of its own",
    "cascade": "a foreign key with CASCADE or SET writes it",
    "current_query": "a default looks at the statement's text",
    "inheritance": "inheritance",
    "no_select": "somebody may write it but not read all of it",
    "view": "it is written through a view",
    "function": "a function or procedure may write it",
}

_NEEDS: Final = """
SELECT n.relid::pg_catalog.int8 AS relid, n.reasons,
       pg_catalog.format('%I.%I', s.nspname, c.relname) AS relation,
       COALESCE((SELECT t.tgenabled::pg_catalog.text FROM pg_catalog.pg_trigger t
                  WHERE t.tgrelid = n.relid AND t.tgname = $1), '') AS enabled
  FROM hotrollback.needs_v1(NULL) n
  JOIN pg_catalog.pg_class c ON c.oid = n.relid
  JOIN pg_catalog.pg_namespace s ON s.oid = c.relnamespace
 ORDER BY s.nspname, c.relname
"""

_ATTACH: Final = "SELECT hotrollback.attach_v1($1::pg_catalog.int8::pg_catalog.oid)"

# What another try may cure: a lock that somebody held, a deadlock, a table that was dropped or
# altered at the same time.
_RETRIED: Final = frozenset({"55P03", "40P01", "XX000", "40001"})
# What no try cures for this table, and is no reason to leave the others alone.
_REPORTED: Final = {
    "42501": "this role may not: it has to be a member of the table's owner",
    "55P03": "the table was in use; run install again",
    "40P01": "the table was in use; run install again",
    "42P01": "it was dropped meanwhile",
    "P0002": "it was dropped meanwhile",
    "42710": "it has a trigger of that name already",
    "XX000": "it was changed at the same moment; run install again",
    "40001": "it was changed at the same moment; run install again",
}
_ATTEMPTS: Final = 5


@dataclass(frozen=True, slots=True)
class Need:
    """A table that can have a capture trigger. Needs one if there are reasons."""

    relid: int
    relation: str  # schema and name, quoted where they must be
    reasons: tuple[str, ...]
    enabled: str  # pg_trigger.tgenabled, '' where there is no trigger

    @property
    def attached(self) -> bool:
        return self.enabled != ""

    @property
    def missing(self) -> bool:
        return bool(self.reasons) and self.enabled != "A"


@dataclass(frozen=True, slots=True)
class Attached:
    relation: str
    did: str  # attached, renewed, enabled
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NotAttached:
    relation: str
    why: str
    reasons: tuple[str, ...]


async def needs(db: Database) -> tuple[Need, ...]:
    """Every table of this database that holds rows of users, in the order of their names."""
    return tuple(
        Need(row["relid"], row["relation"], tuple(row["reasons"]), row["enabled"])
        for row in await db.fetch(_NEEDS, CAPTURE_TRIGGER)
    )


async def attach(
    db: Database, wanted: Iterable[Need], *, lock_timeout_ms: int
) -> tuple[tuple[Attached, ...], tuple[NotAttached, ...]]:
    """Attach, renew or enable, each table in a transaction of its own that waits no longer than the
    timeout for its lock. What is in order is not locked, so it can be run again at any time."""
    done: list[Attached] = []
    left: list[NotAttached] = []
    for need in wanted:
        if not need.reasons and not need.attached:
            continue
        did, why = await locked(db, _ATTACH, need.relid, lock_timeout_ms=lock_timeout_ms)
        if why is not None:
            left.append(NotAttached(need.relation, why, need.reasons))
        elif did is not None:
            done.append(Attached(need.relation, did, need.reasons))
    return tuple(done), tuple(left)


async def detach(db: Database, *, lock_timeout_ms: int) -> tuple[int, tuple[NotAttached, ...]]:
    """Drop every trigger of ours, table by table: of how many, and what was in use."""
    left: dict[str, NotAttached] = {}
    rows = await db.fetch(
        "SELECT pg_catalog.format('%I.%I', s.nspname, c.relname) AS relation, t.tgname AS name"
        "  FROM pg_catalog.pg_trigger t"
        "  JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid"
        "  JOIN pg_catalog.pg_namespace s ON s.oid = c.relnamespace"
        " WHERE t.tgname = ANY ($1::pg_catalog.text[]::pg_catalog.name[]) ORDER BY 1, 2",
        TABLE_TRIGGERS,
    )
    for row in rows:
        relation = row["relation"]
        if relation in left:
            continue
        drop = f"DROP TRIGGER IF EXISTS {row['name']} ON {relation}"
        _, why = await locked(db, drop, lock_timeout_ms=lock_timeout_ms)
        if why is not None:
            left[relation] = NotAttached(relation, why, ())
    tables = {row["relation"] for row in rows}
    return len(tables) - len(left), tuple(left.values())


async def locked(
    db: Database, query: str, *args: object, lock_timeout_ms: int
) -> tuple[Any, str | None]:
    """Run a query that needs locks, in a transaction of its own, with retries: its value, or why it
    could not be run now. Other errors are raised."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            async with db.transaction():
                await db.execute(f"SET LOCAL lock_timeout = {int(lock_timeout_ms)}")
                return await db.fetchval(query, *args), None
        except Exception as error:
            state = sqlstate(error)
            if state in _RETRIED and attempt < _ATTEMPTS:
                # Whoever holds the lock needs time, and whoever queues behind us needs to get on.
                await db.execute(f"SELECT pg_catalog.pg_sleep({0.05 * 2**attempt})")
            elif state in _REPORTED:
                return None, f"{_REPORTED[state]} ({error})"
            else:
                raise
    raise AssertionError("the last attempt returns or raises")


async def sweep(db: Database) -> int:
    """Drop the capture functions whose tables are gone; how many there were."""
    orphans = await db.fetch(
        "SELECT p.proname FROM pg_catalog.pg_proc p"
        " WHERE p.pronamespace = 'hotrollback'::pg_catalog.regnamespace"
        "   AND p.proname ~ '^capture_[0-9]+$'"
        "   AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgfoid = p.oid)"
    )
    for row in orphans:
        await db.execute(f"DROP FUNCTION IF EXISTS hotrollback.{row['proname']}()")
    return len(orphans)
