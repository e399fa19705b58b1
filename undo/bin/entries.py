"""What is in the bin, and what a name means there."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from undo.database import Database, sqlstate
from undo.errors import AmbiguousInBin, NotInBin, NotInstalled
from undo.stages.select import SESSION_OF

TABLE: Final = "table"
VALUES: Final = "values"

# What is in the schema: what somebody else has dropped there is not in the bin any more.
HELD: Final = """
SELECT 'table' AS kind, b.relid::pg_catalog.text AS id, k.oid AS held, b.relid, b.schema,
       b.name, '{}'::pg_catalog.name[] AS columns, b.at, b.xid, b.pid, b.role, b.tag, b.pinned,
       b.goes
  FROM hotrollback.bin b
  JOIN pg_catalog.pg_class k ON k.oid = b.relid
   AND k.relnamespace = pg_catalog.to_regnamespace('hotrollback_bin')
 UNION ALL
SELECT 'values', v.name, k.oid, v.relid, v.schema, v."table", v.columns, v.at, v.xid, v.pid,
       v.role, v.tag, v.pinned, v.goes
  FROM hotrollback.kept v
  JOIN pg_catalog.pg_class k ON k.relname = v.name
   AND k.relnamespace = pg_catalog.to_regnamespace('hotrollback_bin')
"""
_ENTRIES: Final = f"""
SELECT c.kind, c.id, pg_catalog.format('%I.%I', c.schema, c.name) AS "table",
       (SELECT pg_catalog.string_agg(pg_catalog.format('%I', u.name), ', ' ORDER BY u.n)
          FROM pg_catalog.unnest(c.columns) WITH ORDINALITY AS u(name, n)) AS listed,
       c.held::pg_catalog.int8 AS held, c.relid::pg_catalog.int8 AS relid,
       c.schema::pg_catalog.text AS schema, c.name::pg_catalog.text AS name,
       c.columns::pg_catalog.text[] AS columns, c.at, c.xid, {SESSION_OF} AS session, c.tag,
       (SELECT r.rolname::pg_catalog.text FROM pg_catalog.pg_roles r WHERE r.oid = c.role) AS role,
       (SELECT pg_catalog.min(u.id) FROM hotrollback.undo u WHERE u.xid = c.xid) AS undo,
       CASE WHEN k.reltuples < 0 THEN pg_catalog.pg_stat_get_live_tuples(k.oid)
            ELSE k.reltuples::pg_catalog.int8 END AS rows,
       pg_catalog.pg_total_relation_size(k.oid) AS bytes, c.pinned, c.goes
  FROM ({HELD}) c JOIN pg_catalog.pg_class k ON k.oid = c.held
 ORDER BY c.at DESC, c.held DESC
"""


@dataclass(frozen=True, slots=True)
class Entry:
    kind: str  # TABLE or VALUES
    id: str
    table: str  # what it was called, as SQL has it
    listed: str | None  # its columns, likewise
    held: int  # the table in the bin: the one that was dropped, or the one that holds the values
    relid: int  # the table that it was, or whose columns they are of
    schema: str
    name: str
    columns: tuple[str, ...]
    at: datetime
    xid: int
    session: str | None
    tag: str | None
    role: str | None
    undo: int | None  # that took it away; None: a client dropped it
    rows: int  # an estimate
    bytes: int  # with indexes and TOAST
    pinned: bool
    goes: datetime | None

    @property
    def label(self) -> str:
        """What it was called."""
        if self.listed is None:
            return self.table
        return f"{self.table}.{self.listed if len(self.columns) == 1 else f'({self.listed})'}"

    @property
    def why(self) -> str:
        if self.undo is not None:
            return f"undo {self.undo}"
        return "dropped" if self.kind == TABLE else "dropped or retyped"

    def called(self, parts: Sequence[str]) -> bool:
        """Whether a name means it, in parts: table, schema.table, and .column behind these."""
        names = [[self.name], [self.schema, self.name]]
        if self.kind == VALUES:
            names = [[*name, column] for name in names for column in self.columns]
        return list(parts) in names

    def expires(self, retention: timedelta | None) -> datetime | None:
        """When upkeep lets it go, as far as that is known: when the log's partition of that day
        goes, or as it was said."""
        if self.pinned:
            return None
        ages = None if retention is None else day_after(self.at) + retention
        known = [when for when in (self.goes, ages) if when is not None]
        return min(known, default=None)


def day_after(moment: datetime) -> datetime:
    """The midnight (UTC) at which its day ends."""
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + timedelta(days=1)


async def installed(db: Database) -> bool:
    """Not where the log is an older version's either."""
    return bool(await db.fetchval("SELECT pg_catalog.to_regclass('hotrollback.kept') IS NOT NULL"))


async def entries(db: Database) -> tuple[Entry, ...]:
    """All that is in the bin, the newest first. Raises NotInstalled."""
    if not await installed(db):
        raise NotInstalled
    return tuple(
        Entry(**{**dict(row), "columns": tuple(row["columns"])}) for row in await db.fetch(_ENTRIES)
    )


async def find(db: Database, name: str) -> Entry:
    """By its id, or by the name that it had. Raises NotInBin, AmbiguousInBin."""
    found = await entries(db)
    for entry in found:
        if entry.id == name:
            return entry
    parts = await _parts(db, name)
    meant = [entry for entry in found if entry.called(parts)]
    if not meant:
        raise NotInBin(name)
    if len(meant) > 1:
        raise AmbiguousInBin(name, "; ".join(map(_choice, meant)))
    return meant[0]


def _choice(entry: Entry) -> str:
    tag = f" under tag {entry.tag}" if entry.tag else ""
    when = f"{entry.why} at {entry.at:%Y-%m-%d %H:%M:%S}Z{tag}"
    return f"{entry.id} ({entry.kind} {entry.label}, {when})"


async def _parts(db: Database, name: str) -> Sequence[str]:
    """As SQL reads a name."""
    try:
        found: Sequence[str] = await db.fetchval("SELECT pg_catalog.parse_ident($1)", name)
    except Exception as error:
        if sqlstate(error) != "22023":
            raise
        raise NotInBin(name) from error
    return found


_BELOW: Final = """
WITH RECURSIVE below AS (
    SELECT b.* FROM hotrollback.bin b WHERE b.relid = $1
     UNION ALL
    SELECT b.*
      FROM below p JOIN hotrollback.bin b ON b.xid = p.xid AND b.bound IS NOT NULL
     CROSS JOIN LATERAL pg_catalog.json_array_elements_text(b.parents) AS a(parent)
     WHERE a.parent = pg_catalog.format('%I.%I', p.schema, p.name)
)
SELECT relid::pg_catalog.int8 FROM below
"""


async def with_partitions(db: Database, entry: Entry) -> dict[str, int]:
    """The ids and tables of an entry and of the partitions that went with it, topmost first."""
    if entry.kind != TABLE:
        return {entry.id: entry.held}
    rows = await db.fetch(_BELOW, entry.relid)
    return {str(row["relid"]): row["relid"] for row in rows}


async def pin(db: Database, name: str, *, on: bool) -> Entry:
    """What is pinned goes neither by itself nor with all the rest."""
    entry = await find(db, name)
    table = "hotrollback.bin" if entry.kind == TABLE else "hotrollback.kept"
    column = "relid::pg_catalog.text" if entry.kind == TABLE else "name"
    await db.execute(
        f"UPDATE {table} SET pinned = $2, goes = NULL WHERE {column} = $1", entry.id, on
    )
    return entry


def size(found: Iterable[Entry]) -> int:
    return sum(entry.bytes for entry in found)
