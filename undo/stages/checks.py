"""Rows as they would be, and rules of their table that these would break: CHECK and NOT NULL.

The server looks at them when the rows are written; asked beforehand, they are conflicts of one row.
"""

from collections.abc import Collection
from typing import Final

from undo import path
from undo.database import Database
from undo.image import quote_ident
from undo.stages.rows import Laid, Rows

# With `since`: those that were made after that transaction began.
_CHECKS: Final = """
SELECT k.conname::pg_catalog.text AS name, pg_catalog.pg_get_expr(k.conbin, k.conrelid) AS rule,
       ARRAY(SELECT a.attname::pg_catalog.text FROM pg_catalog.pg_attribute a
              WHERE a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey)) AS columns
  FROM pg_catalog.pg_constraint k
 WHERE k.conrelid = $1 AND k.contype = 'c' AND 0 <> ALL (COALESCE(k.conkey, '{}'))
   AND COALESCE(pg_catalog.to_jsonb(k) ->> 'conenforced', 'true') = 'true'
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a
                    WHERE a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey)
                      AND a.attgenerated <> '')
   AND ($2::pg_catalog.int8 IS NULL OR pg_catalog.age(k.xmin) <= pg_catalog.age(
        ($2::pg_catalog.int8 & 4294967295)::pg_catalog.text::pg_catalog.xid))
 ORDER BY 1
"""
_GENERATED: Final = """
SELECT a.attname::pg_catalog.text, pg_catalog.pg_get_expr(d.adbin, d.adrelid)
  FROM pg_catalog.pg_attribute a
  JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
 WHERE a.attrelid = $1 AND a.attgenerated = 's'
"""


def _becoming(rows: Rows) -> str:
    """A FROM item, under the table's name: rows that are there, as they would be. What images do
    not have stays."""
    ours = {column.name for column in rows.columns}
    values = ", ".join(
        f"{'w' if c.name in ours else 't'}.{quote_ident(c.name)}"
        for c in rows.family.columns
        if not c.virtual
    )
    return (
        f"(SELECT w.{rows.n}, {values} FROM {rows.want} w JOIN {rows.now} m ON m.n = w.{rows.n}"
        f"  JOIN {rows.family.source} t ON t.tableoid = m.relid AND t.ctid = m.tid) hotrollback_t"
    )


async def broken_rules(db: Database, rows: Rows, numbers: Collection[int]) -> dict[int, str]:
    """Of effects whose rows nobody has ever written: the constraint that they break. What is
    generated or asks for the whole row the server looks at."""
    found: dict[int, str] = {}
    for name, rule, _ in await db.fetch(_CHECKS, rows.family.root, None):
        query = (
            f"SELECT {rows.n} FROM {_becoming(rows)}"
            f" WHERE {rows.n} = ANY ($1::pg_catalog.int4[]) AND ({rule}) IS FALSE"
        )
        async with path.theirs(db, rows.family.root):
            broken = await db.fetch(query, sorted(numbers))
        found.update((row[0], name) for row in broken)
    for column in rows.columns:
        if column.not_null and column.written:
            broken = await db.fetch(
                f"SELECT w.{rows.n} FROM {rows.want} w WHERE w.{quote_ident(column.name)} IS NULL"
                f" AND w.{rows.n} = ANY ($1::pg_catalog.int4[])",
                sorted(numbers),
            )
            found.update((row[0], f"NOT NULL of {column.name}") for row in broken)
    return found


async def newly_broken(db: Database, laid: Laid, rows: Rows) -> dict[int, str]:
    """The same of effects whose rows were there once, before the rule was. All in one pass."""
    oldest = await db.fetchval(
        f"SELECT pg_catalog.min(c.xid) FROM {laid.changes} c WHERE c.selected"
    )
    have = {column.name for column in rows.columns}
    rules = [
        (name, f"({rule}) IS FALSE")
        for name, rule, columns in await db.fetch(_CHECKS, rows.family.root, oldest or 0)
        if have.issuperset(columns)
    ]
    rules += [
        (f"NOT NULL of {c.name}", f"hotrollback_t.{quote_ident(c.name)} IS NULL")
        for c in rows.columns
        if c.not_null and c.written
    ]
    if not rules:
        return {}
    first = " ".join(f"WHEN {rule} THEN {number}" for number, (_, rule) in enumerate(rules))
    query = (
        f"SELECT b.n, b.rule FROM ("
        f"SELECT {rows.n} AS n, CASE {first} END AS rule"
        f"  FROM (SELECT w.* FROM {rows.want} w JOIN {rows.effects} e"
        f"        ON e.n = w.{rows.n} AND e.active AND e.op IN ('I', 'U')) hotrollback_t) b"
        f" WHERE b.rule IS NOT NULL"
    )
    async with path.theirs(db, rows.family.root):
        broken = await db.fetch(query)
    return {n: rules[rule][0] for n, rule in broken}


async def generate(db: Database, rows: Rows, numbers: Collection[int]) -> None:
    """Gives generated columns what the server will make of them."""
    have = {column.name for column in rows.columns}
    for name, expression in await db.fetch(_GENERATED, rows.family.root):
        if name in have:
            query = (
                f"UPDATE {rows.want} x SET {quote_ident(name)} = g.value FROM ("
                f"SELECT {rows.n} AS n, ({expression}) AS value FROM {_becoming(rows)}) g"
                f" WHERE g.n = x.{rows.n} AND g.n = ANY ($1::pg_catalog.int4[])"
            )
            async with path.theirs(db, rows.family.root):
                await db.execute(query, sorted(numbers))


async def take_as_ours(db: Database, laid: Laid, numbers: Collection[int]) -> None:
    """From now on the selection seems to have left these rows as they are: what it is asked of
    constraints is what the undo really makes of the row that is there."""
    for rows in laid.rows.values() if numbers else ():
        given = [quote_ident(c.name) for c in rows.columns if not c.virtual]
        names = ", ".join([rows.n, *given])
        values = ", ".join(["m.n", *(f"t.{name}" for name in given)])
        await db.execute(
            f"DELETE FROM {rows.ours} o USING {rows.now} m"
            f" WHERE m.n = o.{rows.n} AND m.n = ANY ($1::pg_catalog.int4[])",
            sorted(numbers),
        )
        await db.execute(
            f"INSERT INTO {rows.ours} ({names}) SELECT {values} FROM {rows.now} m"
            f"  JOIN {rows.family.source} t ON t.tableoid = m.relid AND t.ctid = m.tid"
            f" WHERE m.n = ANY ($1::pg_catalog.int4[])",
            sorted(numbers),
        )
