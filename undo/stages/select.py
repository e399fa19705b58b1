"""From a selection as an operator names it to conditions on the log: names are looked up, unknown
ones refused.

Tag, role, table, key and statement select rows; session, transactions, times, restore point,
application and address select whole transactions. What is excepted is what the same selector would
have selected, with all that cascades and triggers wrote because of it.
"""

from typing import Any, Final

from undo.database import Database, sqlstate
from undo.errors import (
    BadFilter,
    NothingSelected,
    UndoAmongOthers,
    UnknownAddress,
    UnknownApplication,
    UnknownRestorePoint,
    UnknownRole,
    UnknownSession,
    UnknownStatement,
    UnknownTag,
    UnknownTransaction,
    UnknownUndo,
)
from undo.naming import named
from undo.request import Selection
from undo.stages.chosen import SESSION_OF, Chosen, of_session, unseen
from undo.stages.keys import by_key
from undo.stages.windows import times, transactions

__all__ = ["SESSION_OF", "Chosen", "narrow", "resolve", "unseen"]


_OWN: Final = "pg_catalog.pg_current_xact_id_if_assigned()::pg_catalog.text::pg_catalog.int8"


async def resolve(db: Database, selection: Selection) -> Chosen:
    """Raises UsageError where nothing is selected or a name is not known."""
    if selection.empty:
        raise NothingSelected
    chosen = Chosen()
    if selection.undo_id is not None:
        await _undo(db, selection, chosen)
        return chosen
    await narrow(db, selection, chosen)
    # What it writes itself fits what has no end, or is of the role that runs it, as well.
    chosen.both(f"c.xid IS DISTINCT FROM {_OWN}")
    return chosen


async def narrow(db: Database, selection: Selection, chosen: Chosen) -> None:
    """Add what each selector asks for. Raises UsageError where a name is not known."""
    for selector in _SELECTORS:
        await selector(db, selection, chosen)
    for name, (one, selector) in _EXCEPTIONS.items():
        for value in getattr(selection, name):
            # It shares the arguments: their numbers go on.
            apart = Chosen(args=chosen.args, excepted=True)
            of_one: Any = {one: (value,) if isinstance(getattr(selection, one), tuple) else value}
            await selector(db, Selection(**of_one), apart)
            # What has no tag, or no known session, is not known to be one of these.
            chosen.changes.append(f"({apart.where}) IS NOT TRUE")
            chosen.gaps.append(f"({apart.gaps_where}) IS NOT TRUE")


async def _undo(db: Database, selection: Selection, chosen: Chosen) -> None:
    xid = await db.fetchval("SELECT xid FROM hotrollback.undo WHERE id = $1", selection.undo_id)
    if xid is None:
        raise UnknownUndo(selection.undo_id)
    chosen.redo_of = selection.undo_id
    chosen.both(f"c.xid = {chosen.given(xid)}")


async def _tag(db: Database, selection: Selection, chosen: Chosen) -> None:
    if selection.tag is None:
        return
    for table in ("change", "gap", "command"):
        if await db.fetchval(
            f"SELECT true FROM hotrollback.{table} WHERE tag = $1 LIMIT 1", selection.tag
        ):
            break
    else:
        raise UnknownTag(selection.tag)
    given = chosen.given(selection.tag)
    chosen.changes.append(f"c.tag = {given}")
    # A gap that its own transaction could not hold has no tag: it may be of any of its session's.
    chosen.either(
        f"c.tag = {given}",
        "(c.apart AND EXISTS (SELECT FROM hotrollback.session s"
        " JOIN hotrollback.change w ON w.pid = s.pid AND w.at >= s.started"
        " AND (s.ended IS NULL OR w.at <= s.ended)"
        " WHERE s.pid = c.pid AND s.started <= c.at AND (s.ended IS NULL OR s.ended >= c.at)"
        f" AND w.tag = {given}))",
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
    if chosen.excepted:
        undos = []
    if undos and selection == Selection(xids=(undos[0]["xid"],)):
        chosen.redo_of = undos[0]["id"]
    elif undos:
        raise UndoAmongOthers(undos[0]["xid"])
    known = await db.fetchval(
        "SELECT pg_catalog.array_agg(x) FROM pg_catalog.unnest($1::pg_catalog.int8[]) x"
        " WHERE EXISTS (SELECT FROM hotrollback.change c WHERE c.xid = x)"
        "    OR EXISTS (SELECT FROM hotrollback.gap g WHERE g.xid = x)"
        "    OR EXISTS (SELECT FROM hotrollback.command d WHERE d.xid = x)",
        list(selection.xids),
    )
    for xid in selection.xids:
        if xid not in (known or ()):
            raise UnknownTransaction(xid)
    transactions(chosen, list(selection.xids))


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


async def _application(db: Database, selection: Selection, chosen: Chosen) -> None:
    if selection.application is None:
        return
    if not await db.fetchval(
        "SELECT true FROM hotrollback.session WHERE application_name = $1 LIMIT 1",
        selection.application,
    ):
        raise UnknownApplication(selection.application)
    chosen.both(of_session(f"s.application_name = {chosen.given(selection.application)}"))


# A client's address (s) as one that can be compared; an IPv4 one may have come over IPv6.
_ADDRESS: Final = """(CASE WHEN s.client_addr ~ '^[0-9A-Fa-f:.]+$' THEN pg_catalog.regexp_replace(
    s.client_addr, '^::ffff:(?=[0-9.]+$)', '')::pg_catalog.inet END)"""


async def _address(db: Database, selection: Selection, chosen: Chosen) -> None:
    if selection.address is None:
        return
    try:
        known = await db.fetchval(
            f"SELECT true FROM hotrollback.session s WHERE {_ADDRESS}"
            " OPERATOR(pg_catalog.<<=) $1::pg_catalog.text::pg_catalog.inet LIMIT 1",
            selection.address,
        )
    except Exception as error:
        if sqlstate(error) != "22P02":
            raise
        raise BadFilter(f"{selection.address!r} is no address and no network") from error
    if not known:
        raise UnknownAddress(selection.address)
    given = f"{chosen.given(selection.address)}::pg_catalog.text::pg_catalog.inet"
    chosen.both(of_session(f"{_ADDRESS} OPERATOR(pg_catalog.<<=) {given}"))


async def _statement(db: Database, selection: Selection, chosen: Chosen) -> None:
    if selection.statement is None:
        return
    text = selection.statement
    pattern = text if "%" in text or "_" in text else f"%{text}%"
    given = f"{chosen.given(pattern)}::pg_catalog.text"
    by_text = (
        "c.fingerprint IN (SELECT s.fingerprint FROM hotrollback.statement s"
        f" WHERE s.text ILIKE {given})"
    )
    if not chosen.listed and not await db.fetchval(
        "SELECT EXISTS (SELECT FROM hotrollback.statement s WHERE s.text ILIKE $1)"
        " OR EXISTS (SELECT FROM hotrollback.gap g WHERE g.statement ILIKE $1)",
        pattern,
    ):
        raise UnknownStatement(text)
    chosen.changes.append(by_text)
    unknown = "false" if chosen.listed else "c.fingerprint IS NULL AND c.statement IS NULL"
    chosen.either(f"{by_text} OR c.statement ILIKE {given}", unknown)


async def _fingerprints(_db: Database, selection: Selection, chosen: Chosen) -> None:
    if not selection.fingerprints:
        return
    given = chosen.given(list(selection.fingerprints))
    found = f"c.fingerprint = ANY ({given}::pg_catalog.int8[])"
    chosen.changes.append(found)
    chosen.either(found, "c.fingerprint IS NULL")


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
    if selection.key:
        await by_key(db, selection.tables, selection.key, chosen)
        return
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
    chosen.changes.append(f"{named_} OR {_TOUCHED.format(relids=given)}")
    # A gap whose table is not known may be in any of them.
    chosen.either(f"c.relid = ANY ({given})", "c.relid IS NULL")


# DDL (c) that touched several tables is of none: its images say of which they are.
_TOUCHED: Final = """CASE WHEN c.op = 'S' AND c.relid = 0 THEN EXISTS (
    SELECT FROM (VALUES (c.before), (c.after)) AS i(image)
     CROSS JOIN LATERAL pg_catalog.json_array_elements(
                            i.image OPERATOR(pg_catalog.->) 'components') e
     WHERE (e.value OPERATOR(pg_catalog.->) 'id' OPERATOR(pg_catalog.->>) 3)::pg_catalog.oid
           OPERATOR(pg_catalog.=) ANY ({relids})) ELSE false END"""


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


_SELECTORS: Final = (
    _tag,
    _session,
    _xids,
    times,
    _restore_point,
    _application,
    _address,
    _role,
    _tables,
    _statement,
    _fingerprints,
)
# What is excepted: the field that selects the same, and its selector.
_EXCEPTIONS: Final = {
    "except_tags": ("tag", _tag),
    "except_sessions": ("session", _session),
    "except_xids": ("xids", _xids),
    "except_tables": ("tables", _tables),
    "except_roles": ("role", _role),
    "except_applications": ("application", _application),
}
