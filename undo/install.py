"""Making, upgrading and removing the log in one database.

Everything can be run again: what is there is left alone, what is missing is made. The schema is
made in one transaction; triggers are attached table by table, each in its own.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from undo import doctor, retention
from undo.database import Database, sqlstate
from undo.errors import BinHolds, BinNeeded, NotPossible
from undo.log import BIN, EVENT_TRIGGERS, LOCK_INSTALL, LOCK_SERVING, SCHEMA
from undo.migrations import current, migrations
from undo.origin import check_origin, system_identifier
from undo.triggers import WHY, Attached, NotAttached, attach, detach, locked, needs, sweep

OLDEST_SERVER: Final = 150000


class InstallRefused(NotPossible):
    """{}"""


class ServerTooOld(NotPossible):
    """PostgreSQL {} is too old: 15 is the oldest that Hot Rollback works with"""


class MadeByNewer(NotPossible):
    """the undo log here was made by a newer Hot Rollback (schema {}, this one knows {}):
    use that one, or a newer one"""


class InstallBusy(NotPossible):
    """another install or uninstall of this database is running"""


class StillServed(NotPossible):
    """a proxy serves this database: stop it first, or its clients' writes would fail"""


@dataclass(frozen=True, slots=True)
class InstallReport:
    lines: tuple[str, ...]  # what was done, as people read it
    attached: tuple[Attached, ...]
    missing: tuple[NotAttached, ...]  # what still needs a trigger, and why it has none
    event_trigger: bool
    findings: tuple[doctor.Finding, ...]


async def install(
    db: Database,
    *,
    all_tables: bool | None = None,
    accept_publication: bool = False,
    lock_timeout_ms: int = 2000,
) -> InstallReport:
    """Make or upgrade the log in the database of this connection. `all_tables`: whether each table
    gets a capture trigger, or only those whose writes are not all rewritten; None leaves what was
    chosen before, or chooses all. Raises NotPossible where it must not be: nothing was changed
    then."""
    version = await _server_version(db)
    if version < OLDEST_SERVER:
        raise ServerTooOld(version // 10000)
    async with _alone(db):
        if await installed_version(db):
            await check_origin(db)
        findings = await doctor.examine(db)
        refused = [f for f in findings if f.level == "refuse"]
        if accept_publication:
            refused = [f for f in refused if f.subject != doctor.PUBLICATION]
        if refused:
            raise InstallRefused("\n".join(f"{f.text}: {f.remedy}" for f in refused))
        lines = list(await _migrate(db))
        lines += await retention.ensure_partitions(db)
        event_trigger, told = await _follow_ddl(db)
        lines += told
        if all_tables is not None:
            await db.execute("UPDATE hotrollback.meta SET all_tables = $1", all_tables)
        await db.execute(_KEEP_NAMES)
        await db.execute("SELECT hotrollback.refresh_components_v1()")
        done, left = await attach(db, await needs(db), lock_timeout_ms=lock_timeout_ms)
        await sweep(db)
    lines += [_attached_line(did) for did in done]
    lines += [f"NOT attached to {it.relation}: {it.why}" for it in left]
    if not done and not left:
        lines.append("every table that needs a capture trigger has it")
    return InstallReport(tuple(lines), done, left, event_trigger, findings)


def _attached_line(did: Attached) -> str:
    why = ", ".join(WHY.get(reason, reason) for reason in did.reasons)
    return f"capture trigger {did.did}: {did.relation}" + (f" ({why})" if why else "")


_KEEP_NAMES: Final = """
INSERT INTO hotrollback.relation (relid, name)
SELECT c.oid, pg_catalog.format('%I.%I', n.nspname, c.relname)
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND c.oid >= 16384
   AND n.nspname NOT IN ('hotrollback', 'hotrollback_bin')
    ON CONFLICT DO NOTHING
"""


@asynccontextmanager
async def _alone(db: Database) -> AsyncIterator[None]:
    """One install, uninstall or upkeep of a database at a time."""
    key: Any = LOCK_INSTALL
    if not await db.fetchval("SELECT pg_catalog.pg_try_advisory_lock($1)", key):
        raise InstallBusy
    try:
        yield
    finally:
        await db.execute(f"SELECT pg_catalog.pg_advisory_unlock({key})")


async def _server_version(db: Database) -> int:
    return int(await db.fetchval("SELECT pg_catalog.current_setting('server_version_num')"))


async def _migrate(db: Database) -> tuple[str, ...]:
    """Bring the schema to this program's version, in one transaction."""
    have = await installed_version(db)
    if have > current():
        raise MadeByNewer(have, current())
    if have == current():
        return ()
    async with db.transaction():
        await db.execute("SET LOCAL search_path = pg_catalog")
        for migration in migrations()[have:]:
            await db.execute(migration.sql)
        # Whoever hardened the default privileges of new functions did not mean these.
        await db.execute(f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {SCHEMA} TO PUBLIC")
        if not have:
            await db.execute(
                "INSERT INTO hotrollback.meta (system_identifier, database, version)"
                " SELECT $1, d.oid, $2 FROM pg_catalog.pg_database d"
                "  WHERE d.datname = pg_catalog.current_database()",
                await system_identifier(db),
                current(),
            )
        else:
            await db.execute("UPDATE hotrollback.meta SET version = $1", current())
    if have:
        return (f"upgraded schema {SCHEMA} from version {have} to {current()}",)
    return (f"made schema {SCHEMA}, version {current()}",)


async def installed_version(db: Database) -> int:
    """Of the schema; 0 where there is none."""
    if not await db.fetchval("SELECT pg_catalog.to_regclass('hotrollback.meta') IS NOT NULL"):
        return 0
    return int(await db.fetchval("SELECT pg_catalog.max(version) FROM hotrollback.meta") or 0)


# Event triggers: name, event, function.
_FOLLOWERS: Final = (
    (EVENT_TRIGGERS[0], "ddl_command_end", "on_ddl_v1"),
    (EVENT_TRIGGERS[1], "sql_drop", "on_drop_v1"),
)


_NOT_FOLLOWED: Final = (
    "no event trigger (it takes a superuser): after CREATE TABLE or ALTER TABLE run install again,"
    " or wait for the proxy's hourly upkeep"
)


async def _follow_ddl(db: Database) -> tuple[bool, tuple[str, ...]]:
    """Make the event triggers where this role may; whether they are there."""
    there = {
        row["evtname"]
        for row in await db.fetch(
            "SELECT evtname FROM pg_catalog.pg_event_trigger"
            " WHERE evtname = ANY ($1::pg_catalog.text[]::pg_catalog.name[]) AND evtenabled = 'A'",
            list(EVENT_TRIGGERS),
        )
    }
    if there == set(EVENT_TRIGGERS):
        return True, ()
    try:
        async with db.transaction():
            for name, event, function in _FOLLOWERS:
                await _drop_follower(db, name)
                await db.execute(
                    f"CREATE EVENT TRIGGER {name} ON {event}"
                    f" EXECUTE FUNCTION {SCHEMA}.{function}();"
                    f"ALTER EVENT TRIGGER {name} DISABLE;"  # until all of this is done
                )
            await _leave_out_of_dumps(db)
            for name, _, _ in _FOLLOWERS:
                await db.execute(f"ALTER EVENT TRIGGER {name} ENABLE ALWAYS")
            await db.fetchval("SELECT hotrollback.bump_v1()")
    except Exception as error:
        if sqlstate(error) != "42501":
            raise
        return False, (_NOT_FOLLOWED,)
    return True, ("made event triggers: new and altered tables are followed at once",)


async def _leave_out_of_dumps(db: Database) -> None:
    """An event trigger is in no schema, so that pg_dump -N hotrollback would take it along, and its
    restore would stop at the missing function. What belongs to an extension is not dumped."""
    try:
        async with db.transaction():
            for name in EVENT_TRIGGERS:
                await db.execute(f"ALTER EXTENSION plpgsql ADD EVENT TRIGGER {name}")
    except Exception as error:
        # Of a managed service the operator may create event triggers, but does not own plpgsql.
        if sqlstate(error) != "42501":
            raise


async def _drop_follower(db: Database, name: str) -> bool:
    """Whether there was one."""
    member = await db.fetchval(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_depend d"
        "  WHERE d.classid = 'pg_catalog.pg_event_trigger'::pg_catalog.regclass"
        "    AND d.objid = e.oid AND d.deptype = 'e')"
        " FROM pg_catalog.pg_event_trigger e WHERE e.evtname = $1",
        name,
    )
    if member is None:
        return False
    if member:
        await db.execute(f"ALTER EXTENSION plpgsql DROP EVENT TRIGGER {name}")
    await db.execute(f"DROP EVENT TRIGGER {name}")
    return True


# By what it was called; what nobody has written down, by what it is called.
_IN_BIN: Final = """
SELECT CASE WHEN k.name IS NOT NULL
            THEN pg_catalog.format('%I.%I.%s', k.schema, k."table",
                                   pg_catalog.array_to_string(k.columns, ', '))
            WHEN b.relid IS NOT NULL THEN pg_catalog.format('%I.%I', b.schema, b.name)
            ELSE c.relname::pg_catalog.text END AS name, k.name IS NOT NULL AS "values"
  FROM pg_catalog.pg_class c
  LEFT JOIN hotrollback.bin b ON b.relid = c.oid
  LEFT JOIN hotrollback.kept k ON k.name = c.relname
 WHERE c.relnamespace = pg_catalog.to_regnamespace('hotrollback_bin')
   AND c.relkind IN ('r', 'p', 'f', 'v', 'm')
 ORDER BY c.oid
"""
# Of a log that was made by halves, or by an older version.
_IN_OLD_BIN: Final = """
SELECT c.relname::pg_catalog.text AS name, false AS "values"
  FROM pg_catalog.pg_class c
 WHERE c.relnamespace = pg_catalog.to_regnamespace('hotrollback_bin') AND c.relkind IN ('r', 'p')
 ORDER BY c.oid
"""
_TOLD: Final = 5  # names


async def _bin_holds(db: Database) -> str:
    """In words; empty if it is."""
    whole = await db.fetchval("SELECT pg_catalog.to_regclass('hotrollback.kept') IS NOT NULL")
    rows = await db.fetch(_IN_BIN if whole else _IN_OLD_BIN)
    said = []
    for noun, values in (("tables", False), ("values of columns", True)):
        names = [row["name"] for row in rows if row["values"] is values]
        if names:
            more = f" and {len(names) - _TOLD} more" if names[_TOLD:] else ""
            said.append(f"{noun} {', '.join(names[:_TOLD])}{more}")
    return " and ".join(said)


_STILL_BINNED: Final = """
SELECT pg_catalog.format('%s hotrollback_bin.%I', pg_catalog.lower(p.word),
                         (p.oid::pg_catalog.text || '_' || p.name)::pg_catalog.name)
  FROM hotrollback.binned b
 CROSS JOIN LATERAL pg_catalog.jsonb_to_record(b.parts -> 0)
                    AS p(word pg_catalog.text, oid pg_catalog.oid, name pg_catalog.text)
 ORDER BY b.at
"""


async def _drop_binned(db: Database) -> None:
    """Types and routines that are left in the bin without a table. Raises BinNeeded."""
    if await db.fetchval("SELECT pg_catalog.to_regclass('hotrollback.binned') IS NULL"):
        return
    await db.execute("SELECT hotrollback.drop_unneeded_v1()")
    left = [row[0] for row in await db.fetch(_STILL_BINNED)]
    if left:
        raise BinNeeded(", ".join(left[:_TOLD]))


async def uninstall(db: Database, *, lock_timeout_ms: int = 2000) -> tuple[str, ...]:
    """Take everything out of the database again. Raises StillServed while a proxy serves it, and
    BinHolds or BinNeeded while there is something in the bin."""
    if not await db.fetchval("SELECT pg_catalog.to_regnamespace('hotrollback') IS NOT NULL"):
        return ("there is no undo log in this database",)
    async with _alone(db):
        async with db.transaction():
            key: Any = LOCK_SERVING
            if not await db.fetchval("SELECT pg_catalog.pg_try_advisory_xact_lock($1)", key):
                raise StillServed
        held = await _bin_holds(db)
        if held:
            raise BinHolds(held)
        await _drop_binned(db)
        lines = []
        for name, _, _ in _FOLLOWERS:
            if await _drop_follower(db, name):
                lines.append(f"dropped event trigger {name}")
        dropped, left = await detach(db, lock_timeout_ms=lock_timeout_ms)
        lines.append(f"dropped the triggers of {dropped} tables")
        if left:
            lines += [f"NOT dropped from {it.relation}: {it.why}" for it in left]
            lines.append(f"schema {SCHEMA} stays until they are: run uninstall again")
            return tuple(lines)
        await db.execute(f"DROP SCHEMA IF EXISTS {BIN}")
        drop = f"DROP SCHEMA {SCHEMA} CASCADE"
        _, why = await locked(db, drop, lock_timeout_ms=lock_timeout_ms)
        lines.append(
            f"schema {SCHEMA} is still there: {why}" if why else f"dropped schema {SCHEMA}"
        )
    return tuple(lines)
