"""From a selection as an operator names it to conditions on the log: names are looked up, unknown
ones refused.

Tag, role and table select rows; session, transactions, times, restore point and application select
whole transactions. A window of time is settled here once: what commits later is outside of it.
"""

from dataclasses import dataclass, field
from typing import Any, Final

from undo.database import Database
from undo.errors import (
    BadFilter,
    NothingSelected,
    UndoAmongOthers,
    UnknownApplication,
    UnknownRelation,
    UnknownRestorePoint,
    UnknownRole,
    UnknownSession,
    UnknownTag,
    UnknownTransaction,
    UnknownUndo,
)
from undo.request import Selection

# The session that a row of the log (alias c) belongs to: a pid alone is used again.
SESSION_OF: Final = """(
    SELECT s.pid || '.' || (EXTRACT(epoch FROM s.started) * 1000000)::pg_catalog.int8
      FROM hotrollback.session s
     WHERE s.pid = c.pid AND s.started <= c.at AND (s.ended IS NULL OR s.ended >= c.at)
     ORDER BY s.started DESC LIMIT 1)"""


@dataclass(slots=True)
class Chosen:
    """Conditions on hotrollback.change and hotrollback.gap, both as alias c."""

    changes: list[str] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    args: list[Any] = field(default_factory=list)
    redo_of: int | None = None  # the undo whose own rows these are

    def given(self, value: Any) -> str:
        """The placeholder of a value."""
        self.args.append(value)
        return f"${len(self.args)}"

    def both(self, condition: str) -> None:
        self.changes.append(condition)
        self.gaps.append(condition)

    @property
    def where(self) -> str:
        return " AND ".join(f"({condition})" for condition in self.changes)

    @property
    def gaps_where(self) -> str:
        return " AND ".join(f"({condition})" for condition in self.gaps)


async def resolve(db: Database, selection: Selection) -> Chosen:
    """Raises UsageError where nothing is selected or a name is not known."""
    if selection.empty:
        raise NothingSelected
    chosen = Chosen()
    if selection.undo_id is not None:
        await _undo(db, selection, chosen)
        return chosen
    for selector in _SELECTORS:
        await selector(db, selection, chosen)
    return chosen


async def _undo(db: Database, selection: Selection, chosen: Chosen) -> None:
    xid = await db.fetchval("SELECT xid FROM hotrollback.undo WHERE id = $1", selection.undo_id)
    if xid is None:
        raise UnknownUndo(selection.undo_id)
    chosen.redo_of = selection.undo_id
    chosen.both(f"c.xid = {chosen.given(xid)}")


async def _tag(db: Database, selection: Selection, chosen: Chosen) -> None:
    if selection.tag is None:
        return
    for table in ("change", "gap"):
        if await db.fetchval(
            f"SELECT true FROM hotrollback.{table} WHERE tag = $1 LIMIT 1", selection.tag
        ):
            break
    else:
        raise UnknownTag(selection.tag)
    given = chosen.given(selection.tag)
    chosen.changes.append(f"c.tag = {given}")
    # A gap that its own transaction could not hold has no tag: it may be of any of its session's.
    chosen.gaps.append(
        f"c.tag = {given} OR (c.apart AND EXISTS (SELECT FROM hotrollback.session s"
        " JOIN hotrollback.change w ON w.pid = s.pid AND w.at >= s.started"
        " AND (s.ended IS NULL OR w.at <= s.ended)"
        " WHERE s.pid = c.pid AND s.started <= c.at AND (s.ended IS NULL OR s.ended >= c.at)"
        f" AND w.tag = {given}))"
    )


async def _session(db: Database, selection: Selection, chosen: Chosen) -> None:
    if selection.session is None:
        return
    pid, dot, micros = selection.session.partition(".")
    if not (dot and pid.isdecimal() and micros.isdecimal()):
        raise UnknownSession(selection.session)
    row = await db.fetchrow(
        """
        SELECT s.pid, s.started,
               LEAST(s.ended, (SELECT pg_catalog.min(n.started) FROM hotrollback.session n
                                WHERE n.pid = s.pid AND n.started > s.started)) AS ended
          FROM hotrollback.session s
         WHERE s.pid = $1
           AND (EXTRACT(epoch FROM s.started) * 1000000)::pg_catalog.int8 = $2
        """,
        int(pid),
        int(micros),
    )
    if row is None:
        raise UnknownSession(selection.session)
    chosen.both(f"c.pid = {chosen.given(row['pid'])} AND c.at >= {chosen.given(row['started'])}")
    if row["ended"] is not None:
        chosen.both(f"c.at <= {chosen.given(row['ended'])}")


async def _xids(db: Database, selection: Selection, chosen: Chosen) -> None:
    if not selection.xids:
        return
    undos = await db.fetch(
        "SELECT id, xid FROM hotrollback.undo WHERE xid = ANY ($1::pg_catalog.int8[])",
        list(selection.xids),
    )
    if undos and selection == Selection(xids=(undos[0]["xid"],)):
        chosen.redo_of = undos[0]["id"]
    elif undos:
        raise UndoAmongOthers(undos[0]["xid"])
    known = await db.fetchval(
        "SELECT pg_catalog.array_agg(x) FROM pg_catalog.unnest($1::pg_catalog.int8[]) x"
        " WHERE EXISTS (SELECT FROM hotrollback.change c WHERE c.xid = x)"
        "    OR EXISTS (SELECT FROM hotrollback.gap g WHERE g.xid = x)",
        list(selection.xids),
    )
    for xid in selection.xids:
        if xid not in (known or ()):
            raise UnknownTransaction(xid)
    _transactions(chosen, list(selection.xids))


def _transactions(chosen: Chosen, xids: list[int]) -> None:
    """The bounds are for the index, which knows no lists."""
    low, high = (min(xids), max(xids)) if xids else (0, -1)
    given = chosen.given(xids)
    chosen.both(
        f"c.xid = ANY ({given}::pg_catalog.int8[])"
        f" AND c.xid BETWEEN {chosen.given(low)} AND {chosen.given(high)}"
    )


async def _times(db: Database, selection: Selection, chosen: Chosen) -> None:
    """A transaction is inside when its last record is."""
    if selection.since is None and selection.until is None:
        return
    since, until = selection.since, selection.until
    if since is not None and until is not None and since > until:
        raise BadFilter(f"the window ends ({until}) before it begins ({since})")
    until = until or await db.fetchval("SELECT pg_catalog.clock_timestamp()")
    query = (
        "SELECT x.xid FROM hotrollback.{table} x"
        " WHERE ($1::pg_catalog.timestamptz IS NULL OR x.at >= $1)"
        " GROUP BY x.xid HAVING pg_catalog.max(x.at) <= $2"
    )
    found: set[int] = set()
    for table in ("change", "gap"):
        for row in await db.fetch(query.format(table=table), since, until):
            found.add(row["xid"])
    _transactions(chosen, sorted(found))


async def _restore_point(db: Database, selection: Selection, chosen: Chosen) -> None:
    """What was not visible when it was made came after it, also what was begun before."""
    if selection.restore_point is None:
        return
    snapshot = await db.fetchval(
        "SELECT snapshot::pg_catalog.text FROM hotrollback.restore_point WHERE name = $1",
        selection.restore_point,
    )
    if snapshot is None:
        raise UnknownRestorePoint(selection.restore_point)
    given = chosen.given(snapshot)
    chosen.both(unseen("c", f"{given}::pg_catalog.text::pg_catalog.pg_snapshot"))


def unseen(alias: str, snapshot: str) -> str:
    """Whether a record's transaction was not visible in a snapshot (SQL of type pg_snapshot)."""
    return (
        f"{alias}.xid >= pg_catalog.pg_snapshot_xmin({snapshot})::pg_catalog.text::pg_catalog.int8"
        f" AND NOT pg_catalog.pg_visible_in_snapshot("
        f"{alias}.xid::pg_catalog.text::pg_catalog.xid8, {snapshot})"
    )


async def _application(db: Database, selection: Selection, chosen: Chosen) -> None:
    if selection.application is None:
        return
    if not await db.fetchval(
        "SELECT true FROM hotrollback.session WHERE application_name = $1 LIMIT 1",
        selection.application,
    ):
        raise UnknownApplication(selection.application)
    given = chosen.given(selection.application)
    chosen.both(
        "EXISTS (SELECT FROM hotrollback.session s WHERE s.pid = c.pid AND s.started <= c.at"
        f" AND (s.ended IS NULL OR s.ended >= c.at) AND s.application_name = {given}"
        " AND NOT EXISTS (SELECT FROM hotrollback.session n WHERE n.pid = s.pid"
        "                    AND n.started > s.started AND n.started <= c.at))"
    )


async def _role(db: Database, selection: Selection, chosen: Chosen) -> None:
    if selection.role is None:
        return
    oid = await db.fetchval(
        "SELECT oid::pg_catalog.int8 FROM pg_catalog.pg_roles WHERE rolname = $1", selection.role
    )
    if oid is None:
        raise UnknownRole(selection.role)
    given = f"{chosen.given(oid)}::pg_catalog.int8::pg_catalog.oid"
    chosen.gaps.append(f"c.role = {given}")
    # What its statements set off may have been written as an owner: by cascades, by trusted code.
    chosen.changes.append(f"c.role = {given} OR (c.login = {given} AND {_of(f'w.role = {given}')})")


async def _tables(db: Database, selection: Selection, chosen: Chosen) -> None:
    if not selection.tables:
        return
    relids: set[int] = set()
    for name in selection.tables:
        relids |= await named(db, name)
    given = f"{chosen.given(sorted(relids))}::pg_catalog.oid[]"
    named_ = f"c.relid = ANY ({given}) OR c.new_relid = ANY ({given})"
    reach, anywhere = await db.fetchrow(_REACH, sorted(relids))
    if reach or anywhere:
        where = "true" if anywhere else f"c.relid = ANY ('{{{','.join(map(str, reach))}}}')"
        named_ += f" OR ({where} AND {_of(f'w.relid = ANY ({given})')})"
    chosen.changes.append(named_)
    # A gap whose table is not known may be in any of them.
    chosen.gaps.append(f"c.relid IS NULL OR c.relid = ANY ({given})")


def _of(statement: str) -> str:
    """Whether a change (c) belongs to a statement that made one like that (w): what cascades and
    triggers write has its fingerprint."""
    return (
        "c.fingerprint IS NOT NULL AND (c.xid, c.fingerprint) IN (SELECT w.xid, w.fingerprint"
        f" FROM hotrollback.change w WHERE w.fingerprint IS NOT NULL AND {statement})"
    )


# Tables that a foreign key's action writes when these are written, and whether a trigger or a rule
# may write any other.
_REACH: Final = """
WITH RECURSIVE reach(oid) AS (
    SELECT r FROM pg_catalog.unnest($1::pg_catalog.oid[]) r
    UNION
    SELECT n.oid
      FROM reach r
     CROSS JOIN LATERAL (
           SELECT k.conrelid FROM pg_catalog.pg_constraint k
            WHERE k.confrelid = r.oid AND k.contype = 'f'
              AND (k.confdeltype IN ('c', 'n', 'd') OR k.confupdtype IN ('c', 'n', 'd'))
            UNION ALL
           SELECT i.inhrelid FROM pg_catalog.pg_inherits i WHERE i.inhparent = r.oid) AS n(oid)
)
SELECT COALESCE(pg_catalog.array_agg(r.oid::pg_catalog.int8)
                FILTER (WHERE r.oid <> ALL ($1::pg_catalog.oid[])), '{}') AS reach,
       COALESCE(pg_catalog.bool_or(
           EXISTS (SELECT FROM pg_catalog.pg_trigger t
                    WHERE t.tgrelid = r.oid AND NOT t.tgisinternal
                      AND t.tgname !~ '^hotrollback_')
           OR EXISTS (SELECT FROM pg_catalog.pg_rewrite w
                       WHERE w.ev_class = r.oid AND w.rulename <> '_RETURN')), false) AS anywhere
  FROM reach r
"""

_NAMED: Final = """
WITH RECURSIVE known(oid, nspname, relname) AS (
    SELECT c.oid, n.nspname::pg_catalog.text, c.relname::pg_catalog.text
      FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
       AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'hotrollback')
    UNION
    SELECT r.relid, (pg_catalog.parse_ident(r.name))[1], (pg_catalog.parse_ident(r.name))[2]
      FROM hotrollback.relation r
     WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = r.relid)
), below(nspname, oid) AS (
    SELECT k.nspname, k.oid FROM known k
     WHERE k.relname = $2 AND ($1::pg_catalog.text IS NULL OR k.nspname = $1)
    UNION
    SELECT b.nspname, i.inhrelid FROM below b JOIN pg_catalog.pg_inherits i ON i.inhparent = b.oid
)
SELECT nspname, pg_catalog.array_agg(oid::pg_catalog.int8) AS relids FROM below GROUP BY nspname
"""


async def named(db: Database, name: str) -> set[int]:
    """The oids of a table, with its partitions and children; also of one that was dropped."""
    try:
        parts = await db.fetchval("SELECT pg_catalog.parse_ident($1)", name)
    except Exception as error:
        if getattr(error, "sqlstate", None) != "22023":
            raise
        raise UnknownRelation(name) from error
    if len(parts) > 2:
        raise UnknownRelation(name)
    schema = parts[0] if len(parts) == 2 else None
    rows = await db.fetch(_NAMED, schema, parts[-1])
    if not rows:
        raise UnknownRelation(name)
    if len(rows) > 1:
        schemas = ", ".join(sorted(row["nspname"] for row in rows))
        raise BadFilter(f'"{name}" is a table in several schemas ({schemas}): name the schema, too')
    return set(rows[0]["relids"])


_SELECTORS: Final = (
    _tag,
    _session,
    _xids,
    _times,
    _restore_point,
    _application,
    _role,
    _tables,
)
