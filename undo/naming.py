"""Which tables a name means: those that are there, in the bin, and those that the log remembers."""

from typing import Final

from undo.database import Database, sqlstate
from undo.errors import BadFilter, UnknownColumn, UnknownRelation
from undo.image import quote_ident

_NAMED: Final = """
WITH RECURSIVE known(oid, nspname, relname) AS (
    SELECT c.oid, n.nspname::pg_catalog.text, c.relname::pg_catalog.text
      FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
       AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'hotrollback')
    UNION
    SELECT r.relid, (pg_catalog.parse_ident(r.name))[1], (pg_catalog.parse_ident(r.name))[2]
      FROM hotrollback.relation r
     WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = r.relid)
    UNION -- in the bin it has another name
    SELECT b.relid, b.schema::pg_catalog.text, b.name::pg_catalog.text
      FROM hotrollback.bin b JOIN pg_catalog.pg_class c ON c.oid = b.relid
), below(nspname, oid) AS (
    SELECT k.nspname, k.oid FROM known k
     WHERE k.relname = $2 AND ($1::pg_catalog.text IS NULL OR k.nspname = $1)
    UNION
    SELECT b.nspname, i.inhrelid FROM below b JOIN pg_catalog.pg_inherits i ON i.inhparent = b.oid
)
SELECT nspname, pg_catalog.array_agg(oid::pg_catalog.int8) AS relids FROM below GROUP BY nspname
"""


async def named(db: Database, name: str) -> set[int]:
    """The oids of a table, with its partitions and children; also of one that was dropped."""
    try:
        parts = await db.fetchval("SELECT pg_catalog.parse_ident($1)", name)
    except Exception as error:
        if sqlstate(error) != "22023":
            raise
        raise UnknownRelation(name) from error
    if len(parts) > 2:
        raise UnknownRelation(name)
    schema = parts[0] if len(parts) == 2 else None
    rows = await db.fetch(_NAMED, schema, parts[-1])
    if not rows:
        raise UnknownRelation(name)
    if len(rows) > 1:
        schemas = ", ".join(sorted(row["nspname"] for row in rows))
        raise BadFilter(f'"{name}" is a table in several schemas ({schemas}): name the schema, too')
    return set(rows[0]["relids"])


_TOPMOST: Final = """
SELECT c.oid::pg_catalog.int8 AS oid, pg_catalog.format('%I.%I', n.nspname, c.relname) AS name
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.oid = ANY ($1::pg_catalog.oid[])
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits i
                    WHERE i.inhrelid = c.oid AND i.inhparent = ANY ($1::pg_catalog.oid[]))
   AND (n.nspname <> 'hotrollback_bin' OR pg_catalog.starts_with($2, 'hotrollback_bin.'))
 ORDER BY c.oid LIMIT 1
"""


async def there(db: Database, name: str) -> tuple[int, str, set[int]]:
    """A table that was not dropped: its oid, its name as SQL has it, and the oids of all that is
    below of it. Raises UnknownRelation, BadFilter."""
    relids = await named(db, name)
    row = await db.fetchrow(_TOPMOST, sorted(relids), name)
    if row is None:
        raise BadFilter(f'"{name}" is not there any more: it was dropped')
    return row["oid"], row["name"], relids


async def column_there(db: Database, name: str) -> tuple[int, str, set[int]]:
    """A column of a table that is there: the table's oid, the column's name, and the oids of all
    that is below of the table. Raises UnknownColumn, UnknownRelation, BadFilter."""
    try:
        parts = await db.fetchval("SELECT pg_catalog.parse_ident($1, false)", name)
    except Exception as error:
        if sqlstate(error) != "22023":
            raise
        raise UnknownColumn(name) from error
    if not 1 < len(parts) < 4:
        raise UnknownColumn(name)
    try:
        relid, _, relids = await there(db, ".".join(quote_ident(part) for part in parts[:-1]))
    except UnknownRelation as error:
        raise UnknownRelation(".".join(parts[:-1])) from error
    if not await db.fetchval(
        "SELECT true FROM pg_catalog.pg_attribute a WHERE a.attrelid = $1 AND a.attname = $2"
        "   AND a.attnum > 0 AND NOT a.attisdropped",
        relid,
        parts[-1],
    ):
        raise UnknownColumn(name)
    return relid, parts[-1], relids
