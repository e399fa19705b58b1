"""From conditions to changes: the selected ones, and all that happened to the same rows since, in a
temporary table of the transaction.

Images stay in the log; a change says where its record is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

from undo.database import Database
from undo.log import CHANGE, CREATE
from undo.model import Move
from undo.stages.select import Chosen, unseen
from undo.tables import Tables

# What is loaded of a change. Rows that were written when the log was full have no images ('-'); a
# gap tells of them.
_CHANGE: Final = """
SELECT c.tableoid AS part, c.ctid AS place, c.xid, c.lsn, c.relid,
       COALESCE(c.new_relid, c.relid) AS new_relid, c.op, c.old_tid, c.new_tid, c.key, c.role,
       COALESCE(c.stale, false) AS stale, {matched} AS matched, {dead} AS dead
  FROM {records}
 WHERE c.op IN {ops} AND {where}
"""
# Of such a row: whether it is to be undone; whether later changes of its row are looked for.
SELECTED: Final = "c.matched AND NOT c.dead"
_FOLLOWED: Final = "NOT (c.matched AND c.dead)"
ROWS: Final = "('I', 'U', 'D')"
ALL: Final = "('I', 'U', 'D', 'C', 'B')"

# Taken back and not redone. Of a transaction that was taken back whole only that is written down.
TAKEN_BACK: Final = """(
    EXISTS (SELECT FROM hotrollback.undone d JOIN hotrollback.undo u ON u.id = d.undo
             WHERE u.redone_by IS NULL AND d.xid = c.xid AND d.lsn = c.lsn)
    OR EXISTS (SELECT FROM hotrollback.undone d JOIN hotrollback.undo u ON u.id = d.undo
                WHERE u.redone_by IS NULL AND d.xid = c.xid AND d.lsn IS NULL))"""
# The same, or the record of an undo: the two cancel each other out.
DEAD: Final = f"(c.xid IN (SELECT u.xid FROM hotrollback.undo u) OR {TAKEN_BACK})"

_SUMMARIZE: Final = """
SELECT pg_catalog.brin_summarize_new_values(x.indexrelid)
  FROM pg_catalog.pg_inherits i
  JOIN pg_catalog.pg_index x ON x.indrelid = i.inhrelid
 WHERE i.inhparent = 'hotrollback.change'::pg_catalog.regclass
   AND pg_catalog.pg_get_userbyid((SELECT c.relowner FROM pg_catalog.pg_class c
                                    WHERE c.oid = x.indexrelid)) = CURRENT_USER
"""

# Up to so many rows are looked for by the indexes of the log; more by reading it from the first
# selected change on.
_FEW: Final = 1000

# A name is used once in a session: what the driver has prepared must not meet another table.
serial: Final = count(1)


@dataclass(frozen=True, slots=True)
class Matched:
    """All that the selection matches. What was undone already is not selected."""

    table: str  # of the changes of rows; those of tables that go as a whole are in `along`
    along: str
    moves: list[Move]  # tables that are to go, or to come back
    gone: list[int]  # tables that the selection made: what else it did to them goes with them
    snapshot: str  # whatever was committed after it may be missing
    rows: int  # in table and along, moves too
    live: int  # of these, rows that are selected
    transactions: int  # of what is selected, moves too
    first: int  # LSN of the first selected change


# What came back from the bin was there before: a redo does again what the undo did to its rows.
_CAME_BACK: Final = """
SELECT m.relid::pg_catalog.int8
  FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.oid[]),
                  pg_catalog.unnest($2::pg_catalog.int8[])) AS m(relid, lsn)
 WHERE EXISTS (SELECT FROM hotrollback.change b
                WHERE b.relid = m.relid AND b.op = 'B'
                  AND b.lsn < '0/0'::pg_catalog.pg_lsn + m.lsn)
"""


async def _gone(db: Database, moves: Sequence[Move], *, redo: bool) -> list[int]:
    made = [move for move in moves if move.op == CREATE]
    relids = {move.relid for move in made}
    if made and redo:
        places = [move.relid for move in made], [move.lsn for move in made]
        relids -= {row[0] for row in await db.fetch(_CAME_BACK, *places)}
    return sorted(relids)


async def by_index(db: Database, *, on: bool) -> None:
    """The server takes a tag or a key for spread over all of the log, where it is in one place: it
    would read everything."""
    await db.execute(f"SET LOCAL enable_seqscan = {'off' if on else 'on'}")


async def summarize(db: Database) -> None:
    """The newest rows are not in the index yet, and are what an incident is about."""
    await db.execute(_SUMMARIZE)


async def match(db: Database, chosen: Chosen) -> Matched:
    table, along = f"hotrollback_c{next(serial)}", f"hotrollback_a{next(serial)}"
    snapshot = await db.fetchval("SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text")
    redo = chosen.redo_of is not None
    query = _CHANGE.format(
        matched="true",
        dead="false" if redo else DEAD,
        records=f"{CHANGE} c",
        ops=ALL,
        where=chosen.where,
    )
    await db.execute(_empty(table, along))
    await db.execute(f"INSERT INTO pg_temp.{table} {query}", *chosen.args)
    counted = await db.fetchrow(
        f"SELECT pg_catalog.count(*) AS rows,"
        f"       pg_catalog.count(*) FILTER (WHERE c.op IN {ROWS} AND {SELECTED}) AS live,"
        f"       pg_catalog.count(DISTINCT c.xid) FILTER (WHERE {SELECTED}) AS transactions,"
        f"       COALESCE(pg_catalog.min(c.lsn) FILTER (WHERE c.op IN {ROWS} AND {SELECTED})"
        f"                - '0/0', 0)::pg_catalog.int8 AS first"
        f"  FROM pg_temp.{table} c"
    )
    moves = [
        Move(*row)
        for row in await db.fetch(
            f"SELECT c.relid::pg_catalog.int8, c.op::pg_catalog.text, c.role::pg_catalog.int8,"
            f"       c.xid, (c.lsn - '0/0')::pg_catalog.int8"
            f"  FROM pg_temp.{table} c WHERE c.op NOT IN {ROWS} AND {SELECTED} ORDER BY c.lsn"
        )
    ]
    gone = await _gone(db, moves, redo=redo)
    if moves:
        await _set_apart(db, table, along, gone)
    return Matched(f"pg_temp.{table}", f"pg_temp.{along}", moves, gone, snapshot, *counted)


def _empty(*names: str) -> str:
    query = _CHANGE.format(
        matched="true", dead="true", records=f"{CHANGE} c", ops=ALL, where="false"
    )
    return ";".join(f"CREATE TEMPORARY TABLE {name} ON COMMIT DROP AS {query}" for name in names)


async def _set_apart(db: Database, table: str, along: str, relids: list[int]) -> None:
    """What goes with its table is not folded, nor are the moves themselves."""
    await db.execute(f"DELETE FROM pg_temp.{table} c WHERE c.op NOT IN {ROWS}")
    await db.execute(
        f"WITH c AS (DELETE FROM pg_temp.{table} c WHERE c.relid = ANY ($1::pg_catalog.oid[])"
        f" RETURNING c.*) INSERT INTO pg_temp.{along} SELECT * FROM c",
        relids,
    )


@dataclass(frozen=True, slots=True)
class Loaded:
    """The table of `Matched` with the later changes of the same rows."""

    table: str
    snapshot: str
    heaps: tuple[int, ...]  # tables whose changes were looked for
    keys: tuple[int, ...] | None  # what was looked for, if it was little
    versions: tuple[tuple[int, tuple[int, int]], ...]
    first: int


async def load(db: Database, chosen: Chosen, tables: Tables, matched: Matched) -> Loaded:
    """What is selected, and the later changes of the same rows."""
    await db.execute(f"ANALYZE {matched.table}")
    heaps = await _heaps(db, tables, matched.table)
    while True:
        loaded = await _wanted(db, matched, heaps)
        query, args = _followers(chosen, loaded)
        added = await db.execute(f"INSERT INTO {matched.table} {query}", *args)
        if added.endswith(" 0"):
            return loaded


async def _heaps(db: Database, tables: Tables, table: str) -> tuple[int, ...]:
    found = await relations(db, table, SELECTED)
    for relid in tuple(found):
        family = tables.family_of(relid)
        if family is not None:
            found.update(family.heaps)
    return tuple(sorted(found))


async def relations(db: Database, table: str, where: str = "true") -> set[int]:
    """The tables that changes are of."""
    rows = await db.fetch(
        f"SELECT c.relid::pg_catalog.int8 FROM {table} c WHERE {where}"
        f" UNION SELECT c.new_relid::pg_catalog.int8 FROM {table} c WHERE {where}"
    )
    return {row[0] for row in rows}


async def _wanted(db: Database, matched: Matched, heaps: tuple[int, ...]) -> Loaded:
    """What to look for: the rows of what is followed."""
    table = matched.table
    few = await db.fetchval(
        f"SELECT pg_catalog.count(*) <= {_FEW} FROM (SELECT FROM {table} LIMIT {_FEW + 1}) x"
    )
    if not few:
        return Loaded(table, matched.snapshot, heaps, None, (), matched.first)
    keys = await db.fetch(_KEYS.format(table=table))
    versions = await db.fetch(_VERSIONS.format(table=table))
    return Loaded(
        table,
        matched.snapshot,
        heaps,
        tuple(sorted(row["key"] for row in keys)),
        tuple((row["relid"], row["tid"]) for row in versions),
        matched.first,
    )


_KEYS: Final = f"""
SELECT DISTINCT c.key FROM {{table}} c WHERE {_FOLLOWED} AND c.key IS NOT NULL
"""
_VERSIONS: Final = f"""
SELECT DISTINCT c.new_relid::pg_catalog.int8 AS relid, c.new_tid AS tid FROM {{table}} c
 WHERE {_FOLLOWED} AND c.new_tid IS NOT NULL
"""


def _followers(chosen: Chosen, loaded: Loaded) -> tuple[str, list[Any]]:
    """Changes of the same rows that the selection does not match and that are not loaded."""
    args = list(chosen.args)

    def given(value: Any) -> str:
        args.append(value)
        return f"${len(args)}"

    heaps = f"{given(loaded.heaps)}::pg_catalog.oid[]"
    records = f"{CHANGE} c"
    if loaded.keys is not None:
        rows = (
            f"c.key = ANY ({given(loaded.keys)}::pg_catalog.int4[]) OR c.key IS NULL"
            f" OR (c.relid, c.old_tid) IN (SELECT v.relid, v.tid FROM ROWS FROM ("
            f"pg_catalog.unnest({given([v[0] for v in loaded.versions])}::pg_catalog.oid[]),"
            f" pg_catalog.unnest({given([v[1] for v in loaded.versions])}::pg_catalog.tid[]))"
            f" AS v(relid, tid))"
        )
    else:
        records += (
            f" LEFT JOIN ({_KEYS.format(table=loaded.table)}) k ON k.key = c.key"
            f" LEFT JOIN ({_VERSIONS.format(table=loaded.table)}) v"
            f" ON v.relid::pg_catalog.oid = c.relid AND v.tid = c.old_tid"
        )
        rows = "k.key IS NOT NULL OR c.key IS NULL OR v.tid IS NOT NULL"
    where = (
        f"c.lsn >= '0/0'::pg_catalog.pg_lsn + {given(loaded.first)}::pg_catalog.int8"
        f" AND (c.relid = ANY ({heaps}) OR c.new_relid = ANY ({heaps})) AND ({rows})"
        f" AND COALESCE(({chosen.where}), false) IS FALSE"
        f" AND NOT EXISTS (SELECT FROM {loaded.table} l"
        f"                  WHERE l.part = c.tableoid AND l.place = c.ctid)"
        f"{f' AND NOT {DEAD}' if chosen.standing else ''}"
    )
    query = _CHANGE.format(matched="false", dead=DEAD, records=records, ops=ROWS, where=where)
    return query, args


async def overtaken(db: Database, chosen: Chosen, loaded: Loaded) -> bool:
    """Whether somebody has committed a change of these rows, or one that is selected, since they
    were loaded. To be asked when the rows are locked."""
    given = f"${len(chosen.args) + 1}::pg_catalog.text::pg_catalog.pg_snapshot"
    new = unseen("c", given)
    query = f"SELECT EXISTS (SELECT FROM {CHANGE} c WHERE {new} AND {chosen.where})"
    if await db.fetchval(query, *chosen.args, loaded.snapshot):
        return True
    query, args = _followers(chosen, loaded)
    given = f"${len(args) + 1}::pg_catalog.text::pg_catalog.pg_snapshot"
    query = f"SELECT EXISTS ({query} AND {unseen('c', given)})"
    return bool(await db.fetchval(query, *args, loaded.snapshot))


Partitions = dict[int, str]


async def partitions(db: Database) -> Partitions:
    """Partitions of the log as FROM items, by oid."""
    rows = await db.fetch(
        "SELECT i.inhrelid::pg_catalog.int8 AS relid, c.relname::pg_catalog.text AS name"
        "  FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid"
        " WHERE i.inhparent = 'hotrollback.change'::pg_catalog.regclass"
    )
    return {row["relid"]: f"ONLY hotrollback.{row['name']}" for row in rows}
