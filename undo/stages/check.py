"""Whether each row is still as the selection left it, and whether who wrote it may have. Finds
`Obstacle`s: an effect's number and why it cannot be applied; `describe` makes conflicts of them.
"""

from dataclasses import dataclass
from typing import Final

from undo.database import Database
from undo.log import DELETE, INSERT, UPDATE
from undo.model import Kind, Tid
from undo.stages.checks import newly_broken
from undo.stages.rows import Laid, Rows
from undo.tables import ForeignKey

Place = tuple[int, Tid]  # relation and ctid


@dataclass(frozen=True, slots=True)
class Obstacle:
    n: int
    kind: Kind
    found: bool = False  # there is a row now
    by: int | None = None  # number of the change that is in the way
    detail: str = ""
    rows: tuple[Place, ...] = ()  # somebody else's that are in the way, some of them if many
    parent: ForeignKey | None = None  # that is not held


async def row_obstacles(db: Database, laid: Laid, *, trust_log: bool) -> list[Obstacle]:
    """What a look at the rows themselves says. An effect has at most one."""
    found = await _gone(db, laid)
    if not trust_log:
        found += await _denied(db, laid)
    aside = {obstacle.n for obstacle in found}
    for rows in laid.rows.values():
        found += [o for o in await _changed(db, rows) if o.n not in aside]
        aside.update(o.n for o in found)
        found += [o for o in await _misfits(db, rows) if o.n not in aside]
        aside.update(o.n for o in found)
        for n, name in (await newly_broken(db, laid, rows)).items():
            if n not in aside:
                found.append(Obstacle(n, Kind.CHECK, detail=f"as it was, it breaks {name}"))
        aside.update(o.n for o in found)
    return found


async def _gone(db: Database, laid: Laid) -> list[Obstacle]:
    query = f"SELECT e.n, e.later FROM {laid.table} e WHERE e.root IS NULL AND e.op <> ''"
    return [Obstacle(n, Kind.GONE, by=later) for n, later in await db.fetch(query)]


async def _changed(db: Database, rows: Rows) -> list[Obstacle]:
    """Rows that are not what the selection left, or that others have written since."""
    query = (
        f"SELECT e.n, e.op::pg_catalog.text AS op, m.n IS NOT NULL AS found, m.fits, e.later"
        f"  FROM {rows.effects} e LEFT JOIN {rows.now} m ON m.n = e.n"
        f" WHERE e.root = {rows.family.root} AND e.active"
        f"   AND (e.later IS NOT NULL OR e.torn OR (e.op <> 'I' AND (m.n IS NULL OR NOT m.fits)))"
    )
    found = []
    for n, op, there, fits, later in await db.fetch(query):
        if later is not None:
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
        found.append(Obstacle(n, kind, bool(there), later, detail))
    return found


async def _misfits(db: Database, rows: Rows) -> list[Obstacle]:
    """Rows that the table, as it is now, cannot take."""
    if not rows.lost and not rows.uneven:
        return []
    ops = "('I', 'U')" if rows.lost else "('I')"
    lost = ", ".join(rows.lost)
    detail = f"column {lost} is gone" if rows.lost else "columns were added in between"
    if rows.renamed:
        detail += ", or its name is another's by now"
    query = (
        f"SELECT e.n FROM {rows.effects} e"
        f" WHERE e.root = {rows.family.root} AND e.active AND e.op IN {ops}"
    )
    return [Obstacle(row[0], Kind.SCHEMA, detail=detail) for row in await db.fetch(query)]


# -- privileges ------------------------------------------------------------------------------------

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
          AND CASE d.op WHEN 'D' THEN
                        pg_catalog.has_table_privilege(d.role, o.oid, 'DELETE, TRUNCATE')
                   WHEN 'U' THEN pg_catalog.has_any_column_privilege(d.role, o.oid, 'UPDATE')
                   ELSE pg_catalog.has_any_column_privilege(d.role, o.oid, 'INSERT') END)
"""


async def _denied(db: Database, laid: Laid) -> list[Obstacle]:
    """Effects of what their writers may not do now."""
    writers = await db.fetch(
        f"SELECT DISTINCT c.role::pg_catalog.int8, c.relid::pg_catalog.int8,"
        f"       c.op::pg_catalog.text FROM {laid.changes} c WHERE c.selected"
    )
    verbs = {INSERT: "INSERT", UPDATE: "UPDATE", DELETE: "DELETE"}
    found: dict[int, Obstacle] = {}
    columns = [list(column) for column in zip(*writers, strict=True)] or [[], [], []]
    for role, relid, op, name in await db.fetch(_DENIED, *columns):
        said = (
            f"role {name} may not {verbs[op]} here (any more)" if name else "its role was dropped"
        )
        detail = f"{said}: the record may be forged; TRUST LOG accepts it"
        query = (
            f"SELECT DISTINCT e.n FROM {laid.table} e JOIN {laid.changes} c ON c.n = e.n"
            f" WHERE e.active AND c.selected AND c.role = $1 AND c.relid = $2"
            f'   AND c.op = $3::pg_catalog.text::pg_catalog."char"'
        )
        for (n,) in await db.fetch(query, role, relid, op):
            found.setdefault(n, Obstacle(n, Kind.PRIVILEGE, detail=detail))
    return list(found.values())
