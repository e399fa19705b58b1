"""One row by its key: as an operator writes it, typed by the server, and in images of the log."""

from collections.abc import Sequence
from dataclasses import dataclass

from undo.database import Database, sqlstate
from undo.errors import BadFilter
from undo.image import Column, key_hash, quote_ident, read_back
from undo.naming import there
from undo.request import Key, key_words
from undo.stages.chosen import Chosen
from undo.tables import Family, equal, look_up


@dataclass(frozen=True, slots=True)
class RowKey:
    """A key of a table that is there; its values are texts that its columns' types take."""

    family: Family
    relids: tuple[int, ...]  # of the table that was named, and its partitions
    columns: tuple[Column, ...]  # in the order of the key
    texts: tuple[str, ...]

    def values(self, given: str) -> str:
        """A FROM item with the typed columns; `given` is the placeholder of the texts."""
        typed = ", ".join(
            f"({given}::pg_catalog.text[])[{n}]::{column.type_sql} AS {quote_ident(column.name)}"
            for n, column in enumerate(self.columns, 1)
        )
        return f"(SELECT {typed})"

    def equal(self, left: str, right: str) -> str:
        """Whether two rows (aliases) have the same key."""
        key = self.family.key
        operators = key.operators if key else ()
        return equal([column.name for column in self.columns], operators, left, right)

    def imaged(self, image: str, given: str) -> str:
        """Whether an image (SQL of type json) is one of the row. Under PINNED_SETTINGS."""
        return (
            f"EXISTS (SELECT FROM {read_back(self.columns, image)} x,"
            f" {self.values(given)} k WHERE {self.equal('x', 'k')})"
        )

    def texts_of(self, image: str) -> str:
        """The texts of the key in an image: SQL of type text[], NULL without an image."""
        texts = ", ".join(
            f"pg_catalog.format('%s', x.{quote_ident(column.name)})" for column in self.columns
        )
        return (
            f"CASE WHEN {image} IS NOT NULL THEN"
            f" (SELECT ARRAY[{texts}] FROM {read_back(self.columns, image)} x) END"
        )

    def hashed(self, given: str) -> str | None:
        """SQL of what the log's index has of the key, if it has anything."""
        made = key_hash(self.columns, "k")
        return f"(SELECT {made} FROM {self.values(given)} k)" if made else None


async def row_key(db: Database, tables: Sequence[str], key: Key) -> RowKey:
    """Raises UsageError where it is no key of the one table."""
    if len(tables) != 1:
        raise BadFilter("a KEY is of one table: name it, and no other, by TABLE")
    top, _, relids = await there(db, tables[0])
    family = (await look_up(db, [top])).family_of(top)
    if family is None:
        raise BadFilter(f'"{tables[0]}" is no table that is recorded')
    if not family.key_columns:
        raise BadFilter(f"{family.name} has no primary key that would tell its rows apart")
    columns = family.key_columns
    texts = _in_order(family, columns, key)
    made = RowKey(family, tuple(sorted(relids & set(family.heaps))), columns, texts)
    try:
        await db.fetchval(
            f"SELECT pg_catalog.num_nulls(k.*) FROM {made.values('$1')} k", list(texts)
        )
    except Exception as error:
        state = sqlstate(error) or ""
        if not state.startswith("22"):
            raise
        raise BadFilter(f"{key_words(key)} is no key of {family.name}: {error}") from error
    return made


def _in_order(family: Family, columns: Sequence[Column], key: Key) -> tuple[str, ...]:
    names = [column.name for column in columns]
    by_name = dict(key)
    if len(key) == len(names) and all(not column for column, _ in key):
        return tuple(text for _, text in key)
    if len(key) == len(names) and by_name.keys() == set(names):
        return tuple(by_name[name] for name in names)
    form = ", ".join(f"{column.name} = {column.type}" for column in columns)
    raise BadFilter(f"{key_words(key)} is no key of {family.name}: write KEY ({form})")


async def by_key(db: Database, tables: Sequence[str], key: Key, chosen: Chosen) -> None:
    """That row alone: which statement set off which row of another table is not known by row. A
    change of the key has the hash of the new one only."""
    row = await row_key(db, tables, key)
    given, relids = chosen.given(list(row.texts)), chosen.given(list(row.relids))
    of_table = f"(c.relid = ANY ({relids}::pg_catalog.oid[]) OR c.new_relid = ANY ({relids}))"
    hashed = row.hashed(given)
    if hashed:
        chosen.changes.append(f"c.key = {hashed} OR c.key IS NULL OR c.op = 'U'")
    chosen.changes.append(
        f"CASE WHEN {of_table} THEN {row.imaged('c.before', given)}"
        f" OR {row.imaged('c.after', given)} ELSE false END"
    )
    chosen.either(
        f"c.relid = ANY ({relids}::pg_catalog.oid[]) AND {given}::pg_catalog.text[] IS NOT NULL",
        "c.relid IS NULL",
    )
