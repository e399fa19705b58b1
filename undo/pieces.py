"""Pieces of SQL of the script of an undo, and of the queries that make it. Pure."""

from collections.abc import Iterable

from undo.image import Column, ColumnKind, quote_ident, quote_literal, read_back, same, same_value
from undo.stages.rows import Rows
from undo.tables import equal


def checked(what: str, count: int, fits: str) -> str:
    done = "(SELECT pg_catalog.count(*) FROM done)"
    return f"SELECT pg_temp.hotrollback_check({what}, {done}, {count}, {fits});\n"


def summed(expected: int) -> str:
    return f"(SELECT pg_catalog.sum(h) FROM done) = {expected}"


def hashed(rows: Rows, alias: str) -> str:
    return f"pg_catalog.hashtextextended({rows.text(alias)}, 0)"


def columns_of(rows: Rows, names: tuple[str, ...]) -> list[Column]:
    by_name = {column.name: column for column in rows.family.columns}
    return [by_name[name] for name in names]


def _old(rows: Rows) -> list[Column]:
    """What is looked at before a row is written: all that anybody gave it, and its key."""
    key = rows.family.key
    return [c for c in rows.family.columns if c.written or (key and c.name in key.columns)]


def names(rows: Rows) -> str:
    """Of the values that _was makes."""
    return ", ".join([quote_ident(rows.n), *(quote_ident(c.name) for c in _old(rows))])


def was(rows: Rows) -> str:
    place = "NULL::pg_catalog.tid" if rows.family.key else "m.tid"
    told = f"pg_catalog.format('%L::pg_catalog.tid', {place})"
    return _tuple([told, *(_value(c, "r") for c in _old(rows))])


def found(rows: Rows, alias: str = "t") -> str:
    """Whether a row is the one that was, and as it was."""
    key = rows.family.key
    if key is not None:
        where = equal(key.columns, key.operators, alias, "was")
    else:
        where = f"{alias}.ctid = was.{quote_ident(rows.n)}"
    return f"{where} AND {same(rows.family.columns, alias, 'was')}"


def there(rows: Rows) -> str:
    """The rows as they are, typed: r."""
    return (
        f"{rows.effects} e JOIN {rows.now} m ON m.n = e.n"
        f" CROSS JOIN LATERAL {read_back(rows.family.columns, 'm.image')} r"
    )


def _literal(value: str) -> str:
    """A query's text for a literal. Capture triggers take a certain word in a statement's text for
    the sign that it records itself: in a value it is taken apart."""
    apart = "'hotrollback_''' || pg_catalog.chr(10) || '''w'"
    return f"pg_catalog.replace(pg_catalog.format('%L', {value}), 'hotrollback_w', {apart})"


def _value(column: Column, alias: str) -> str:
    """A query's text for a literal of the column's value."""
    value = f"{alias}.{quote_ident(column.name)}"
    if column.kind is ColumnKind.OID:
        value = f"{value}::pg_catalog.oid"
    return f"{_literal(value)} || {quote_literal(f'::{column.type_sql}')}"


def values(columns: Iterable[Column], alias: str) -> str:
    return _tuple([_value(column, alias) for column in columns])


def _tuple(parts: list[str]) -> str:
    return f"'(' || {_listed(parts)} || ')'"


def _listed(parts: list[str]) -> str:
    """Joined, without those that are NULL."""
    return f"pg_catalog.array_to_string(ARRAY[{', '.join(parts)}]::pg_catalog.text[], ', ')"


def given(rows: Rows) -> str:
    """The columns that become others; all if none does."""
    given = {
        c.name: f"{quote_literal(f'{quote_ident(c.name)} = ')} || {_value(c, 'w')}"
        for c in rows.settable
    }
    now = {c.name for c in rows.family.columns}
    changed = [
        f"CASE WHEN NOT {_alike(c)} THEN {given[c.name]} END"
        for c in rows.settable
        if c.name in now
    ]
    return f"COALESCE(NULLIF({_listed(changed)}, ''), {_listed([*given.values()])})"


def _alike(column: Column) -> str:
    name = quote_ident(column.name)
    return same_value(column, f"r.{name}", f"w.{name}")


def named(rows: Rows, verb: str, alias: str) -> str:
    """A query's text for a literal that names the row."""
    said = quote_literal(f"{verb} on {rows.family.name}")
    key = rows.family.key
    if key is not None and {c.name for c in rows.columns}.issuperset(key.columns):
        parts = [
            f"pg_catalog.format('%s=%s', {quote_literal(name)}, {alias}.{quote_ident(name)})"
            for name in key.columns
        ]
        said += f" || ', ' || {_listed(parts)}"
    return _literal(said)
