"""The rows of an undo, on the server: temporary tables that hold, typed and by the effect's number,
what each row is to be (`want`), what the selection left (`ours`), and what it is now, locked
(`now`). Everything after this works on sets. The tables go with the transaction.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from undo import path
from undo.database import Database, sqlstate
from undo.errors import Refused
from undo.image import (
    Column,
    compared,
    image,
    quote_ident,
    quote_literal,
    read_back,
    same,
    same_value,
)
from undo.log import COMMAND
from undo.stages.chains import Chained
from undo.stages.load import DEAD, Partitions, serial
from undo.stages.rules import Rules
from undo.tables import Family, Tables, equal

Progress = Callable[[str, int, int], None]


@dataclass(slots=True, eq=False)
class Rows:
    """Of one family."""

    family: Family
    n: str  # the column with the effect's number: a name that the table itself has not
    columns: tuple[Column, ...]  # those that all images have: what is compared and written
    lost: tuple[str, ...]  # columns that images have and the table no longer has
    renamed: bool  # one of these is there under another name, or another one under its name
    uneven: bool  # images do not all have the same columns
    ignored: frozenset[str]  # columns that nobody's change of is in the way, and that stay
    effects: str
    want: str = ""
    ours: str = ""
    now: str = ""

    @property
    def settable(self) -> tuple[Column, ...]:
        """By an UPDATE: GENERATED ALWAYS AS IDENTITY takes no value there."""
        return tuple(c for c in self.columns if c.written and c.identity != "a")

    def differ(self, columns: Iterable[str], left: str, right: str) -> str:
        """Whether two rows differ in these columns, byte by byte: generated ones count, too."""
        by_name = {column.name: column for column in self.columns}
        chosen = [by_name[name] for name in columns if name in by_name]
        alike = (
            same_value(c, f"{left}.{quote_ident(c.name)}", f"{right}.{quote_ident(c.name)}")
            for c in chosen
        )
        return f"NOT ({' AND '.join(alike) or 'true'})"

    def text(self, alias: str) -> str:
        """All of a row as one text."""
        parts = ", ".join(compared(c, alias) for c in self.columns if c.written)
        return f"ROW({parts})::pg_catalog.text"


@dataclass(slots=True, eq=False)
class Laid:
    """All effects, and the rows of every family that still exists."""

    changes: str
    table: str  # of the effects; root is null where the table was dropped
    rows: dict[int, Rows] = field(default_factory=dict)  # by root


async def lay_out(
    db: Database, tables: Tables, parts: Partitions, chained: Chained, rules: Rules
) -> Laid:
    laid = Laid(chained.changes, chained.effects)
    roots = await db.fetch(
        f"SELECT DISTINCT e.root::pg_catalog.int8 FROM {laid.table} e WHERE e.active ORDER BY 1"
    )
    oldest, begin = await db.fetchrow(
        f"SELECT pg_catalog.min(c.xid), pg_catalog.min(c.lsn)::pg_catalog.text"
        f"  FROM {laid.changes} c WHERE c.selected"
    )
    for (root,) in roots:
        ignored = rules.ignored.get(root, frozenset())
        family = tables.families[root]
        rows = await _shape(db, family, laid.table, parts, oldest or 0, begin, ignored)
        if ignored:
            await _overlook(db, laid, rows, parts)
        try:
            async with path.theirs(db, root):
                await _typed(db, rows, parts)
        except Exception as error:
            if not (sqlstate(error) or "").startswith("22"):
                raise
            raise Refused(error) from error  # a column has another type by now
        laid.rows[root] = rows
    return laid


_ALTERED: Final = """
SELECT EXISTS (SELECT FROM pg_catalog.pg_attribute a
                WHERE a.attrelid = $1 AND a.attnum > 0
                  AND pg_catalog.age(a.xmin) <= pg_catalog.age(
                      ($2::pg_catalog.int8 & 4294967295)::pg_catalog.text::pg_catalog.xid))
"""
# Names of columns that mean others by now: they were renamed, or dropped and made again.
_RENAMED: Final = f"""
SELECT f.name
  FROM (SELECT DISTINCT ON (x.number) x.number, x.name
          FROM {COMMAND} c
         CROSS JOIN LATERAL (
               SELECT i.id, (i.id OPERATOR(pg_catalog.->>) 2)::pg_catalog.int4 AS number,
                      i.image OPERATOR(pg_catalog.->>) 'name' AS name,
                      i.image OPERATOR(pg_catalog.->>) 'kind' AS kind
                 FROM pg_catalog.json_to_recordset(
                          c.before OPERATOR(pg_catalog.->) 'components')
                      AS i(id pg_catalog.json, image pg_catalog.json)) x
         WHERE c.lsn > $2::pg_catalog.text::pg_catalog.pg_lsn AND NOT {DEAD} AND x.kind = 'column'
           AND (x.id OPERATOR(pg_catalog.->>) 3) = $1::pg_catalog.int8::pg_catalog.text
         ORDER BY x.number, c.lsn) f
  JOIN pg_catalog.pg_attribute a
    ON a.attrelid = $1::pg_catalog.int8::pg_catalog.oid AND a.attnum > 0 AND NOT a.attisdropped
   AND (a.attnum = f.number) <> (a.attname = f.name)
"""


async def _shape(
    db: Database,
    family: Family,
    effects: str,
    parts: Partitions,
    oldest: int,
    begin: str | None,
    ignored: frozenset[str],
) -> Rows:
    """Which columns the images have. Only where the table was altered since may they not be its
    columns now, so that only then all images are looked at."""
    names = {column.name for column in family.columns}
    n = "hotrollback_n"
    while n in names:
        n += "_"
    if not await db.fetchval(_ALTERED, family.root, oldest):
        return Rows(
            family,
            n,
            family.columns,
            (),
            renamed=False,
            uneven=False,
            ignored=ignored,
            effects=effects,
        )
    shapes: list[frozenset[str]] = []
    for part, side, image_column in (
        ("first", "first_place", "before"),
        ("last", "last_place", "after"),
    ):
        for oid, source in parts.items():
            rows = await db.fetch(
                f"SELECT DISTINCT ARRAY(SELECT k FROM pg_catalog.json_object_keys(c.{image_column})"
                f" k ORDER BY 1) AS keys FROM {effects} e JOIN {source} c ON c.ctid = e.{side}"
                f" WHERE e.root = $1 AND e.active AND e.{part}_part = $2"
                f"   AND c.{image_column} IS NOT NULL",
                family.root,
                oid,
            )
            shapes += [frozenset(row["keys"]) for row in rows]
    everywhere = frozenset.intersection(*shapes) if shapes else frozenset(names)
    anywhere = frozenset().union(*shapes)
    virtual = {column.name for column in family.columns if column.virtual}
    moved = anywhere & {row[0] for row in await db.fetch(_RENAMED, family.root, begin)}
    everywhere -= moved
    return Rows(
        family,
        n,
        tuple(c for c in family.columns if c.name in everywhere or c.name in virtual),
        tuple(sorted((anywhere - names) | moved)),
        renamed=bool(moved),
        uneven=any((anywhere - shape) & names - virtual for shape in shapes),
        ignored=ignored,
        effects=effects,
    )


async def _overlook(db: Database, laid: Laid, rows: Rows, parts: Partitions) -> None:
    """Later changes of ignored columns alone are in nobody's way."""
    queries = [
        f"SELECT c.n, c.op = 'U' AND {same(rows.columns, 'b', 'a', ignored=rows.ignored)} AS alike"
        f"  FROM {laid.changes} c JOIN {laid.table} e ON e.n = c.n AND e.root = {rows.family.root}"
        f"  JOIN (SELECT s.n, pg_catalog.min(s.i) AS first FROM {laid.changes} s WHERE s.selected"
        f"         GROUP BY s.n) f ON f.n = c.n AND f.first < c.i"
        f"  JOIN {source} l ON l.ctid = c.place"
        f" CROSS JOIN LATERAL {read_back(rows.columns, 'l.before')} b"
        f" CROSS JOIN LATERAL {read_back(rows.columns, 'l.after')} a"
        f" WHERE c.part = {oid} AND NOT c.selected AND NOT c.dead AND e.later IS NOT NULL"
        for oid, source in parts.items()
    ]
    await db.execute(
        f"UPDATE {laid.table} e SET later = NULL, torn = e.broken"
        f"  FROM (SELECT q.n FROM ({' UNION ALL '.join(queries)}) q GROUP BY q.n"
        f"        HAVING pg_catalog.bool_and(q.alike)) o WHERE o.n = e.n"
    )


async def _keep(db: Database, rows: Rows) -> None:
    """Of rows that are there, ignored columns stay as they are now."""
    kept = [c.name for c in rows.columns if c.name in rows.ignored and c.written]
    if not kept:
        return
    given = ", ".join(f"{quote_ident(name)} = t.{quote_ident(name)}" for name in kept)
    for images in (rows.want, rows.ours):
        await db.execute(
            f"UPDATE {images} x SET {given} FROM {rows.now} m, {rows.family.source} t"
            f" WHERE m.n = x.{rows.n} AND t.tableoid = m.relid AND t.ctid = m.tid"
        )


async def _typed(db: Database, rows: Rows, parts: Partitions) -> None:
    number = next(serial)
    rows.want = await _images(
        db, rows, parts, f"hotrollback_before{number}", "first", "before", "IU"
    )
    rows.ours = await _images(db, rows, parts, f"hotrollback_after{number}", "last", "after", "UD")
    rows.now = f"pg_temp.hotrollback_now{number}"


async def _images(
    db: Database, rows: Rows, parts: Partitions, table: str, which: str, side: str, ops: str
) -> str:
    """A table of typed rows from the images of one side."""
    listed = ", ".join(quote_literal(op) for op in ops)
    queries = [
        f"SELECT e.n AS {rows.n}, r.* FROM {rows.effects} e"
        f" JOIN {source} c ON c.ctid = e.{which}_place"
        f" CROSS JOIN LATERAL {read_back(rows.columns, f'c.{side}')} r"
        f" WHERE e.root = '{rows.family.root}' AND e.{which}_part = '{oid}' AND e.op IN ({listed})"
        for oid, source in parts.items()
    ]
    await db.execute(
        f"CREATE TEMPORARY TABLE {table} ON COMMIT DROP AS {' UNION ALL '.join(queries)};"
        f"ANALYZE pg_temp.{table}"
    )
    return f"pg_temp.{table}"


# -- what is there now ---------------------------------------------------------------------------


async def lock(
    db: Database, laid: Laid, parts: Partitions, progress: Progress, *, hold: bool
) -> None:
    """Find and, with `hold`, lock the row of each effect that has one, in the order of the keys."""
    locking = "FOR UPDATE OF t" if hold else ""
    for done, rows in enumerate(laid.rows.values()):
        progress("lock", done, len(laid.rows))
        await db.execute(
            f"CREATE TEMPORARY TABLE {rows.now.removeprefix('pg_temp.')} ("
            "n pg_catalog.int4, relid pg_catalog.oid, tid pg_catalog.tid, image pg_catalog.json,"
            " fits pg_catalog.bool) ON COMMIT DROP"
        )
        key = rows.family.key
        if key is not None and {c.name for c in rows.columns}.issuperset(key.columns):
            wanted = tuple(c for c in rows.columns if c.name in key.columns)
            await _lock_by_key(db, rows, await _places(db, rows, parts, wanted), locking)
        else:
            places = await _places(db, rows, parts, rows.columns)
            await _lock_by_place(db, rows, places, locking)
        await db.execute(f"ANALYZE {rows.now}")
        if rows.ignored:
            await _keep(db, rows)


async def _places(db: Database, rows: Rows, parts: Partitions, wanted: tuple[Column, ...]) -> str:
    """A FROM item with the rows, in these columns, as they were last recorded: the selection's own
    after-images, but for those that others have changed since. What others deleted is nowhere."""
    there = f"e.root = {rows.family.root} AND e.tail_tid IS NOT NULL"
    if not await db.fetchval(
        f"SELECT EXISTS (SELECT FROM {rows.effects} e WHERE {there} AND e.moved_on)"
    ):
        return rows.ours
    table = f"hotrollback_p{next(serial)}"
    columns = ", ".join(f"o.{quote_ident(c.name)}" for c in wanted if not c.virtual)
    own = (
        f"SELECT o.{rows.n}{', ' if columns else ''}{columns} FROM {rows.ours} o"
        f" JOIN {rows.effects} e ON e.n = o.{rows.n} WHERE {there} AND NOT e.moved_on"
    )
    queries = [
        own,
        *(
            f"SELECT e.n, r.* FROM {rows.effects} e JOIN {source} c ON c.ctid = e.tail_place"
            f" CROSS JOIN LATERAL {read_back(wanted, 'c.after')} r"
            f" WHERE {there} AND e.moved_on AND e.tail_part = {oid} AND e.op IN ('U', 'D')"
            for oid, source in parts.items()
        ),
    ]
    await db.execute(
        f"CREATE TEMPORARY TABLE {table} ON COMMIT DROP AS {' UNION ALL '.join(queries)};"
        f"ANALYZE pg_temp.{table}"
    )
    return f"pg_temp.{table}"


def _found(rows: Rows) -> str:
    """The select list of what is put into `now`: t is the row, o what the selection left."""
    picture = image(rows.family.columns, "t", safe_settings=True)
    fits = same(rows.columns, "t", "o", ignored=rows.ignored)
    return f"t.tableoid, t.ctid, {picture}, {fits}"


async def _lock_by_key(db: Database, rows: Rows, places: str, locking: str) -> None:
    family = rows.family
    key = family.key
    if key is None:
        raise AssertionError("a family without a key")
    order = ", ".join(f"k.{quote_ident(name)}" for name in key.columns)
    await db.execute(
        f"INSERT INTO {rows.now} SELECT k.{rows.n}, {_found(rows)}"
        f"  FROM {places} k JOIN {rows.ours} o ON o.{rows.n} = k.{rows.n}"
        f"  JOIN {family.source} t ON {equal(key.columns, key.operators, 't', 'k')}"
        f" ORDER BY {order} {locking}"
    )


async def _lock_by_place(db: Database, rows: Rows, places: str, locking: str) -> None:
    """Without a key a row is where the log says; or, if the table was rewritten since, it is any
    row that is the same, as often as there are such."""
    heaps = rows.family.heaps
    for relid in heaps:
        source = f"ONLY {heaps[relid].name}"
        await db.execute(
            f"INSERT INTO {rows.now} SELECT e.n, {_found(rows)}"
            f"  FROM {rows.effects} e JOIN {places} k ON k.{rows.n} = e.n"
            f"  JOIN {rows.ours} o ON o.{rows.n} = e.n"
            f"  JOIN {source} t ON t.ctid = e.tail_tid"
            f" WHERE e.root = {rows.family.root} AND e.tail_relid = {relid}"
            f"   AND {same(rows.columns, 't', 'k')}"
            f" ORDER BY e.tail_tid {locking}"
        )
    missing = (
        f"SELECT k.{rows.n} AS n, {rows.text('k')} AS content FROM {places} k"
        f" WHERE k.{rows.n} NOT IN (SELECT m.n FROM {rows.now} m)"
    )
    if not await db.fetchval(f"SELECT EXISTS ({missing})"):
        return
    matches = await db.fetch(
        f"WITH missing AS (SELECT x.n, x.content, pg_catalog.row_number() OVER"
        f"      (PARTITION BY x.content ORDER BY x.n) AS nth FROM ({missing}) x),"
        f" there AS (SELECT x.relid, x.tid, x.content, pg_catalog.row_number() OVER"
        f"      (PARTITION BY x.content ORDER BY x.tid) AS nth FROM ("
        f"      SELECT t.tableoid AS relid, t.ctid AS tid, {rows.text('t')} AS content"
        f"        FROM {rows.family.source} t"
        f"       WHERE (t.tableoid, t.ctid) NOT IN (SELECT m.relid, m.tid FROM {rows.now} m)) x)"
        f" SELECT m.n, t.relid::pg_catalog.int8 AS relid, t.tid FROM missing m"
        f"   JOIN there t ON t.content = m.content AND t.nth = m.nth"
    )
    for relid in heaps:
        here = [match for match in matches if match["relid"] == relid]
        await db.execute(
            f"INSERT INTO {rows.now} SELECT f.n, {_found(rows)}"
            f"  FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.int4[]),"
            f"       pg_catalog.unnest($2::pg_catalog.tid[])) AS f(n, tid)"
            f"  JOIN {rows.ours} o ON o.{rows.n} = f.n"
            f"  JOIN ONLY {heaps[relid].name} t ON t.ctid = f.tid ORDER BY f.tid {locking}",
            [match["n"] for match in here],
            [match["tid"] for match in here],
        )


async def set_aside_unchanged(db: Database, laid: Laid, rows: Rows) -> None:
    """Effects that changed nothing after all: a row that was put back by the selection itself. What
    was written to a column that others have dropped since is gone with it, but not if it is there
    under another name."""
    if rows.renamed:
        return
    await db.execute(
        f"UPDATE {laid.table} e SET active = false FROM {rows.want} w, {rows.ours} o"
        f" WHERE w.{rows.n} = e.n AND o.{rows.n} = e.n AND {same(rows.columns, 'w', 'o')}"
    )


async def drop(db: Database, laid: Laid, numbers: Iterable[int]) -> bool:
    """These effects are left as they are: not applied, and not undone. Whether any was not yet."""
    done = await db.execute(
        f"UPDATE {laid.table} SET active = false, dropped = true"
        f" WHERE n = ANY ($1::pg_catalog.int4[]) AND NOT dropped",
        sorted(numbers),
    )
    return not done.endswith(" 0")


def heaps_of(rows: Mapping[int, Rows]) -> dict[int, Rows]:
    """The rows of a family by each of its tables."""
    return {relid: one for one in rows.values() for relid in one.family.heaps}
