"""Rows that others have changed since, taken apart by columns: what only the selection changed
becomes what it was, what others changed after it stays.

Of each column it is asked who changed it last. If it was the selection, it gets the value from
before the last of these changes in a row; if it was somebody else, or if the row no longer has what
the selection left there, it stays as it is now.
"""

from collections.abc import Collection
from dataclasses import dataclass, field

from undo.database import Database
from undo.image import Column, joined, quote_ident, quote_literal, read_back, same_value
from undo.stages.checks import broken_rules, generate, take_as_ours
from undo.stages.load import Partitions, serial
from undo.stages.rows import Laid, Rows


@dataclass(slots=True)
class Merged:
    """Effects by number."""

    left: set[int] = field(default_factory=set)  # nothing of them is to be taken back
    kept: dict[int, str] = field(default_factory=dict)  # columns that stay as others made them
    broken: dict[int, str] = field(default_factory=dict)  # and the constraint


async def merge(db: Database, laid: Laid, parts: Partitions, numbers: Collection[int]) -> Merged:
    """Changes what these effects, updates of rows that are there, are to make of their rows."""
    merged = Merged()
    for rows in laid.rows.values():
        columns = [c for c in rows.columns if c.written]
        if not columns:
            continue
        table = await _steps(db, laid, rows, columns, parts, numbers)
        await _take_apart(db, rows, columns, table, merged)
        await generate(db, rows, numbers)
        merged.broken.update(await broken_rules(db, rows, numbers))
    await take_as_ours(db, laid, numbers)
    return merged


async def _steps(
    db: Database,
    laid: Laid,
    rows: Rows,
    columns: list[Column],
    parts: Partitions,
    numbers: Collection[int],
) -> str:
    """What every change of the chains did to every column: its values before (b0, b1, ..) and
    after (a0, ..), and whether they differ (d0, ..). What was undone is not there."""
    table = f"hotrollback_s{next(serial)}"
    values = _each(columns, "b.{0} AS b{1}, a.{0} AS a{1}, NOT {2} AS d{1}", "b.{0}", "a.{0}")
    queries = [
        f"SELECT c.n, c.i, c.selected, {values} FROM {laid.changes} c"
        f"  JOIN {rows.effects} e ON e.n = c.n AND e.root = {rows.family.root}"
        f"  JOIN {source} l ON l.ctid = c.place"
        f" CROSS JOIN LATERAL {read_back(columns, 'l.before')} b"
        f" CROSS JOIN LATERAL {read_back(columns, 'l.after')} a"
        f" WHERE c.part = {oid} AND c.op = 'U' AND NOT c.dead AND c.n = ANY ($1::pg_catalog.int4[])"
        for oid, source in parts.items()
    ]
    await db.execute(
        f"CREATE TEMPORARY TABLE {table} ON COMMIT DROP AS {' UNION ALL '.join(queries)}",
        sorted(numbers),
    )
    await db.execute(f"CREATE INDEX ON pg_temp.{table} (i); ANALYZE pg_temp.{table}")
    return f"pg_temp.{table}"


def _each(columns: list[Column], text: str, left: str = "", right: str = "", by: str = ", ") -> str:
    """The text for every column: {0} its name, {1} its number, {2} whether two values are one."""
    return by.join(
        text.format(
            quote_ident(column.name),
            k,
            *(same_value(column, *(v.format(quote_ident(column.name), k) for v in (left, right))),),
        )
        for k, column in enumerate(columns)
    )


async def _take_apart(
    db: Database, rows: Rows, columns: list[Column], steps: str, merged: Merged
) -> None:
    """Of a row (t): mN is what it becomes, tN what it is; xN: it is set back; yN: it is not,
    although the selection changed it."""
    table = f"hotrollback_m{next(serial)}"
    found = "(SELECT s.{2}{1} FROM " + steps + " s WHERE s.i = p.{3}{1})"
    left = found.replace("{2}", "a").replace("{3}", "e")
    before = found.replace("{2}", "b").replace("{3}", "f")
    mine = "s.selected AND s.d{1} AND (o.o{1} IS NULL OR s.i > o.o{1})"
    await db.execute(
        f"CREATE TEMPORARY TABLE {table} ON COMMIT DROP AS"
        f" WITH others AS (SELECT s.n, "
        + _each(columns, "pg_catalog.max(s.i) FILTER (WHERE NOT s.selected AND s.d{1}) AS o{1}")
        + f" FROM {steps} s GROUP BY s.n), picks AS (SELECT s.n, "
        + _each(
            columns,
            f"pg_catalog.min(s.i) FILTER (WHERE {mine}) AS f{{1}},"
            f" pg_catalog.max(s.i) FILTER (WHERE {mine}) AS e{{1}},"
            f" pg_catalog.bool_or(s.selected AND s.d{{1}}) AS c{{1}}",
        )
        + f" FROM {steps} s JOIN others o ON o.n = s.n GROUP BY s.n)"
        f" SELECT p.n, "
        + _each(
            columns,
            f"t.{{0}} AS t{{1}}, q.x{{1}}, p.c{{1}} AND NOT q.x{{1}} AS y{{1}},"
            f" CASE WHEN q.x{{1}} THEN {before} ELSE t.{{0}} END AS m{{1}}",
        )
        + f" FROM picks p JOIN {rows.now} m ON m.n = p.n"
        f"  JOIN {rows.family.source} t ON t.tableoid = m.relid AND t.ctid = m.tid"
        f" CROSS JOIN LATERAL (SELECT "
        + _each(columns, "p.f{1} IS NOT NULL AND {2} AS x{1}", "t.{0}", left)
        + ") q"
    )
    taken, kept = _each(columns, "m.x{1}", by=" OR "), _each(columns, "m.y{1}", by=" OR ")
    names = joined(
        (f"CASE WHEN m.y{k} THEN {quote_literal(c.name)} END" for k, c in enumerate(columns)), ", "
    )
    for n, some, others in await db.fetch(
        f"SELECT m.n, {taken}, CASE WHEN {kept} THEN {names} END"
        f"  FROM pg_temp.{table} m WHERE {kept} OR NOT ({taken})"
    ):
        if not some:
            merged.left.add(n)
        if others:
            merged.kept[n] = others
    await _rewrite(db, rows, columns, f"pg_temp.{table}")


async def _rewrite(db: Database, rows: Rows, columns: list[Column], table: str) -> None:
    """The row stays in its partition, unless what is set back moves it."""
    given = _each(columns, "{0} = m.m{1}")
    await db.execute(f"UPDATE {rows.want} x SET {given} FROM {table} m WHERE m.n = x.{rows.n}")
    await db.execute(f"UPDATE {rows.now} x SET fits = true FROM {table} m WHERE m.n = x.n")
    await db.execute(
        f"UPDATE {rows.effects} x SET first_relid = l.relid, mover = $1"
        f"  FROM {table} m JOIN {rows.now} l ON l.n = m.n WHERE m.n = x.n",
        rows.family.partitioned,
    )
