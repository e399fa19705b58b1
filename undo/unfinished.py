"""Transactions that have written and not ended, and may belong to a selection.

The log does not show what is not committed. What can be known is that a transaction holds a lock on
the log, which every record takes; which tables it has locked for writing; and what the server and
the log say of its session. Its tag, and what it wrote to which rows, cannot: it may belong to the
selection unless that is ruled out. Not: undos, whose writes only their own id selects.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from undo.database import Database
from undo.errors import StillOpen
from undo.log import LOCK_UNDO
from undo.model import Open
from undo.naming import named
from undo.origin import check_installed
from undo.request import Selection
from undo.stages.rows import Progress
from undo.stages.windows import keeps_commits

_PAUSE: Final = 0.1  # seconds between two looks
_SHOWN: Final = 5  # of those that a message names

# Of an xid the server shows 32 bits: the whole one is the nearest to the newest that has ended.
_OPEN: Final = f"""
WITH held AS MATERIALIZED (
    SELECT l.* FROM pg_catalog.pg_locks l
     WHERE l.granted AND (l.locktype = 'transactionid'
            OR l.database = (SELECT d.oid FROM pg_catalog.pg_database d
                              WHERE d.datname = pg_catalog.current_database()))
), newest AS (
    SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())
           ::pg_catalog.text::pg_catalog.int8 AS xid
)
SELECT h.virtualtransaction AS holder, h.pid, p.gid,
       n.xid + x.ahead - CASE WHEN x.ahead > 2147483648 THEN 4294967296
                              WHEN x.ahead < -2147483648 THEN -4294967296 ELSE 0 END AS xid,
       s.pid || '.' || (EXTRACT(epoch FROM s.started) * 1000000)::pg_catalog.int8 AS session,
       COALESCE(a.usename, p.owner)::pg_catalog.text AS role,
       COALESCE(s.application_name, a.application_name) AS application, s.client_addr AS address,
       COALESCE(a.xact_start, p.prepared) AS since, pg_catalog.clock_timestamp() AS now,
       ARRAY(SELECT w.relation::pg_catalog.int8 FROM held w
              JOIN pg_catalog.pg_class c ON c.oid = w.relation AND c.relkind IN ('r', 'p')
             WHERE w.virtualtransaction = h.virtualtransaction AND w.locktype = 'relation'
               AND w.mode IN ('RowExclusiveLock', 'AccessExclusiveLock')
               AND c.relnamespace <> 'hotrollback'::pg_catalog.regnamespace
               AND c.relnamespace <> 'pg_catalog'::pg_catalog.regnamespace) AS relids
  FROM (SELECT DISTINCT virtualtransaction, pid FROM held
         WHERE locktype = 'relation' AND mode = 'RowExclusiveLock'
           AND relation IN ('hotrollback.change'::pg_catalog.regclass,
                            'hotrollback.command'::pg_catalog.regclass,
                            'hotrollback.gap'::pg_catalog.regclass)) h
 CROSS JOIN newest n
  LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = h.pid
  LEFT JOIN pg_catalog.pg_prepared_xacts p
    ON h.pid IS NULL
   AND EXISTS (SELECT FROM held t
                WHERE t.virtualtransaction = h.virtualtransaction AND t.pid IS NULL
                  AND t.locktype = 'transactionid' AND t.transactionid = p.transaction)
  LEFT JOIN LATERAL (
       SELECT s.* FROM hotrollback.session s
        WHERE s.pid = h.pid AND s.ended IS NULL AND s.started = COALESCE(a.backend_start, s.started)
        ORDER BY s.started DESC LIMIT 1) s ON true
 CROSS JOIN LATERAL (
       SELECT COALESCE(a.backend_xid, p.transaction)::pg_catalog.text::pg_catalog.int8
              - (n.xid & 4294967295)) AS x(ahead)
 WHERE h.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()
   AND NOT EXISTS (SELECT FROM held u
                    WHERE u.virtualtransaction = h.virtualtransaction AND u.locktype = 'advisory'
                      AND u.classid = {LOCK_UNDO >> 32} AND u.objid = {LOCK_UNDO & 0xFFFFFFFF})
 ORDER BY since, h.pid
"""

_NAMES: Final = """
SELECT c.oid::pg_catalog.int8, pg_catalog.format('%I.%I', n.nspname, c.relname)
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.oid = ANY ($1::pg_catalog.oid[])
 ORDER BY 2
"""

_MEMBERS: Final = """
SELECT m.rolname::pg_catalog.text FROM pg_catalog.pg_roles m
  JOIN pg_catalog.pg_roles r ON r.rolname = $1
 WHERE pg_catalog.pg_has_role(m.oid, r.oid, 'MEMBER')
"""


async def unfinished(db: Database, selection: Selection) -> tuple[Open, ...]:
    """Those of others that may belong to the selection, the oldest first. Raises NotInstalled, and
    UsageError where a table is not known."""
    return tuple((await _found(db, selection)).values())


async def wait(
    db: Database, selection: Selection, progress: Progress, *, limit: float | None = None
) -> None:
    """Until those that are open now have ended; who begins meanwhile is not waited for. `limit` is
    in seconds; raises StillOpen after it, and whatever `unfinished` does."""
    begun = await db.fetchval("SELECT pg_catalog.clock_timestamp()")
    waited_for = await _found(db, selection)
    total = len(waited_for)
    while waited_for:
        progress("wait", total - len(waited_for), total)
        now = await db.fetchval(
            "SELECT pg_catalog.clock_timestamp() FROM pg_catalog.pg_sleep($1)", _PAUSE
        )
        still = await _found(db, selection)
        waited_for = {holder: still[holder] for holder in waited_for if holder in still}
        if waited_for and limit is not None and (now - begun).total_seconds() >= limit:
            raise StillOpen(f"{limit:g}s", told(tuple(waited_for.values())))


def told(found: tuple[Open, ...]) -> str:
    """A list that fits a message."""
    rest = len(found) - _SHOWN
    said = "; ".join(str(each) for each in found[:_SHOWN])
    return said + (f"; and {rest} more" if rest > 0 else "")


@dataclass(frozen=True, slots=True)
class _Asked:
    """What rules somebody out."""

    selection: Selection
    tables: frozenset[int] | None  # that are selected; None: any
    excepted: frozenset[int]
    roles: frozenset[str] | None  # that may act as the one that is selected
    by_commit: bool
    now: datetime


async def _found(db: Database, selection: Selection) -> dict[str, Open]:
    """By their holders, as pg_locks has them."""
    await check_installed(db, "change")
    if selection.empty or selection.undo_id is not None:
        return {}
    rows = await db.fetch(_OPEN)
    if not rows:
        return {}
    asked = await _asked(db, selection, rows[0]["now"])
    relids = {relid for row in rows for relid in row["relids"]}
    names = dict([tuple(row) for row in await db.fetch(_NAMES, sorted(relids))])
    return {
        row["holder"]: Open(
            xid=row["xid"],
            session=row["session"],
            pid=row["pid"],
            gid=row["gid"],
            role=row["role"],
            application=row["application"],
            address=row["address"],
            since=row["since"],
            relations=tuple(names[relid] for relid in names if relid in row["relids"]),
        )
        for row in rows
        if not any(rule(asked, row) for rule in _RULED_OUT)
    }


async def _asked(db: Database, selection: Selection, now: datetime) -> _Asked:
    tables: set[int] = set()
    for name in selection.tables:
        tables |= await named(db, name)
    excepted: set[int] = set()
    for name in selection.except_tables:
        excepted |= await named(db, name)
    roles = None
    if selection.role is not None:
        roles = frozenset(row[0] for row in await db.fetch(_MEMBERS, selection.role))
    return _Asked(
        selection,
        frozenset(tables) if selection.tables else None,
        frozenset(excepted),
        roles,
        await keeps_commits(db),
        now,
    )


# -- what rules a transaction out ------------------------------------------------------------------


def _other_session(asked: _Asked, row: Any) -> bool:
    wanted = asked.selection.session
    if wanted is None or row["pid"] is None:
        return False
    if row["session"] is not None:
        return bool(row["session"] != wanted)
    return bool(wanted.partition(".")[0] != str(row["pid"]))


def _other_xid(asked: _Asked, row: Any) -> bool:
    return bool(asked.selection.xids) and row["xid"] not in (None, *asked.selection.xids)


def _too_late(asked: _Asked, row: Any) -> bool:
    until = asked.selection.until
    if until is None:
        return False
    if asked.by_commit:
        return until < asked.now
    # Where commits are not kept, its last record may be long before its end.
    return row["gid"] is None and row["since"] is not None and row["since"] > until


def _other_table(asked: _Asked, row: Any) -> bool:
    return asked.tables is not None and asked.tables.isdisjoint(row["relids"])


def _other_role(asked: _Asked, row: Any) -> bool:
    return asked.roles is not None and row["role"] not in (None, *asked.roles)


def _other_application(asked: _Asked, row: Any) -> bool:
    wanted = asked.selection.application
    return wanted is not None and row["application"] not in (None, wanted)


def _excepted(asked: _Asked, row: Any) -> bool:
    selection = asked.selection
    return (
        row["session"] in selection.except_sessions
        or row["xid"] in selection.except_xids
        or (row["session"] is not None and row["application"] in selection.except_applications)
        or (bool(row["relids"]) and asked.excepted.issuperset(row["relids"]))
    )


_RULED_OUT: Final[tuple[Callable[[_Asked, Any], bool], ...]] = (
    _other_session,
    _other_xid,
    _too_late,
    _other_table,
    _other_role,
    _other_application,
    _excepted,
)
