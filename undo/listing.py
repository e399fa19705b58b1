"""What the log holds, for SHOW: sessions, tags, transactions, changes, gaps, undos.

Newest first, at most `limit` rows and one more, which says that there are others. Conditions go to
the columns that have an index (at, xid, tag, pid) as they are. Not: what an undo would do of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Final

from undo import filters
from undo.database import Database, set_all
from undo.errors import BadFilter, NotInstalled
from undo.filters import Condition
from undo.image import PINNED_SETTINGS
from undo.request import Key, Selection
from undo.stages.gaps import STALE
from undo.stages.load import TAKEN_BACK
from undo.stages.select import SESSION_OF, Chosen, narrow


@dataclass(frozen=True, slots=True)
class Filter:
    """Which records; what is given combines with AND. `at` is bounded row by row."""

    session: str | None = None
    tag: str | None = None
    xids: tuple[int, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    tables: tuple[str, ...] = ()
    role: str | None = None
    application: str | None = None
    address: str | None = None
    statement: str | None = None
    fingerprints: tuple[int, ...] = ()
    key: Key = ()
    except_tags: tuple[str, ...] = ()
    except_sessions: tuple[str, ...] = ()
    except_xids: tuple[int, ...] = ()
    except_tables: tuple[str, ...] = ()
    except_roles: tuple[str, ...] = ()
    except_applications: tuple[str, ...] = ()
    where: tuple[Condition, ...] = ()
    limit: int = 100

    @property
    def narrow(self) -> bool:
        """Whether the indexes find it without a bound on time."""
        return bool(self.session or self.tag or self.xids or self.since)


# -- from a filter to conditions -------------------------------------------------------------------


async def chosen_by(db: Database, wanted: Filter) -> Chosen:
    """Raises NotInstalled, and UsageError where a name is not known."""
    # Compiling these queries would take longer than most of them do.
    if not await db.fetchval(
        "SELECT to_regclass('hotrollback.change') IS NOT NULL FROM set_config('jit', 'off', false)"
    ):
        raise NotInstalled
    if wanted.key:
        await set_all(db, PINNED_SETTINGS, local=False)  # keys are read under them
    chosen = Chosen(listed=True)
    by_name = {f.name: getattr(wanted, f.name) for f in fields(Selection) if f.name in _BY_NAME}
    await narrow(db, Selection(**by_name), chosen)
    if wanted.xids:
        given = chosen.given(list(wanted.xids))
        bounds = f"{chosen.given(min(wanted.xids))} AND {chosen.given(max(wanted.xids))}"
        chosen.both(f"c.xid = ANY ({given}::int8[]) AND c.xid BETWEEN {bounds}")
    if wanted.since is not None and wanted.until is not None and wanted.since > wanted.until:
        raise BadFilter(f"the window ends ({wanted.until}) before it begins ({wanted.since})")
    if wanted.since is not None:
        chosen.both(f"c.at >= {chosen.given(wanted.since)}::timestamptz")
    if wanted.until is not None:
        chosen.both(f"c.at <= {chosen.given(wanted.until)}::timestamptz")
    if wanted.where:
        chosen.changes += filters.sql(wanted.where, chosen.given)
        chosen.gaps.append("false")  # a gap has no images
        chosen.changes.append("c.op <> 'S'")  # DDL has those of components
    chosen.both("true")
    return chosen


# Selectors that mean here what they mean to an undo.
_BY_NAME: Final = frozenset(
    {f.name for f in fields(Selection)} & {f.name for f in fields(Filter)}
) - {
    "xids",
    "since",
    "until",
}


# The newest records are in the newest partitions: look there first, and further back only if there
# are not enough.
_LOOK_BACK: Final = (timedelta(minutes=10), timedelta(hours=6), timedelta(days=3), None)


async def _newest(db: Database, wanted: Filter, query: str, **parts: str) -> list[Any]:
    """Rows of a query with {changes} and {gaps} conditions, newest first."""
    end = wanted.until or await db.fetchval("SELECT clock_timestamp()")
    found: list[Any] = []
    upper: datetime | None = None
    for span in (None,) if wanted.narrow else _LOOK_BACK:
        lower = end - span if span is not None else None
        chosen = await chosen_by(db, wanted)
        if lower is not None:
            chosen.both(f"c.at >= {chosen.given(lower)}::timestamptz")
        if upper is not None:
            chosen.both(f"c.at < {chosen.given(upper)}::timestamptz")
        limit = chosen.given(wanted.limit + 1 - len(found))
        text = query.format(changes=chosen.where, gaps=chosen.gaps_where, limit=limit, **parts)
        found += await db.fetch(text, *chosen.args)
        if len(found) > wanted.limit:
            break
        upper = lower
    return found


# -- names and texts that records stand for --------------------------------------------------------

ROLE: Final = "(SELECT r.rolname::text FROM pg_roles r WHERE r.oid = c.role)"
STATEMENT: Final = (
    "(SELECT s.text FROM hotrollback.statement s WHERE s.fingerprint = c.fingerprint)"
)
UNDONE: Final = (
    "(SELECT d.undo FROM hotrollback.undone d JOIN hotrollback.undo u ON u.id = d.undo"
    " WHERE d.xid = c.xid AND (d.lsn = c.lsn OR d.lsn IS NULL) AND u.redone_by IS NULL LIMIT 1)"
)


OPERATION: Final = (
    "CASE c.op WHEN 'I' THEN 'insert' WHEN 'U' THEN 'update' WHEN 'D' THEN 'delete'"
    " WHEN 'C' THEN 'create table' WHEN 'B' THEN 'take away'"
    " WHEN 'S' THEN lower(c.after ->> 'command') ELSE 'not kept' END"
)


def relation(oid: str) -> str:
    """The name that it has, or had last."""
    return (
        "coalesce((SELECT format('%I.%I', n.nspname, k.relname) FROM pg_class k"
        f" JOIN pg_namespace n ON n.oid = k.relnamespace WHERE k.oid = {oid}),"
        f" (SELECT r.name FROM hotrollback.relation r WHERE r.relid = {oid}"
        f" ORDER BY r.seen DESC LIMIT 1), nullif({oid}, 0)::text)"
    )


# -- SHOW CHANGES ----------------------------------------------------------------------------------

_CHANGES: Final = """
SELECT c.at, c.xid, {session} AS session, c.tag, {role} AS role,
       {operation} AS op,
       CASE WHEN c.new_relid IS NULL THEN {relation} ELSE {relation} || ' -> ' || {moved} END
           AS relation,
       c.before::text AS before, c.after::text AS after, {statement} AS statement, c.fingerprint,
       {undone} AS undone
  FROM (SELECT c.* FROM hotrollback.record c WHERE {changes} ORDER BY c.lsn DESC LIMIT {limit}) c
 ORDER BY c.lsn DESC
"""


async def changes(db: Database, wanted: Filter) -> Sequence[Any]:
    return await _newest(
        db,
        wanted,
        _CHANGES,
        operation=OPERATION,
        session=SESSION_OF,
        role=ROLE,
        relation=relation("c.relid"),
        moved=relation("c.new_relid"),
        statement=STATEMENT,
        undone=UNDONE,
    )


# -- SHOW GAPS -------------------------------------------------------------------------------------

# A record that was made when the table had just changed is a gap, too.
_GAPS: Final = """
SELECT c.at, c.xid, {session} AS session, c.tag, {role} AS role, {relation} AS relation, c.reason,
       coalesce(c.statement, {statement}) AS statement
  FROM (SELECT c.lsn, c.at, c.xid, c.pid, c.role, c.tag, c.fingerprint, c.relid, c.reason,
               c.statement
          FROM hotrollback.gap c WHERE {gaps}
         UNION ALL
        SELECT * FROM (
            SELECT DISTINCT ON (c.xid, c.relid) c.lsn, c.at, c.xid, c.pid, c.role, c.tag,
                   c.fingerprint, c.relid, 'stale_catalog', NULL
              FROM hotrollback.change c WHERE {stale} AND {changes}
             ORDER BY c.xid, c.relid, c.lsn) s
         ORDER BY lsn DESC LIMIT {limit}) c
 ORDER BY c.lsn DESC
"""


async def gaps(db: Database, wanted: Filter) -> Sequence[Any]:
    return await _newest(
        db,
        wanted,
        _GAPS,
        stale=STALE,
        session=SESSION_OF,
        role=ROLE,
        relation=relation("c.relid"),
        statement=STATEMENT,
    )


# -- SHOW TRANSACTIONS -----------------------------------------------------------------------------

_XIDS: Final = """
SELECT m.xid
  FROM (SELECT c.xid, c.lsn FROM hotrollback.record c WHERE {changes}
         UNION ALL
        SELECT c.xid, c.lsn FROM hotrollback.gap c WHERE {gaps}) m
 GROUP BY m.xid ORDER BY max(m.lsn) DESC LIMIT {limit}
"""

# Whole transactions, whatever the filter found of them: that is what `undo --xid` takes back.
_TRANSACTIONS: Final = """
WITH change AS MATERIALIZED (
    SELECT c.* FROM hotrollback.record c WHERE c.xid = ANY ($1) AND c.xid BETWEEN $2 AND $3
), gap AS MATERIALIZED (
    SELECT c.* FROM hotrollback.gap c WHERE c.xid = ANY ($1)
), record AS (
    SELECT c.xid, c.lsn, c.at, c.pid, c.role, c.tag, c.relid, c.fingerprint, c.op::text,
           NULL AS statement
      FROM change c
     UNION ALL
    SELECT c.xid, c.lsn, c.at, c.pid, c.role, c.tag, c.relid, c.fingerprint, 'gap', c.statement
      FROM gap c
), first AS (
    SELECT DISTINCT ON (c.xid) c.*, coalesce(c.statement, {statement}) AS text
      FROM record c ORDER BY c.xid, c.lsn
), counted AS (
    SELECT c.xid, max(c.at) AS at, max(c.lsn) AS lsn,
           count(*) FILTER (WHERE c.op = 'I') AS inserts,
           count(*) FILTER (WHERE c.op = 'U') AS updates,
           count(*) FILTER (WHERE c.op = 'D') AS deletes,
           count(*) FILTER (WHERE c.op = 'gap') AS gaps,
           string_agg(DISTINCT c.tag, ', ') AS tag, array_agg(DISTINCT c.relid) AS relids
      FROM record c GROUP BY c.xid
)
SELECT n.at, n.xid, {session} AS session, n.tag, {role} AS role,
       (SELECT s.application_name FROM hotrollback.session s
         WHERE s.pid = c.pid AND s.started <= c.at AND (s.ended IS NULL OR s.ended >= c.at)
         ORDER BY s.started DESC LIMIT 1) AS application,
       (SELECT string_agg({relation}, ', ' ORDER BY {relation})
          FROM unnest(n.relids) AS r(relid) WHERE r.relid IS NOT NULL) AS relations,
       n.inserts, n.updates, n.deletes, n.gaps,
       (SELECT string_agg(DISTINCT d.undo::text, ', ')
          FROM hotrollback.undone d JOIN hotrollback.undo u ON u.id = d.undo
         WHERE d.xid = n.xid AND u.redone_by IS NULL) AS undone,
       (SELECT min(u.id) FROM hotrollback.undo u WHERE u.xid = n.xid) AS undo,
       left(regexp_replace(c.text, '\\s+', ' ', 'g'), 200) AS statement
  FROM counted n JOIN first c ON c.xid = n.xid
 ORDER BY n.lsn DESC
"""


async def transactions(db: Database, wanted: Filter) -> Sequence[Any]:
    xids = list({row["xid"]: None for row in await _newest(db, wanted, _XIDS)})
    if not xids:
        return []
    query = _TRANSACTIONS.format(
        session=SESSION_OF, role=ROLE, statement=STATEMENT, relation=relation("r.relid")
    )
    return await db.fetch(query, xids, min(xids), max(xids))


# -- SHOW TAGS -------------------------------------------------------------------------------------

_TAGS: Final = """
WITH counted AS (
    SELECT c.tag, c.xid, c.role, min(c.at) AS first, max(c.at) AS last,
           count(*) FILTER (WHERE c.op = 'I') AS inserts,
           count(*) FILTER (WHERE c.op = 'U') AS updates,
           count(*) FILTER (WHERE c.op = 'D') AS deletes, 0::int8 AS gaps,
           count(*) FILTER (WHERE {taken_back}) AS undone
      FROM hotrollback.record c WHERE c.tag IS NOT NULL AND {changes}
     GROUP BY c.tag, c.xid, c.role
     UNION ALL
    SELECT c.tag, c.xid, c.role, min(c.at), max(c.at), 0, 0, 0, count(*), 0
      FROM hotrollback.gap c WHERE c.tag IS NOT NULL AND {gaps}
     GROUP BY c.tag, c.xid, c.role
)
SELECT c.tag, min(c.first) AS first, max(c.last) AS last,
       string_agg(DISTINCT {role}, ', ') AS roles, count(DISTINCT c.xid) AS transactions,
       sum(c.inserts)::int8 AS inserts, sum(c.updates)::int8 AS updates,
       sum(c.deletes)::int8 AS deletes, sum(c.gaps)::int8 AS gaps,
       sum(c.undone)::int8 AS undone
  FROM counted c
 GROUP BY c.tag ORDER BY max(c.last) DESC LIMIT {limit}
"""


async def tags(db: Database, wanted: Filter) -> Sequence[Any]:
    # A tag's figures are of its whole life, so the newest records are not enough.
    chosen = await chosen_by(db, wanted)
    query = _TAGS.format(
        changes=chosen.where,
        gaps=chosen.gaps_where,
        taken_back=TAKEN_BACK,
        role=ROLE,
        limit=chosen.given(wanted.limit + 1),
    )
    return await db.fetch(query, *chosen.args)


# -- SHOW SESSIONS ---------------------------------------------------------------------------------

_SESSIONS: Final = """
WITH listed AS MATERIALIZED (
    SELECT s.* FROM hotrollback.session s
     WHERE {conditions}
     ORDER BY s.started DESC LIMIT {limit}
), tagged AS (
    SELECT s.pid, s.started, string_agg(DISTINCT c.tag, ', ') AS tags
      FROM listed s
      JOIN hotrollback.record c ON c.pid = s.pid AND c.at >= s.started
           AND (s.ended IS NULL OR c.at <= s.ended)
     WHERE c.tag IS NOT NULL AND c.at >= (SELECT min(l.started) FROM listed l)
     GROUP BY s.pid, s.started
)
SELECT s.pid, s.started, s.ended, s.role, s.application_name AS application,
       s.client_addr AS address, t.tags,
       s.pid || '.' || (extract(epoch FROM s.started) * 1000000)::int8 AS session
  FROM listed s LEFT JOIN tagged t ON t.pid = s.pid AND t.started = s.started
 ORDER BY s.started DESC
"""


async def sessions(db: Database, wanted: Filter) -> Sequence[Any]:
    """Sessions that wrote; `since` and `until` bound when they were open."""
    # A session that wrote nothing may have any role and application.
    await chosen_by(db, Filter(session=wanted.session, tag=wanted.tag))
    given = Chosen()
    conditions = ["true"]
    if wanted.session is not None:
        pid, _, micros = wanted.session.partition(".")
        conditions.append(
            f"s.pid = {given.given(int(pid))} AND"
            f" (extract(epoch FROM s.started) * 1000000)::int8 = {given.given(int(micros))}"
        )
    if wanted.role is not None:
        conditions.append(f"s.role = {given.given(wanted.role)}")
    if wanted.application is not None:
        conditions.append(f"s.application_name = {given.given(wanted.application)}")
    if wanted.since is not None:
        conditions.append(
            f"(s.ended IS NULL OR s.ended >= {given.given(wanted.since)}::timestamptz)"
        )
    if wanted.until is not None:
        conditions.append(f"s.started <= {given.given(wanted.until)}::timestamptz")
    if wanted.tag is not None:
        conditions.append(
            "EXISTS (SELECT FROM hotrollback.record c WHERE c.pid = s.pid AND c.at >= s.started"
            f" AND (s.ended IS NULL OR c.at <= s.ended) AND c.tag = {given.given(wanted.tag)})"
        )
    query = _SESSIONS.format(
        conditions=" AND ".join(conditions), limit=given.given(wanted.limit + 1)
    )
    return await db.fetch(query, *given.args)


# -- SHOW UNDOS ------------------------------------------------------------------------------------

_UNDOS: Final = """
SELECT u.id, u.at, u.xid, u.by, u.redo_of, u.redone_by, u.batch_of, u.request::text AS request,
       u.report::text AS report
  FROM hotrollback.undo u
 WHERE ($1::timestamptz IS NULL OR u.at >= $1) AND ($2::timestamptz IS NULL OR u.at <= $2)
 ORDER BY u.id DESC LIMIT $3
"""


async def undos(db: Database, wanted: Filter) -> Sequence[Any]:
    await chosen_by(db, Filter())
    return await db.fetch(_UNDOS, wanted.since, wanted.until, wanted.limit + 1)
