"""Whose transactions stand in the way, so that they can be taken back, too."""

from collections.abc import Collection
from typing import Final

from undo.database import Database
from undo.image import COLUMNS_SQL, quote_ident, read_back, read_columns
from undo.model import Along
from undo.stages.check import Obstacle
from undo.stages.chosen import SESSION_OF
from undo.stages.constraints import paired
from undo.stages.load import DEAD
from undo.stages.rows import Laid
from undo.tables import ForeignKey, Tables

# Who wrote the version of a row that would be there, and has not been taken back: the one that is
# there now, or, of a row that the undo itself sets back, the one that it is set back to.
_WRITER: Final = f"""
WITH places AS (
    SELECT w.k, w.n, w.relid, w.tid
      FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.int4[]),
                      pg_catalog.unnest($2::pg_catalog.oid[]),
                      pg_catalog.unnest($3::pg_catalog.tid[]))
           WITH ORDINALITY AS w(n, relid, tid, k)
), versions AS (
    SELECT p.k, p.n, f.lsn,
           COALESCE(f.relid, p.relid) AS relid, COALESCE(f.old_tid, p.tid) AS tid
      FROM places p
      LEFT JOIN {{effects}} e ON e.tail_relid = p.relid AND e.tail_tid = p.tid AND e.active
      LEFT JOIN (SELECT DISTINCT ON (c.n) c.n, c.relid, c.old_tid, c.lsn FROM {{changes}} c
                  WHERE c.selected ORDER BY c.n, c.i) f ON f.n = e.n
), writers AS (
    SELECT DISTINCT ON (v.k) v.n, c.xid, {DEAD} AS dead
      FROM versions v
      JOIN hotrollback.change c
        ON COALESCE(c.new_relid, c.relid) = v.relid AND c.new_tid = v.tid
       AND (v.lsn IS NULL OR c.lsn < v.lsn)
     ORDER BY v.k, c.lsn DESC
)
SELECT w.n, w.xid FROM writers w WHERE NOT w.dead
"""

# Who deleted a row that a row of the undo refers to, or gave it another key.
_ORPHANED: Final = """
SELECT x.n, c.xid
  FROM {referring} x
 CROSS JOIN LATERAL (
       SELECT c.xid, {dead} AS dead FROM hotrollback.change c
        CROSS JOIN LATERAL {parent} p
        WHERE c.relid = ANY ($1::pg_catalog.oid[]) AND c.op IN ('D', 'U') AND {same}
        ORDER BY c.lsn DESC LIMIT 1) AS c
 WHERE x.n = ANY ($2::pg_catalog.int4[]) AND NOT c.dead
"""

Ways = list[tuple[int, int]]  # the number of an effect, and a transaction that is in its way


async def in_the_way(
    db: Database, tables: Tables, laid: Laid, obstacles: Collection[Obstacle]
) -> Ways:
    """Not of what nobody has recorded, or has been taken back."""
    changes = {o.by: o.n for o in obstacles if o.by is not None}
    rows = await db.fetch(
        f"SELECT c.i, c.xid FROM {laid.changes} c WHERE c.i = ANY ($1::pg_catalog.int4[])",
        sorted(changes),
    )
    found = [(changes[i], xid) for i, xid in rows]
    places = [(o.n, *place) for o in obstacles if o.by is None for place in o.rows]
    writer = _WRITER.format(effects=laid.table, changes=laid.changes)
    columns = [list(column) for column in zip(*places, strict=True)] or [[], [], []]
    found += [(n, xid) for n, xid in await db.fetch(writer, *columns)]
    for key in {o.parent for o in obstacles if o.parent is not None}:
        found += await _orphaned(db, tables, laid, key, [o.n for o in obstacles if o.parent == key])
    return found


async def _orphaned(
    db: Database, tables: Tables, laid: Laid, key: ForeignKey, numbers: list[int]
) -> Ways:
    child = laid.rows[tables.roots[key.child]]
    known = read_columns([tuple(row) for row in await db.fetch(COLUMNS_SQL, [key.parent])])
    parents = [c for c in known.get(key.parent, ()) if c.name in key.parent_columns]
    columns = ", ".join(quote_ident(name) for name in key.child_columns)
    query = _ORPHANED.format(
        referring=f"(SELECT {child.n} AS n, {columns} FROM {child.want})",
        dead=DEAD,
        parent=read_back(parents, "c.before"),
        same=paired(key, "p", "x"),
    )
    return [(n, xid) for n, xid in await db.fetch(query, sorted(key.parent_heaps), numbers)]


async def told(db: Database, xids: Collection[int]) -> tuple[Along, ...]:
    """Of transactions what a report says of them."""
    rows = await db.fetch(
        f"SELECT DISTINCT ON (c.xid) c.xid, c.at, {SESSION_OF} AS session, c.tag"
        f"  FROM (SELECT * FROM hotrollback.change WHERE xid BETWEEN $2 AND $3"
        f"         UNION ALL SELECT * FROM hotrollback.command WHERE xid BETWEEN $2 AND $3) c"
        f" WHERE c.xid = ANY ($1::pg_catalog.int8[]) ORDER BY c.xid, c.lsn",
        sorted(xids),
        min(xids),
        max(xids),
    )
    return tuple(Along(*row) for row in rows)
