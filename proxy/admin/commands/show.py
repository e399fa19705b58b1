"""SHOW ... of what the log holds and how tables are captured. The queries are undo.listing's."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

from proxy.admin import clauses
from proxy.admin.command import Asked, Command, Permission, Rows
from proxy.admin.moments import window
from proxy.admin.table import BOOL, INT, JSON, TEXT, TIME, Column
from undo import listing
from undo.capture_state import capture_state
from undo.errors import NotInstalled
from undo.listing import Filter
from undo.request import Selection

_DEFAULT_LIMIT: Final = 100
_FIELDS: Final = frozenset(f.name for f in fields(Filter))


def filter_of(asked: Asked, values: Mapping[str, Any]) -> Filter:
    given = {name: value for name, value in values.items() if name in _FIELDS}
    given |= window(values, asked.zone, asked.now, asked.notice)
    return Filter(**{"limit": _DEFAULT_LIMIT, **given})


def _cut(asked: Asked, wanted: Filter, rows: Sequence[Any]) -> Sequence[Any]:
    if len(rows) > wanted.limit:
        asked.notice(f"only the newest {wanted.limit} are shown: LIMIT n shows others")
    return rows[: wanted.limit]


Listing = Callable[[Any, Filter], Awaitable[Sequence[Any]]]


def _listed(query: Listing, columns: Sequence[Column]) -> Any:
    """A command's function that shows rows of the log as they are."""

    async def run(asked: Asked, values: Mapping[str, Any]) -> Rows:
        wanted = filter_of(asked, values)
        async with asked.backend.database(values.get("database")) as db:
            rows = await query(db, wanted)
        return [[row[column.name] for column in columns] for row in _cut(asked, wanted, rows)]

    return run


async def sessions(asked: Asked, values: Mapping[str, Any]) -> Rows:
    """Those that wrote, from the log, and those that are open and have not."""
    wanted = filter_of(asked, values)
    live = {(s.pid, s.started, s.database): s for s in await asked.backend.sessions()}
    async with asked.backend.database(values.get("database")) as db:
        database = await db.fetchval("SELECT pg_catalog.current_database()::text")
        rows = await listing.sessions(db, wanted)
    found: list[tuple[Any, ...]] = []
    for row in _cut(asked, wanted, rows):
        micros = int(row["session"].partition(".")[2])
        is_open = live.pop((row["pid"], micros, database), None) is not None
        about = (row["role"], row["application"], row["address"], row["started"], row["ended"])
        found.append((row["session"], is_open, database, *about, row["tags"]))
    if wanted.tag or wanted.session or wanted.until:
        return found
    others = [
        (None, True, s.database, s.user, s.application_name, s.address, None, None, None)
        for s in live.values()
        if s.started == 0
        and (values.get("database") in {None, s.database})
        and (wanted.role in {None, s.user})
        and (wanted.application in {None, s.application_name})
    ]
    return [*found, *others]


async def undos(asked: Asked, values: Mapping[str, Any]) -> Rows:
    wanted = filter_of(asked, values)
    async with asked.backend.database(values.get("database")) as db:
        rows = await listing.undos(db, wanted)
    return [_undo(row) for row in _cut(asked, wanted, rows)]


def _undo(row: Any) -> tuple[Any, ...]:
    request, report = json.loads(row["request"]), json.loads(row["report"] or "{}")
    tables = report.get("tables", [])
    counts = (sum(t[k] for t in tables) for k in ("inserts", "updates", "deletes", "skipped"))
    return (
        *(row["id"], row["at"], row["xid"], row["by"]),
        Selection.read(request.get("selection") or {}).words()
        if row["redo_of"] is None
        else f"redo of undo {row['redo_of']}",
        report.get("selected_transactions"),
        *counts,
        *(row["redo_of"], row["redone_by"], row["batch_of"], request.get("reason")),
    )


async def capture(asked: Asked, values: Mapping[str, Any]) -> Rows:
    async with asked.backend.database(values.get("database")) as db:
        if not await db.fetchval("SELECT pg_catalog.to_regclass('hotrollback.meta') IS NOT NULL"):
            raise NotInstalled
        rows = await capture_state(db)
    if not asked.backend.capturing():
        asked.warn("capture is off: nothing that passes the proxy is recorded (CAPTURE ON)")
    return rows


_AT: Final = Column("at", TIME, "when it was recorded")
_XID: Final = Column("xid", INT, "its transaction, as UNDO XID takes it")
_SESSION: Final = Column("session", TEXT, "PID.MICROS: backend and its start; null if not known")
_TAG: Final = Column("tag", TEXT, "the tag that it was written under")
_ROLE: Final = Column("role", TEXT, "the role that wrote it; null if it was dropped since")
_TEXT: Final = Column("statement", TEXT, "the client's statement; null if it is not known")
_INSERTS: Final = Column("inserts", INT, "rows inserted")
_UPDATES: Final = Column("updates", INT, "rows updated")
_DELETES: Final = Column("deletes", INT, "rows deleted")
_GAP_COUNT: Final = Column("gaps", INT, "gap records")

_TAGS: Final = (
    Column("tag", TEXT, "the tag"),
    Column("first", TIME, "its first record"),
    Column("last", TIME, "its last record"),
    Column("roles", TEXT, "who wrote under it"),
    Column("transactions", INT, "how many"),
    _INSERTS,
    _UPDATES,
    _DELETES,
    _GAP_COUNT,
    Column("undone", INT, "changes that are undone and not redone"),
)
_TRANSACTIONS: Final = (
    Column("at", TIME, "its last record: the nearest to its commit that is known"),
    _XID,
    _SESSION,
    Column("tag", TEXT, "the tags that it was written under"),
    Column("role", TEXT, "the role of its first record"),
    Column("application", TEXT, "the session's application_name"),
    Column("relations", TEXT, "the tables that it wrote"),
    _INSERTS,
    _UPDATES,
    _DELETES,
    _GAP_COUNT,
    Column("undone", TEXT, "undos that took back some of it and were not redone"),
    Column("undo", INT, "the undo that this transaction is, if it is one"),
    Column("statement", TEXT, "the beginning of its first statement"),
)
_CHANGES: Final = (
    _AT,
    _XID,
    _SESSION,
    _TAG,
    _ROLE,
    Column("relation", TEXT, "the table; a -> b where the row moved between partitions"),
    Column("op", TEXT, "insert, update or delete; create table, or take away by an undo"),
    Column("before", JSON, "the row before; null for an insert"),
    Column("after", JSON, "the row after; null for a delete"),
    Column("undone", INT, "the undo that took it back and was not redone"),
    Column("fingerprint", INT, "of the statement, as UNDO FINGERPRINT takes it"),
    _TEXT,
)
_GAPS: Final = (
    _AT,
    _XID,
    _SESSION,
    _TAG,
    _ROLE,
    Column("relation", TEXT, "the table; null where it may be any"),
    Column("reason", TEXT, "why it is not recorded, or not exactly (docs/gaps.md)"),
    _TEXT,
)
_SESSIONS: Final = (
    Column("session", TEXT, "PID.MICROS, as UNDO SESSION takes it; null: open, and wrote nothing"),
    Column("open", BOOL, "whether it is open now, through this proxy"),
    Column("database", TEXT, "its database"),
    Column("role", TEXT, "the role that it logged in as"),
    Column("application", TEXT, "its application_name"),
    Column("address", TEXT, "the client's address"),
    Column("started", TIME, "when its backend started"),
    Column("ended", TIME, "when it ended"),
    Column("tags", TEXT, "the tags that it wrote under"),
)
_UNDOS: Final = (
    Column("id", INT, "its number, as REDO takes it"),
    Column("at", TIME, "when"),
    Column("xid", INT, "its own transaction"),
    Column("by", TEXT, "who asked for it"),
    Column("what", TEXT, "what was selected"),
    Column("transactions", INT, "how many were selected"),
    Column("inserted", INT, "rows that it brought back"),
    Column("updated", INT, "rows that it set back"),
    Column("deleted", INT, "rows that it took away"),
    Column("skipped", INT, "rows that it left as they were"),
    Column("redo_of", INT, "the undo that this one took back"),
    Column("redone_by", INT, "what took this one back"),
    Column("batch_of", INT, "of an undo in batches: the number of its first, and of the whole"),
    Column("reason", TEXT, "why, as far as it was said"),
)
_CAPTURE: Final = (
    Column("relation", TEXT, "the table"),
    Column("how", TEXT, "rewrite (the proxy), trigger, or none"),
    Column("why", TEXT, "the reason, and what to do"),
)

_D, _L = clauses.DATABASE, clauses.LIMIT
_WINDOW: Final = (clauses.FROM, clauses.TO)
_WHO: Final = (
    *(clauses.SESSION, clauses.TAG, clauses.XID, clauses.ROLE, clauses.APPLICATION),
    clauses.ADDRESS,
)
_WHAT: Final = (clauses.TABLE, clauses.STATEMENT, clauses.FINGERPRINT)
_RECORDS: Final = (_D, *_WHO, *_WINDOW, *_WHAT, *clauses.EXCEPTIONS)


def _show(
    word: str, told: str, columns: tuple[Column, ...], run: Any, *taken: clauses.Clause
) -> Command:
    return Command(("SHOW", word), told, Permission.LOOK, columns, run, taken)


COMMANDS: Final = (
    _show(
        "SESSIONS",
        "who wrote, and who is connected",
        _SESSIONS,
        sessions,
        *(_D, clauses.SESSION, clauses.TAG, clauses.ROLE, clauses.APPLICATION, *_WINDOW, _L),
    ),
    _show(
        "TAGS",
        "who wrote under which tag, and how much",
        _TAGS,
        _listed(listing.tags, _TAGS),
        *(_D, clauses.TAG, clauses.ROLE, *_WINDOW, clauses.TABLE, _L),
    ),
    _show(
        "TRANSACTIONS",
        "transactions that wrote something that the filters fit",
        _TRANSACTIONS,
        _listed(listing.transactions, _TRANSACTIONS),
        *(*_RECORDS, clauses.KEY, clauses.WHERE, _L),
    ),
    _show(
        "CHANGES",
        "rows as they were and became",
        _CHANGES,
        _listed(listing.changes, _CHANGES),
        *(*_RECORDS, clauses.KEY, clauses.WHERE, _L),
    ),
    _show(
        "GAPS",
        "writes that are not recorded, or not exactly",
        _GAPS,
        _listed(listing.gaps, _GAPS),
        *(*_RECORDS, _L),
    ),
    _show("UNDOS", "undos and redos", _UNDOS, undos, _D, *_WINDOW, _L),
    _show("CAPTURE", "how each table is recorded, and why", _CAPTURE, capture, _D),
)
