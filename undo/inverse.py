"""The statements that write an undo's rows, as text: a handful per table, however many the rows.

Each records itself in the log, which its text tells the table's trigger, and answers how many rows
it wrote and whether they became what they were meant to. Pure. Not: when they are run.
"""

from collections.abc import Iterable
from typing import Final

from undo.image import Column, image, joined, key_hash, quote_ident, quote_literal, same
from undo.log import RECORDS_ITSELF
from undo.stages.rows import Rows

_LOGGED: Final = "relid, op, old_tid, new_tid, key, before, after"


def _recorded(op: str, write: str, fits: str) -> str:
    """A write that answers what the log wants to know of each row, made one that records itself."""
    return (
        f"WITH {RECORDS_ITSELF} AS ({write}),"
        f" l AS (INSERT INTO hotrollback.change ({_LOGGED})"
        f" SELECT x.relid, '{op}', x.old_tid, x.new_tid, x.key, x.before, x.after"
        f" FROM {RECORDS_ITSELF} x)"
        f" SELECT pg_catalog.count(*), {fits} FROM {RECORDS_ITSELF} x"
    )


def _key(rows: Rows, alias: str) -> str:
    return key_hash(rows.family.key_columns, alias) or "NULL::pg_catalog.int4"


def _picture(rows: Rows, alias: str) -> str:
    return image(rows.family.columns, alias, safe_settings=True)


def update(rows: Rows, relid: int) -> str | None:
    """Rows of one table that stay where they are; None if there is nothing that could be set."""
    columns = rows.settable
    if not columns:
        return None
    given = ", ".join(f"{quote_ident(c.name)} = w.{quote_ident(c.name)}" for c in columns)
    name = rows.family.heaps[relid].name
    return _recorded(
        "U",
        f"UPDATE ONLY {name} t SET {given}"
        f" FROM {rows.want} w, {rows.now} m, {rows.effects} e"
        f" WHERE e.n = w.{rows.n} AND m.n = e.n AND e.active AND NOT e.mover AND e.op = 'U'"
        f" AND m.relid = '{relid}' AND t.ctid = m.tid"
        f" RETURNING t.tableoid AS relid, m.tid AS old_tid, t.ctid AS new_tid,"
        f" {_key(rows, 't')} AS key, m.image AS before, {_picture(rows, 't')} AS after,"
        f" {same(rows.columns, 't', 'w')} AS fits",
        "COALESCE(pg_catalog.bool_and(x.fits), true)",
    )


def delete(rows: Rows, relid: int, *, movers: bool) -> str:
    """Rows of one table: those that the selection made, or those that are parked."""
    name = rows.family.heaps[relid].name
    which = "e.op = 'U' AND e.mover" if movers else "e.op = 'D'"
    return _recorded(
        "D",
        f"DELETE FROM ONLY {name} t USING {rows.now} m, {rows.effects} e"
        f" WHERE e.n = m.n AND e.active AND {which} AND m.relid = '{relid}' AND t.ctid = m.tid"
        f" RETURNING t.tableoid AS relid, m.tid AS old_tid, NULL::pg_catalog.tid AS new_tid,"
        f" {_key(rows, 't')} AS key, m.image AS before, NULL::pg_catalog.json AS after",
        "true",
    )


def insert(rows: Rows, *, movers: bool) -> str:
    """Rows of a family: those that the selection deleted, or those that were parked. What was
    written is compared by a sum over the rows, since a row does not say which one it was."""
    which = "e.op = 'U' AND e.mover" if movers else "e.op = 'I'"
    columns = [c for c in rows.columns if c.written]
    names = ", ".join(quote_ident(c.name) for c in columns)
    values = ", ".join(f"w.{quote_ident(c.name)}" for c in columns)
    source = (
        f"FROM {rows.want} w JOIN {rows.effects} e ON e.n = w.{rows.n}"
        f" WHERE e.active AND {which} AND e.root = '{rows.family.root}'"
    )
    head = f"INSERT INTO {rows.family.name} AS t"
    if columns:
        # A value is cast as an assignment does, so that one that no longer fits is seen below.
        head += f" ({names}) OVERRIDING SYSTEM VALUE SELECT {values} {source} ORDER BY e.n"
    else:
        head += f" SELECT {source}"
    total = "COALESCE(pg_catalog.sum(pg_catalog.hashtextextended({}, 0)), 0)"
    wanted = f"(SELECT {total.format(rows.text('w'))} {source})"
    return _recorded(
        "I",
        f"{head} RETURNING t.tableoid AS relid, NULL::pg_catalog.tid AS old_tid, t.ctid AS new_tid,"
        f" {_key(rows, 't')} AS key, NULL::pg_catalog.json AS before,"
        f" {_picture(rows, 't')} AS after, {rows.text('t')} AS content",
        f"{total.format('x.content')} = {wanted}",
    )


# -- for people ------------------------------------------------------------------------------------


def readable(rows: Rows, most: int) -> str:
    """A query for the inverse of each row as a statement of its own, as a person would write it."""
    name = quote_literal(rows.family.name)
    columns = [c for c in rows.columns if c.written]
    wanted = _values(columns, "w")
    names = quote_literal(", ".join(quote_ident(c.name) for c in columns))
    over = " OVERRIDING SYSTEM VALUE" if any(c.identity == "a" for c in columns) else ""
    where = _where(rows, "o")
    changed = [
        f"CASE WHEN {rows.differ([c.name], 'w', 'o')} THEN"
        f" pg_catalog.format('%I = %L', {quote_literal(c.name)}, w.{quote_ident(c.name)}) END"
        for c in columns
    ]
    if columns:
        text = f"INSERT INTO %s (%s){over} VALUES (%s);"
        row = f"pg_catalog.format('{text}', {name}, {names}, {wanted})"
    else:
        row = f"pg_catalog.format('INSERT INTO %s DEFAULT VALUES;', {name})"
    return (
        f"SELECT CASE e.op WHEN 'I' THEN {row}"
        f" WHEN 'D' THEN pg_catalog.format('DELETE FROM %s WHERE %s;', {name}, {where})"
        f" ELSE pg_catalog.format('UPDATE %s SET %s WHERE %s;', {name},"
        f" {joined(changed, ', ')}, {where}) END"
        f" FROM {rows.effects} e LEFT JOIN {rows.want} w ON w.{rows.n} = e.n"
        f" LEFT JOIN {rows.ours} o ON o.{rows.n} = e.n"
        f" WHERE e.active AND e.root = {rows.family.root} ORDER BY e.n LIMIT {most}"
    )


def _values(columns: Iterable[Column], alias: str) -> str:
    parts = [f"pg_catalog.format('%L', {alias}.{quote_ident(c.name)})" for c in columns]
    return joined(parts, ", ")


def _where(rows: Rows, alias: str) -> str:
    """By the key, or by all columns where there is none."""
    key = rows.family.key
    by_name = {column.name for column in rows.columns}
    if key is not None and by_name.issuperset(key.columns):
        names: Iterable[str] = key.columns
    else:
        names = (c.name for c in rows.columns if c.written)
    parts = [
        f"CASE WHEN {alias}.{quote_ident(name)} IS NULL"
        f" THEN pg_catalog.format('%I IS NULL', {quote_literal(name)}) ELSE"
        f" pg_catalog.format('%I = %L', {quote_literal(name)}, {alias}.{quote_ident(name)}) END"
        for name in names
    ]
    return joined(parts, " AND ") if parts else "'true'"
