"""How a row becomes an image (JSON by column name) and typed columns again, and when two rows are
the same. Makes SQL text; for rewriting, for capture triggers and for the undo alike.

Rule 1: an image reads back to the very value under PINNED_SETTINGS, whatever settings it was made
under, or it must not be made (`safe_settings` says what its maker knows of its session).
Rule 2: nothing here runs a user's code that the client's own statement would not run.

The kinds are told apart by hotrollback.kind_v1 (0004_images.sql), and hotrollback.image_v1
(0005_triggers.sql) makes the same expressions where there is no Python: inside an event trigger.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class ColumnKind(StrEnum):
    """How a column's value is kept."""

    PLAIN = "plain"  # row_to_json is exact under any settings
    SENSITIVE = "sensitive"  # row_to_json is exact under safe settings
    JSON = "json"  # own text: as a member of the image a jsonb null would be SQL's NULL
    TEXT = "text"  # own text: row_to_json loses something (an array's lower bounds)
    SENSITIVE_TEXT = "sensitive_text"  # own text, exact under safe settings
    PINNED = "pinned"  # own text under settings that a function pins: needs them, or users' types
    OID = "oid"  # names an object of the catalog: its number, since names depend on search_path


# What an image takes of a column, when settings are safe and when they may be anything.
_OWN: Final = "{}::pg_catalog.text"
_PINNED: Final = "hotrollback.pinned_v1({})"
_NUMBER: Final = "{}::pg_catalog.oid::pg_catalog.text"
TAKEN: Final = {
    ColumnKind.PLAIN: ("{}", "{}"),
    ColumnKind.SENSITIVE: ("{}", _PINNED),
    ColumnKind.JSON: (_OWN, _OWN),
    ColumnKind.TEXT: (_OWN, _OWN),
    ColumnKind.SENSITIVE_TEXT: (_OWN, _PINNED),
    ColumnKind.PINNED: (_PINNED, _PINNED),
    ColumnKind.OID: (_NUMBER, _NUMBER),
}

# Compared byte by byte. The rest is compared as text under PINNED_SETTINGS: equal values of these
# may differ in bytes that nobody can see (an array that once held a NULL, a NaN with a sign).
_BYTES: Final = frozenset({ColumnKind.PLAIN, ColumnKind.OID})

# To be SET LOCAL before images are read back or rows compared.
PINNED_SETTINGS: Final = (
    ("search_path", "pg_catalog"),
    ("DateStyle", "ISO, YMD"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("extra_float_digits", "1"),
    ("bytea_output", "hex"),
    ("lc_monetary", "C"),
    ("xmloption", "content"),
    ("array_nulls", "on"),
)


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    kind: ColumnKind
    type: str  # as people write it, with its length or precision
    type_sql: str  # without them: a value that no longer fits must be refused, not cut
    generated: str = ""  # '', 's' stored, 'v' virtual
    identity: str = ""  # '', 'a' always, 'd' by default
    not_null: bool = False
    attnum: int = 0
    hashable: bool = False  # belongs to the primary key and can be hashed

    @property
    def virtual(self) -> bool:
        return self.generated == "v"

    @property
    def written(self) -> bool:
        """Can be given a value."""
        return not self.generated


# One row per column, by relation and number; $1: oids. Every value as text but the first two.
COLUMNS_SQL: Final = """
SELECT relid, attnum, name, kind, type, type_sql, generated, identity,
       not_null::pg_catalog.int4, hashable::pg_catalog.int4
  FROM hotrollback.columns_v1($1::pg_catalog.oid[])
"""


def read_column(row: Sequence[object]) -> Column:
    """From a row of COLUMNS_SQL, as typed values or as the text format's bytes."""
    _, attnum, name, kind, type_, type_sql, generated, identity, not_null, hashable = (
        value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)
        for value in row
    )
    return Column(
        name=name,
        kind=ColumnKind(kind),
        type=type_,
        type_sql=type_sql,
        generated=generated,
        identity=identity,
        not_null=not_null == "1",
        attnum=int(attnum),
        hashable=hashable == "1",
    )


def read_columns(rows: Iterable[Sequence[object]]) -> dict[int, tuple[Column, ...]]:
    """Columns by relation, from rows of COLUMNS_SQL; one without columns is not in it."""
    found: dict[int, list[Column]] = {}
    for row in rows:
        relid = row[0]
        number = int(relid) if isinstance(relid, bytes | int | str) else 0
        found.setdefault(number, []).append(read_column(row))
    return {relid: tuple(columns) for relid, columns in found.items()}


def quote_ident(name: str) -> str:
    """Always quoted, so that it needs no list of key words."""
    return '"' + name.replace('"', '""') + '"'


def quote_literal(text: str) -> str:
    """Right under either setting of standard_conforming_strings."""
    quoted = "'" + text.replace("'", "''") + "'"
    return "E" + quoted.replace("\\", "\\\\") if "\\" in text else quoted


def joined(parts: Iterable[str], by: str) -> str:
    """Texts (SQL) put behind one another, without those that are null. A function of the server
    takes no more than 100 arguments, and a table may have more columns."""
    listed = ", ".join(parts)
    return f"pg_catalog.array_to_string(ARRAY[{listed}]::pg_catalog.text[], {quote_literal(by)})"


def whole(columns: Sequence[Column], *, safe_settings: bool) -> bool:
    """Whether row_to_json of the whole row is exact and evaluates nothing."""
    return all(
        TAKEN[column.kind][0 if safe_settings else 1] == "{}" and not column.virtual
        for column in columns
    )


def image(columns: Sequence[Column], alias: str, *, safe_settings: bool) -> str:
    """The image of the row that `alias` (SQL text) names: an expression of type json. Where the
    row may be missing, use image_or_null."""
    return _image(columns, alias, safe_settings=safe_settings, where="")


def image_or_null(columns: Sequence[Column], alias: str, *, safe_settings: bool) -> str:
    """The same, NULL where there is no such row (`old` of a row that was inserted)."""
    there = f" WHERE {alias}.tableoid IS NOT NULL"
    return _image(columns, alias, safe_settings=safe_settings, where=there)


def _image(columns: Sequence[Column], alias: str, *, safe_settings: bool, where: str) -> str:
    if whole(columns, safe_settings=safe_settings):
        # With the star it is the row; without it a column of that name would be meant.
        return f"pg_catalog.row_to_json({alias}.*)"
    taken = ", ".join(
        TAKEN[column.kind][0 if safe_settings else 1].format(f"{alias}.{quote_ident(column.name)}")
        + f" AS {quote_ident(column.name)}"
        for column in columns
        if not column.virtual
    )
    return (
        "(SELECT pg_catalog.row_to_json(hotrollback_x.*)"
        f" FROM (SELECT {taken}{where}) hotrollback_x)"
    )


def key_hash(key_columns: Sequence[Column], alias: str) -> str | None:
    """An int4 that the row's primary key gives; None without a key that can be hashed."""
    if not key_columns or not all(column.hashable for column in key_columns):
        return None
    parts = ", ".join(f"{alias}.{quote_ident(column.name)}" for column in key_columns)
    return f"pg_catalog.hash_record(ROW({parts}))"


def read_back(columns: Sequence[Column], json_sql: str) -> str:
    """A FROM item (give it an alias; LATERAL if json_sql refers to its neighbours) with the typed
    columns of an image. One row; all NULL for a NULL image; a column that the image does not have
    is NULL, too (see `present`). Under PINNED_SETTINGS."""
    read = [column for column in columns if not column.virtual]
    if not read:
        return "(SELECT)"
    typed, taken = [], []
    for column in read:
        name = quote_ident(column.name)
        as_text = column.kind is ColumnKind.JSON  # else its text would become a JSON string
        typed.append(f"{name} {'pg_catalog.text' if as_text else column.type_sql}")
        taken.append(f"hotrollback_r.{name}{f'::{column.type_sql}' if as_text else ''} AS {name}")
    return (
        f"(SELECT {', '.join(taken)} FROM pg_catalog.json_to_record({json_sql})"
        f" AS hotrollback_r({', '.join(typed)}))"
    )


def present(column: Column, json_sql: str) -> str:
    """Whether an image has the column at all: one made before it was added has not."""
    member = quote_literal(column.name)
    return f"({json_sql} OPERATOR(pg_catalog.->) {member}) IS NOT NULL"


def same(columns: Sequence[Column], left: str, right: str, *, ignored: Collection[str] = ()) -> str:
    """Whether two rows (of these columns, by alias) are the same: a boolean, never NULL. Generated
    and ignored columns do not count. Under PINNED_SETTINGS."""
    counted = [c for c in columns if c.written and c.name not in ignored]

    def row(alias: str) -> str:
        return "ROW(" + ", ".join(compared(column, alias) for column in counted) + ")"

    # Not ROW(..) *= ROW(..): that is taken apart, column by column.
    return f"pg_catalog.record_image_eq({row(left)}, {row(right)})"


def compared(column: Column, alias: str) -> str:
    """What stands for a column's value where bytes are compared, or grouped by."""
    return _comparable(column, f"{alias}.{quote_ident(column.name)}")


def same_value(column: Column, left: str, right: str) -> str:
    """Whether two values of a column (SQL) are the same, as `same` has it."""
    values = (f"ROW({_comparable(column, value)})" for value in (left, right))
    return f"pg_catalog.record_image_eq({', '.join(values)})"


def _comparable(column: Column, value: str) -> str:
    return value if column.kind in _BYTES else f"pg_catalog.format('%L', {value})"
