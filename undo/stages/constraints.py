"""Whether the rows that the undo would make, and those that it would take away, get into the way of
rows that it does not touch: unique values, and foreign keys in both directions.

The server would refuse some of these (and cascade others, unseen); asked beforehand, all of them
are conflicts of the one row that they belong to. Only what is active counts.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from undo import path
from undo.database import Database
from undo.image import quote_ident
from undo.model import Kind
from undo.stages.check import Obstacle
from undo.stages.rows import Laid, Rows
from undo.tables import ForeignKey, Tables, Unique

# Of the rows that refer to one that goes, so many are named.
_NAMED: Final = 1000


@dataclass(slots=True)
class Findings:
    obstacles: list[Obstacle] = field(default_factory=list)
    # Rows that hold a value which another one of the undo's gets, and those others.
    colliding: set[int] = field(default_factory=set)


async def constraint_findings(db: Database, tables: Tables, laid: Laid) -> Findings:
    found = Findings()
    for rows in laid.rows.values():
        for unique in rows.family.uniques:
            await _unique(db, rows, unique, found)
    for key, parent, child in foreign_keys(tables, laid):
        if child is not None:
            found.obstacles += await _parents_missing(db, key, child, parent)
        if parent is not None:
            found.obstacles += await _referenced(db, key, parent, child)
    return found


def foreign_keys(
    tables: Tables, laid: Laid
) -> Iterator[tuple[ForeignKey, Rows | None, Rows | None]]:
    """With the undo's rows of parent and child, where it has any. Those over periods are left to
    the server."""
    for key in tables.foreign_keys:
        if not key.temporal:
            parent = laid.rows.get(tables.roots.get(key.parent, 0))
            child = laid.rows.get(tables.roots.get(key.child, 0))
            yield key, parent, child


def rekeyed(rows: Rows, columns: tuple[str, ...]) -> str:
    """Of effect e: its row gets other values in these columns. Needs want w and ours o."""
    return f"(e.op = 'U' AND {rows.differ(columns, 'w', 'o')})"


def going(rows: Rows, columns: tuple[str, ...], alias: str) -> str:
    """Whether a row (alias, of the family) will no longer have its values in these columns."""
    return (
        f"EXISTS (SELECT FROM {rows.now} m JOIN {rows.effects} e ON e.n = m.n AND e.active"
        f"  LEFT JOIN {rows.want} w ON w.{rows.n} = e.n LEFT JOIN {rows.ours} o ON o.{rows.n} = e.n"
        f" WHERE m.relid = {alias}.tableoid AND m.tid = {alias}.ctid"
        f"   AND (e.op = 'D' OR {rekeyed(rows, columns)}))"
    )


def arriving(rows: Rows, columns: tuple[str, ...], condition: str) -> str:
    """Whether the undo makes a row in the family (w) that fulfils the condition, or gives a row
    these values."""
    return (
        f"EXISTS (SELECT FROM {rows.want} w JOIN {rows.effects} e ON e.n = w.{rows.n} AND e.active"
        f"  LEFT JOIN {rows.ours} o ON o.{rows.n} = e.n"
        f" WHERE (e.op = 'I' OR {rekeyed(rows, columns)}) AND {condition})"
    )


def has(rows: Rows, columns: tuple[str, ...]) -> bool:
    return {column.name for column in rows.columns}.issuperset(columns)


async def _unique(db: Database, rows: Rows, unique: Unique, found: Findings) -> None:
    """A value that a row gets back belongs to another row now."""
    if not has(rows, unique.columns):
        return
    family = rows.family
    source = family.source
    if unique.relid != family.root:
        source = f"ONLY {family.heaps[unique.relid].name}"
    query = (
        f"SELECT e.n, e.op = 'I' AS comes, t.tableoid::pg_catalog.int8 AS relid, t.ctid AS tid,"
        f"       (SELECT m.n FROM {rows.now} m WHERE m.relid = t.tableoid AND m.tid = t.ctid"
        f"         LIMIT 1) AS mine,"
        f"       {going(rows, unique.columns, 't')} AS going"
        f"  FROM {rows.effects} e JOIN {unique.item(rows.want, 'w')} ON w.{rows.n} = e.n"
        f"  LEFT JOIN {rows.ours} o ON o.{rows.n} = e.n"
        f"  JOIN {unique.item(source, 't')} ON {unique.clash('t', 'w')}"
        f" WHERE e.active AND e.root = '{family.root}'"
        f"   AND (e.op = 'I' OR {rekeyed(rows, unique.columns)})"
        f"   AND NOT EXISTS (SELECT FROM {rows.now} s WHERE s.n = e.n"
        f"                      AND s.relid = t.tableoid AND s.tid = t.ctid)"
    )
    its = f"value in {unique.name}" if unique.made else ", ".join(unique.columns)
    async with path.theirs(db, family.root):
        clashes = await db.fetch(query)
    for n, comes, relid, tid, mine, leaves in clashes:
        if leaves:
            found.colliding.update((n, mine))
        else:
            # One that is there already cannot become the other one, too.
            kind = Kind.OCCUPIED if unique is family.key and comes else Kind.UNIQUE
            detail = f"another row has its {its} now"
            found.obstacles.append(Obstacle(n, kind, detail=detail, rows=((relid, tuple(tid)),)))


def paired(key: ForeignKey, parent: str, child: str) -> str:
    """Whether a parent's row has what a child's row refers to."""
    return " AND ".join(
        f"{parent}.{quote_ident(p)} {operator} {child}.{quote_ident(c)}"
        for p, operator, c in zip(key.parent_columns, key.operators, key.child_columns, strict=True)
    )


def _refers(key: ForeignKey, alias: str) -> str:
    """A row with a NULL in the key refers to nothing."""
    return " AND ".join(f"{alias}.{quote_ident(c)} IS NOT NULL" for c in key.child_columns)


async def _parents_missing(
    db: Database, key: ForeignKey, child: Rows, parent: Rows | None
) -> list[Obstacle]:
    """A row that comes back, or refers to what it did before, finds nothing there. What it finds
    is locked, as the server would."""
    if not has(child, key.child_columns):
        return []
    stays = f"AND NOT {going(parent, key.parent_columns, 'p')}" if parent is not None else ""
    comes = ""
    if parent is not None and has(parent, key.parent_columns):
        comes = f" AND NOT {arriving(parent, key.parent_columns, paired(key, 'w', 'x'))}"
    heaps = ", ".join(map(str, sorted(key.child_heaps)))
    referring = (
        f"SELECT x.* FROM {child.want} x"
        f"  JOIN {child.effects} e ON e.n = x.{child.n} AND e.active"
        f"  LEFT JOIN {child.ours} o ON o.{child.n} = e.n"
        f" WHERE e.root = {child.family.root} AND e.first_relid IN ({heaps})"
        f"   AND (e.op = 'I' OR (e.op = 'U' AND {child.differ(key.child_columns, 'x', 'o')}))"
        f"   AND {_refers(key, 'x')}"
    )
    await db.execute(
        f"SELECT FROM {key.parent_name} p WHERE EXISTS (SELECT FROM ({referring}) x"
        f" WHERE {paired(key, 'p', 'x')}) FOR KEY SHARE OF p"
    )
    query = (
        f"SELECT x.{child.n} FROM ({referring}) x"
        f" WHERE NOT EXISTS (SELECT FROM {key.parent_name} p"
        f"                    WHERE {paired(key, 'p', 'x')} {stays}){comes}"
    )
    parent_name = key.parent_name.removeprefix("ONLY ")
    detail = f"what it refers to in {parent_name} is gone ({key.name})"
    return [
        Obstacle(n, Kind.PARENT_MISSING, detail=detail, parent=key)
        for (n,) in await db.fetch(query)
    ]


async def _referenced(
    db: Database, key: ForeignKey, parent: Rows, child: Rows | None
) -> list[Obstacle]:
    """Rows that stay refer to one that goes, whatever the foreign key would do about it."""
    if not has(parent, key.parent_columns):
        return []
    stays = f"AND NOT {going(child, key.child_columns, 'c')}" if child is not None else ""
    again = arriving(parent, key.parent_columns, _same_key(key, "w", "x"))
    query = (
        f"SELECT x.{parent.n}, pg_catalog.count(*),"
        f"       (pg_catalog.array_agg(c.tableoid::pg_catalog.int8))[1:{_NAMED}],"
        f"       (pg_catalog.array_agg(c.ctid))[1:{_NAMED}]"
        f"  FROM {parent.ours} x"
        f"  JOIN {parent.effects} e ON e.n = x.{parent.n} AND e.active"
        f"  LEFT JOIN {parent.want} w ON w.{parent.n} = e.n"
        f"  JOIN {key.child_name} c ON {paired(key, 'x', 'c')}"
        f" WHERE e.root = {parent.family.root}"
        f"   AND (e.op = 'D' OR (e.op = 'U' AND {parent.differ(key.parent_columns, 'w', 'x')}))"
        f"   {stays} AND NOT {again}"
        f" GROUP BY 1"
    )
    child_name = key.child_name.removeprefix("ONLY ")
    return [
        Obstacle(
            n,
            Kind.REFERENCED,
            detail=f"{rows} rows of {child_name} refer to it ({key.name})",
            rows=tuple(zip(relids, map(tuple, tids), strict=True)),
        )
        for n, rows, relids, tids in await db.fetch(query)
    ]


def _same_key(key: ForeignKey, left: str, right: str) -> str:
    return " AND ".join(
        f"{left}.{quote_ident(c)} IS NOT DISTINCT FROM {right}.{quote_ident(c)}"
        for c in key.parent_columns
    )


async def broken(db: Database, tables: Tables, laid: Laid, unchecked: set[int]) -> list[str]:
    """After the rows were written with the server's own checks off in some families: the
    constraints that do not hold, for the rows that were written."""
    found: list[str] = []
    for key, parent, child in foreign_keys(tables, laid):
        queries = []
        if child is not None and child.family.root in unchecked and has(child, key.child_columns):
            queries.append(
                f"SELECT EXISTS (SELECT FROM {child.want} x"
                f"  JOIN {child.effects} e ON e.n = x.{child.n} AND e.active AND e.op <> 'D'"
                f" WHERE e.first_relid = ANY (ARRAY[{', '.join(map(str, key.child_heaps))}]::"
                f"pg_catalog.oid[]) AND {_refers(key, 'x')} AND NOT EXISTS ("
                f"SELECT FROM {key.parent_name} p WHERE {paired(key, 'p', 'x')}))"
            )
        if parent is not None and parent.family.root in unchecked:
            queries.append(
                f"SELECT EXISTS (SELECT FROM {parent.ours} x"
                f"  JOIN {parent.effects} e ON e.n = x.{parent.n} AND e.active"
                f"  JOIN {key.child_name} c ON {paired(key, 'x', 'c')}"
                f" WHERE NOT EXISTS (SELECT FROM {key.parent_name} p"
                f"                    WHERE {paired(key, 'p', 'c')}))"
            )
        failed = [await db.fetchval(query) for query in queries]
        if any(failed):
            found.append(f"foreign key {key.name}")
    for root in unchecked:
        rows = laid.rows[root]
        found += [
            f"unique constraint {unique.name}"
            for unique in rows.family.uniques
            if not unique.immediate and await _doubled(db, rows, unique)
        ]
    return found


async def _doubled(db: Database, rows: Rows, unique: Unique) -> bool:
    if not has(rows, unique.columns):
        return False
    query = (
        f"SELECT EXISTS (SELECT FROM {unique.item(rows.want, 'w')}"
        f"  JOIN {rows.effects} e ON e.n = w.{rows.n} AND e.active AND e.op <> 'D'"
        f"  JOIN {unique.item(rows.family.source, 't')} ON {unique.clash('t', 'w')}"
        f" GROUP BY w.{rows.n} HAVING pg_catalog.count(*) > 1)"
    )
    async with path.theirs(db, rows.family.root):
        return bool(await db.fetchval(query))
