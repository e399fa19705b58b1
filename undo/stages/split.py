"""Which rows of an undo go in one transaction and which later, so that all constraints hold in
between: the newest first, each with whatever of the others it cannot go without.

A row that comes back needs the rows it refers to; one that goes needs those gone that refer to it;
a unique value has to be given up before another row has it. Whatever a row needs goes in the same
batch or an earlier one, which therefore may be larger than was asked for.
"""

from dataclasses import dataclass
from typing import Final

from undo.database import Database
from undo.stages.constraints import foreign_keys, has, paired, rekeyed
from undo.stages.load import serial
from undo.stages.rows import Laid, Rows
from undo.stages.settle import Settled
from undo.tables import ForeignKey, Tables, Unique


@dataclass(frozen=True, slots=True)
class Batch:
    number: int
    rows: int


@dataclass(frozen=True, slots=True)
class Split:
    """In a temporary table of the session: what is later recorded by others is in no batch."""

    table: str  # batch, xid, lsn
    batches: tuple[Batch, ...]

    async def listed(self, db: Database, number: int) -> str:
        """A condition on changes (c); the bounds are for the index of the log."""
        low, high = await db.fetchrow(
            f"SELECT pg_catalog.min(s.lsn)::pg_catalog.text, pg_catalog.max(s.lsn)::pg_catalog.text"
            f"  FROM {self.table} s WHERE s.batch = $1",
            number,
        )
        return (
            f"c.lsn BETWEEN '{low}' AND '{high}' AND (c.xid, c.lsn) IN"
            f" (SELECT s.xid, s.lsn FROM {self.table} s WHERE s.batch = {number})"
        )

    async def join(self, db: Database, number: int, to: int) -> None:
        await db.execute(f"UPDATE {self.table} SET batch = $2 WHERE batch = $1", number, to)

    async def drop(self, db: Database) -> None:
        await db.execute(f"DROP TABLE IF EXISTS {self.table}")


# What is left alone is in none. A row that is deleted again is as old as its insertion: what refers
# to it is younger. Transactions that are taken along go whole, and therefore first.
_PLACED: Final = """
CREATE TEMPORARY TABLE {placed} ON COMMIT DROP AS
SELECT e.n, CASE WHEN x.along THEN 0 ELSE
           (pg_catalog.row_number() OVER (ORDER BY CASE e.op WHEN 'D' THEN x.first ELSE x.last END
                                              DESC) - 1) / $1::pg_catalog.int8 END AS batch
  FROM {effects} e
  JOIN (SELECT c.n, pg_catalog.min(c.i) AS first, pg_catalog.max(c.i) AS last,
               pg_catalog.bool_or(c.xid = ANY ($2::pg_catalog.int8[])) AS along
          FROM {changes} c WHERE c.selected AND NOT c.again GROUP BY c.n) x ON x.n = e.n
 WHERE NOT e.dropped
"""
# a needs b. Each round follows one need more.
_EARLIER: Final = """
UPDATE {placed} p SET batch = x.batch
  FROM (SELECT d.b, pg_catalog.min(q.batch) AS batch
          FROM {needs} d JOIN {placed} q ON q.n = d.a GROUP BY d.b) x
 WHERE x.b = p.n AND x.batch < p.batch
"""
# What was recorded twice goes with its twin.
_SPLIT: Final = """
CREATE TEMPORARY TABLE {split} AS
SELECT p.batch, c.xid, c.lsn FROM {changes} c JOIN {placed} p ON p.n = c.n
 WHERE c.selected AND NOT c.again
 UNION ALL
SELECT p.batch, c.xid, c.lsn
  FROM {changes} c
 CROSS JOIN LATERAL (
       SELECT p.batch FROM {changes} t JOIN {placed} p ON p.n = t.n
        WHERE t.selected AND NOT t.again AND t.xid = c.xid AND t.relid = c.relid AND t.op = c.op
          AND t.old_tid IS NOT DISTINCT FROM c.old_tid
          AND t.new_tid IS NOT DISTINCT FROM c.new_tid
        LIMIT 1) p
 WHERE c.selected AND c.again
"""


async def split(db: Database, settled: Settled, rows: int, along: frozenset[int]) -> Split:
    """Into batches of about so many rows, when it is decided what is done to each."""
    number, laid = next(serial), settled.laid
    bare = {name: f"hotrollback_{name}{number}" for name in ("placed", "needs", "split")}
    names = {name: f"pg_temp.{table}" for name, table in bare.items()}
    await db.execute(
        _PLACED.format(placed=bare["placed"], effects=laid.table, changes=laid.changes),
        rows,
        sorted(along),
    )
    await db.execute(
        f"CREATE TEMPORARY TABLE {bare['needs']} (a pg_catalog.int4, b pg_catalog.int4)"
        f" ON COMMIT DROP"
    )
    for query in _needs(settled.tables, laid):
        await db.execute(f"INSERT INTO {names['needs']} {query}")
    await db.execute(f"ANALYZE {names['placed']}; ANALYZE {names['needs']}")
    moved = ""
    while not moved.endswith(" 0"):
        moved = await db.execute(_EARLIER.format(**names))
    await db.execute(
        _SPLIT.format(split=bare["split"], placed=names["placed"], changes=laid.changes)
    )
    await db.execute(
        f"CREATE INDEX ON {names['split']} (batch, xid, lsn); ANALYZE {names['split']}"
    )
    found = await db.fetch(
        f"SELECT p.batch, pg_catalog.count(*) FROM {names['placed']} p GROUP BY 1 ORDER BY 1"
    )
    return Split(names["split"], tuple(Batch(*row) for row in found))


# -- what needs what -------------------------------------------------------------------------------


def _needs(tables: Tables, laid: Laid) -> list[str]:
    """Queries for pairs of effects."""
    found = []
    referenced = set()
    for key, parent, child in foreign_keys(tables, laid):
        if parent is None or not has(parent, key.parent_columns):
            continue
        referenced.add((parent.family.root, frozenset(key.parent_columns)))
        if child is not None and has(child, key.child_columns):
            found += [_to_refer(key, parent, child), _to_go(key, parent, child)]
    for root, rows in laid.rows.items():
        for unique in rows.family.uniques:
            if has(rows, unique.columns):
                found.append(_to_have(rows, unique, f"x.{rows.n}, y.n"))
                if (root, frozenset(unique.columns)) in referenced and not unique.made:
                    # Who refers to the value must find it again.
                    found.append(_to_have(rows, unique, f"y.n, x.{rows.n}"))
    return found


def _arrives(rows: Rows, columns: tuple[str, ...]) -> str:
    """A FROM item: what comes with values of its own in these columns."""
    return (
        f"(SELECT w.* FROM {rows.want} w"
        f"  JOIN {rows.effects} e ON e.n = w.{rows.n} AND e.active"
        f"  LEFT JOIN {rows.ours} o ON o.{rows.n} = e.n"
        f" WHERE e.op = 'I' OR {rekeyed(rows, columns)})"
    )


def _leaves(rows: Rows, columns: tuple[str, ...]) -> str:
    """A FROM item: the number and the place of what loses its values in these columns."""
    return (
        f"(SELECT e.n, m.relid, m.tid FROM {rows.now} m"
        f"  JOIN {rows.effects} e ON e.n = m.n AND e.active"
        f"  LEFT JOIN {rows.want} w ON w.{rows.n} = e.n LEFT JOIN {rows.ours} o ON o.{rows.n} = e.n"
        f" WHERE e.op = 'D' OR {rekeyed(rows, columns)})"
    )


def _to_refer(key: ForeignKey, parent: Rows, child: Rows) -> str:
    return (
        f"SELECT x.{child.n}, y.{parent.n} FROM {_arrives(child, key.child_columns)} x"
        f"  JOIN {_arrives(parent, key.parent_columns)} y ON {paired(key, 'y', 'x')}"
        f" WHERE x.{child.n} <> y.{parent.n}"
    )


def _to_go(key: ForeignKey, parent: Rows, child: Rows) -> str:
    return (
        f"SELECT x.n, y.n FROM {_leaves(parent, key.parent_columns)} x"
        f"  JOIN {parent.family.source} p ON p.tableoid = x.relid AND p.ctid = x.tid"
        f"  JOIN {key.child_name} c ON {paired(key, 'p', 'c')}"
        f"  JOIN {_leaves(child, key.child_columns)} y ON y.relid = c.tableoid AND y.tid = c.ctid"
        f" WHERE x.n <> y.n"
    )


def _to_have(rows: Rows, unique: Unique, pair: str) -> str:
    source = rows.family.source
    if unique.relid != rows.family.root:
        source = f"ONLY {rows.family.heaps[unique.relid].name}"
    return (
        f"SELECT {pair} FROM {unique.item(_arrives(rows, unique.columns), 'x')}"
        f"  JOIN {unique.item(source, 't')} ON {unique.clash('t', 'x')}"
        f"  JOIN {_leaves(rows, unique.columns)} y ON y.relid = t.tableoid AND y.tid = t.ctid"
        f" WHERE x.{rows.n} <> y.n"
    )
