"""Whether each row is still as the selection left it, and whether who wrote it may have. Finds
`Obstacle`s: an effect's number and why it cannot be applied; `describe` makes conflicts of them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from undo.database import Database
from undo.image import quote_ident, quote_literal
from undo.log import DELETE, INSERT, UPDATE
from undo.model import Change, Conflict, Kind
from undo.request import UndoRequest
from undo.stages.load import Loaded, Partitions
from undo.stages.rows import Laid, Rows
from undo.stages.select import SESSION_OF
from undo.tables import Tables


@dataclass(frozen=True, slots=True)
class Obstacle:
    n: int
    kind: Kind
    found: bool = False  # there is a row now
    by: int | None = None  # position of the change that is in the way
    detail: str = ""
    relid: int | None = None  # of a row of somebody else's in the way, and its place
    tid: tuple[int, int] | None = None


async def row_obstacles(
    db: Database, laid: Laid, loaded: Loaded, request: UndoRequest
) -> list[Obstacle]:
    """What a look at the rows themselves says. An effect has at most one."""
    found: list[Obstacle] = []
    denied: dict[Writer, str] = {} if request.trust_log else await _denied(db, loaded)
    for n, effect in enumerate(laid.effects):
        if not laid.ops[n]:
            continue
        if laid.roots[n] is None:
            found.append(Obstacle(n, Kind.GONE, by=effect.later))
            continue
        writers = [(c.role, c.relid, c.op) for c in map(loaded.changes.__getitem__, effect.changes)]
        refused = [denied[writer] for writer in writers if writer in denied]
        if refused:
            found.append(Obstacle(n, Kind.PRIVILEGE, detail=refused[0]))
    aside = {obstacle.n for obstacle in found}
    for rows in laid.rows.values():
        found += [o for o in await _changed(db, laid, rows) if o.n not in aside]
        aside.update(o.n for o in found)
        found += [o for o in await _misfits(db, rows) if o.n not in aside]
        aside.update(o.n for o in found)
    return found


async def _changed(db: Database, laid: Laid, rows: Rows) -> list[Obstacle]:
    """Rows that are not what the selection left, or that others have written since."""
    query = (
        f"SELECT e.n, e.op::pg_catalog.text AS op, m.n IS NOT NULL AS found, m.fits"
        f"  FROM {rows.effects} e LEFT JOIN {rows.now} m ON m.n = e.n"
        f" WHERE e.root = {rows.family.root} AND e.active"
        f"   AND (e.later OR e.torn OR (e.op <> 'I' AND (m.n IS NULL OR NOT m.fits)))"
    )
    found = []
    for n, op, there, fits in await db.fetch(query):
        effect = laid.effects[n]
        if effect.later is not None:
            kind, detail = Kind.LATER_CHANGE, "the row was changed since"
        elif op != INSERT and not there:
            kind, detail = Kind.MISSING, "the row is gone, and the log does not say why"
        elif op != INSERT and not fits:
            kind, detail = Kind.CHANGED, "the row was changed, and the log does not say by whom"
        else:
            kind, detail = (
                Kind.CHANGED,
                "something that was not recorded changed the row in between",
            )
        found.append(Obstacle(n, kind, bool(there), effect.later, detail))
    return found


async def _misfits(db: Database, rows: Rows) -> list[Obstacle]:
    """Rows that the table, as it is now, cannot take."""
    if not rows.lost and not rows.uneven:
        return []
    ops = "('I', 'U')" if rows.lost else "('I')"
    lost = ", ".join(rows.lost)
    detail = f"column {lost} is gone" if rows.lost else "columns were added in between"
    query = (
        f"SELECT e.n FROM {rows.effects} e"
        f" WHERE e.root = {rows.family.root} AND e.active AND e.op IN {ops}"
    )
    return [Obstacle(row[0], Kind.SCHEMA, detail=detail) for row in await db.fetch(query)]


# -- privileges ------------------------------------------------------------------------------------

Writer = tuple[int, int, str]  # role, relation, operation

# Of every (role, table, operation) in the selection those that the role may not do. A write may
# have come through a table or view above, so that a right there counts, too.
_DENIED: Final = """
WITH RECURSIVE done AS (
    SELECT DISTINCT w.role, w.relid, w.op
      FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.oid[]),
                      pg_catalog.unnest($2::pg_catalog.oid[]),
                      pg_catalog.unnest($3::pg_catalog.text[])) AS w(role, relid, op)
), door(relid, oid) AS (
    SELECT d.relid, c.oid FROM (SELECT DISTINCT relid FROM done) d
      JOIN pg_catalog.pg_class c ON c.oid = d.relid
    UNION
    SELECT d.relid, u.oid
      FROM door d
     CROSS JOIN LATERAL (
           SELECT i.inhparent AS oid FROM pg_catalog.pg_inherits i WHERE i.inhrelid = d.oid
           UNION ALL
           SELECT r.ev_class FROM pg_catalog.pg_depend p
             JOIN pg_catalog.pg_rewrite r ON r.oid = p.objid
            WHERE p.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
              AND p.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
              AND p.refobjid = d.oid AND r.ev_class <> d.oid) AS u(oid)
)
SELECT d.role::pg_catalog.int8, d.relid::pg_catalog.int8, d.op,
       COALESCE((SELECT r.rolname::pg_catalog.text FROM pg_catalog.pg_roles r
                  WHERE r.oid = d.role), '') AS name
  FROM done d
 WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.oid = d.role)
    OR NOT EXISTS (
       SELECT FROM door o
        WHERE o.relid = d.relid
          AND CASE d.op WHEN 'D' THEN pg_catalog.has_table_privilege(d.role, o.oid, 'DELETE')
                   WHEN 'U' THEN pg_catalog.has_any_column_privilege(d.role, o.oid, 'UPDATE')
                   ELSE pg_catalog.has_any_column_privilege(d.role, o.oid, 'INSERT') END)
"""


async def _denied(db: Database, loaded: Loaded) -> dict[Writer, str]:
    """(role, relation, operation) that is not allowed now -> what to say of it."""
    writers = sorted({(change.role, change.relid, change.op) for change in loaded.selected})
    rows = await db.fetch(
        _DENIED,
        [writer[0] for writer in writers],
        [writer[1] for writer in writers],
        [writer[2] for writer in writers],
    )
    verbs = {INSERT: "INSERT", UPDATE: "UPDATE", DELETE: "DELETE"}
    return {
        (role, relid, op): (
            f"role {name} may not {verbs[op]} here (any more)" if name else "its role was dropped"
        )
        + ": the record may be forged; TRUST LOG accepts it"
        for role, relid, op, name in rows
    }


# -- telling ---------------------------------------------------------------------------------------


async def describe(
    db: Database, tables: Tables, parts: Partitions, laid: Laid, loaded: Loaded,
    obstacles: Iterable[Obstacle],
) -> tuple[Conflict, ...]:  # fmt: skip
    """Conflicts as they are reported, in the order of the effects."""
    ordered = sorted(obstacles, key=lambda obstacle: obstacle.n)
    names = await _names(db, loaded, laid, ordered)
    pictures = await _pictures(db, parts, laid, loaded, ordered)
    people = await _people(db, parts, [loaded.changes[o.by] for o in ordered if o.by is not None])
    found = []
    for obstacle in ordered:
        effect = laid.effects[obstacle.n]
        tail = loaded.changes[effect.tail]
        by = loaded.changes[obstacle.by] if obstacle.by is not None else None
        session, tag, at = (
            people.get((by.part, by.place), (None, None, None)) if by else (None,) * 3
        )
        key, before, ours, now = pictures[obstacle.n]
        root = laid.roots[obstacle.n]
        relation = tables.families[root].name if root is not None else names[tail.new_relid]
        found.append(
            Conflict(
                relation,
                key,
                str(obstacle.kind),
                before,
                ours,
                now,
                by.xid if by else None,
                session,
                tag,
                at,
                obstacle.detail,
            )
        )
    return tuple(found)


async def _names(
    db: Database, loaded: Loaded, laid: Laid, obstacles: Sequence[Obstacle]
) -> dict[int, str]:
    """Last known names of dropped relations."""
    relids = {loaded.changes[laid.effects[o.n].tail].new_relid for o in obstacles}
    rows = await db.fetch(
        "SELECT DISTINCT ON (r.relid) r.relid::pg_catalog.int8 AS relid, r.name"
        "  FROM hotrollback.relation r WHERE r.relid = ANY ($1::pg_catalog.oid[])"
        " ORDER BY r.relid, r.seen DESC",
        sorted(relids),
    )
    named = {row["relid"]: row["name"] for row in rows}
    return {relid: named.get(relid, f"relation {relid}") for relid in relids}


Pictures = dict[int, tuple[str | None, str | None, str | None, str | None]]


async def _pictures(
    db: Database, parts: Partitions, laid: Laid, loaded: Loaded, obstacles: Sequence[Obstacle]
) -> Pictures:
    """For each effect its key and the images before, as the selection left it, and as it is now."""
    wanted = sorted({obstacle.n for obstacle in obstacles})
    before = await _logged(db, parts, [loaded.changes[laid.effects[n].first] for n in wanted])
    ours = await _logged(db, parts, [loaded.changes[laid.effects[n].last] for n in wanted])
    now: dict[int, str] = {}
    keys: dict[int, str] = {}
    for rows in laid.rows.values():
        query = f"SELECT m.n, m.image::pg_catalog.text FROM {rows.now} m WHERE m.n = ANY ($1)"
        now.update(dict(await db.fetch(query, wanted)))
        keys.update(await _keys(db, rows, wanted))
    found: Pictures = {}
    for i, n in enumerate(wanted):
        found[n] = (keys.get(n), before[i][0], ours[i][1], now.get(n))
    return found


async def _keys(db: Database, rows: Rows, wanted: list[int]) -> dict[int, str]:
    key = rows.family.key
    if key is None or not {c.name for c in rows.columns}.issuperset(key.columns):
        return {}
    parts = ", ".join(
        f"pg_catalog.format('%s=%s', {quote_literal(name)}, x.{quote_ident(name)})"
        for name in key.columns
    )
    found = {}
    for table in (rows.want, rows.ours):
        query = (
            f"SELECT x.{rows.n}, pg_catalog.concat_ws(', ', {parts}) FROM {table} x"
            f" WHERE x.{rows.n} = ANY ($1)"
        )
        found.update(dict(await db.fetch(query, wanted)))
    return found


async def _logged(
    db: Database, parts: Partitions, changes: Sequence[Change]
) -> list[tuple[str | None, str | None]]:
    """The images of changes."""
    found: dict[tuple[int, tuple[int, int]], tuple[str | None, str | None]] = {}
    for oid, source in parts.items():
        places = [change.place for change in changes if change.part == oid]
        if places:
            rows = await db.fetch(
                f"SELECT c.ctid, c.before::pg_catalog.text, c.after::pg_catalog.text"
                f"  FROM {source} c WHERE c.ctid = ANY ($1::pg_catalog.tid[])",
                places,
            )
            found.update({(oid, tuple(row[0])): (row[1], row[2]) for row in rows})
    return [found[change.part, change.place] for change in changes]


async def _people(
    db: Database, parts: Partitions, changes: Sequence[Change]
) -> dict[tuple[int, tuple[int, int]], tuple[str | None, str | None, datetime | None]]:
    """Session, tag and instant of changes."""
    found = {}
    for oid, source in parts.items():
        places = [change.place for change in changes if change.part == oid]
        if places:
            rows = await db.fetch(
                f"SELECT c.ctid, {SESSION_OF} AS session, c.tag, c.at FROM {source} c"
                f" WHERE c.ctid = ANY ($1::pg_catalog.tid[])",
                places,
            )
            found.update({(oid, tuple(row[0])): (row[1], row[2], row[3]) for row in rows})
    return found
