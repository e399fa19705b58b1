"""A table comes back from the bin, with all that belongs to it, without an undo of what took it
there. It is written down as one: the drop is taken back, and a redo moves the table away again.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from undo.bin.entries import TABLE, Entry, find, with_partitions
from undo.database import Database, lock_undo, sqlstate
from undo.errors import NameTaken, NoSchema, OnlyValues, UsageError
from undo.model import Outcome
from undo.report import Report, TableReport
from undo.request import Selection, UndoRequest
from undo.stages.part import WHOLE
from undo.stages.record import keep_report, record

_LOCK_TIMEOUT_MS: Final = 10_000
_NO_ROLE: Final = "the role is gone; GRANT, or ALTER TABLE .. OWNER TO, gives it to another one"


@dataclass(slots=True)
class Restored:
    tables: list[str] = field(default_factory=list)  # with partitions
    undo_id: int = 0
    renamed: list[tuple[str, str]] = field(default_factory=list)  # whose names others have now
    # What is not there as it was: what it is, and the statement or the command that makes it so.
    missing: list[tuple[str, str]] = field(default_factory=list)


async def restore(
    db: Database, name: str, *, new_name: str | None = None, by: str, reason: str | None = None
) -> Restored:
    """One transaction. `new_name`: table, or schema.table, as SQL has it. Raises UsageError where
    it cannot come back."""
    async with db.transaction():
        await db.execute(f"SET LOCAL lock_timeout = {_LOCK_TIMEOUT_MS}")
        await lock_undo(db)
        await db.execute("SET LOCAL hotrollback.tag = ''")
        entry = await find(db, name)
        if entry.kind != TABLE:
            raise OnlyValues(entry.label)
        below = await with_partitions(db, entry)
        done = Restored()
        await _rename(db, entry, new_name)
        for relid in below.values():
            await _make_room(db, relid, done)
        # First, so that a redo, which goes backwards, takes them away last.
        for relid in below.values():
            await _objects(db, relid, done)
        for relid in below.values():
            gone = await db.fetchval("SELECT hotrollback.unbin_v1($1)", relid)
            done.missing += [(f"what role {role} had there", _NO_ROLE) for role in gone]
        for relid in below.values():
            await _keys(db, relid, done)
            await db.execute("SELECT hotrollback.publish_v1($1)", relid)
            done.tables.append(await db.fetchval(_GONE, relid))
        await _inbound(db, entry, done)
        await _record(db, entry, below, done, by, reason)
    return done


_NEW: Final = """
SELECT n.oid IS NULL AS homeless,
       EXISTS (SELECT FROM pg_catalog.pg_class c
                WHERE c.relnamespace = n.oid AND c.relname = $2) AS taken,
       pg_catalog.format('%I.%I', $1::pg_catalog.text, $2::pg_catalog.text) AS name
  FROM (SELECT) one LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = $1
"""
# Its partitions and children know it by its name.
_PARENTS_CALLED: Final = """
UPDATE hotrollback.bin b
   SET parents = (SELECT pg_catalog.json_agg(CASE WHEN a.parent = $2 THEN $3 ELSE a.parent END
                                             ORDER BY a.n)
                    FROM pg_catalog.json_array_elements_text(b.parents)
                         WITH ORDINALITY AS a(parent, n))
 WHERE b.xid = $1 AND pg_catalog.json_array_length(b.parents) > 0
"""
_PLACED: Final = "UPDATE hotrollback.bin SET schema = $2, name = $3 WHERE relid = $1"
_CALLED: Final = """
UPDATE hotrollback.bin b
   SET parts = (SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
                           'oid', p.oid, 'kind', p.kind,
                           'name', CASE WHEN p.oid = $2 THEN $3::pg_catalog.text ELSE p.name END))
                  FROM pg_catalog.json_to_recordset(b.parts)
                       AS p(oid pg_catalog.int8, name pg_catalog.text, kind pg_catalog.text))
 WHERE b.relid = $1
"""


async def _rename(db: Database, entry: Entry, new_name: str | None) -> None:
    """Sees to it that there is a place for it."""
    schema, name = entry.schema, entry.name
    if new_name is not None:
        try:
            parts = await db.fetchval("SELECT pg_catalog.parse_ident($1)", new_name)
        except Exception as error:
            if sqlstate(error) != "22023":
                raise
            raise UsageError(f"{new_name!r} is no name for a table") from error
        if len(parts) > 2:
            raise UsageError(f"{new_name!r} is no name for a table")
        name, schema = parts[-1], parts[0] if len(parts) == 2 else schema
    place = await db.fetchrow(_NEW, schema, name)
    if place["homeless"]:
        raise NoSchema(schema)
    if place["taken"]:
        raise NameTaken(place["name"])
    if new_name is not None:
        await db.execute(_PARENTS_CALLED, entry.xid, entry.table, place["name"])
        await db.execute(_PLACED, entry.relid, schema, name)
        await db.execute(_CALLED, entry.relid, entry.relid, name)


# Of its indexes and sequences those whose names others have by now; and, for partitions, of tables.
_TAKEN: Final = """
SELECT p.oid, p.name, b.name::pg_catalog.text AS "table", b.schema::pg_catalog.text AS schema,
       p.oid = b.relid AS itself, n.oid IS NULL AS homeless
  FROM hotrollback.bin b
 CROSS JOIN LATERAL pg_catalog.json_to_recordset(b.parts)
                    AS p(oid pg_catalog.int8, name pg_catalog.text, kind pg_catalog.text)
  LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = b.schema
 WHERE b.relid = $1
   AND (n.oid IS NULL OR EXISTS (SELECT FROM pg_catalog.pg_class c
                                  WHERE c.relnamespace = n.oid AND c.relname = p.name))
"""
# A name that nobody has there, of relations or of statistics; not one of $3 either.
_FREE: Final = """
SELECT x.name
  FROM pg_catalog.generate_series(0, 10000) AS g(n)
 CROSS JOIN LATERAL (SELECT CASE WHEN g.n = 0 THEN $2::pg_catalog.text
                                 ELSE pg_catalog.left($2, 55) || '_' || g.n END AS name) x
 WHERE x.name <> ALL ($3::pg_catalog.text[])
   AND NOT EXISTS (SELECT FROM {catalog} c
                     JOIN pg_catalog.pg_namespace n ON n.oid = c.{schema}
                    WHERE n.nspname = $1 AND c.{name} = x.name)
 ORDER BY g.n LIMIT 1
"""
_FREE_RELATION: Final = _FREE.format(
    catalog="pg_catalog.pg_class", schema="relnamespace", name="relname"
)
_FREE_STATISTICS: Final = _FREE.format(
    catalog="pg_catalog.pg_statistic_ext", schema="stxnamespace", name="stxname"
)
_PART_NAMES: Final = """
SELECT p.name FROM hotrollback.bin b
 CROSS JOIN LATERAL pg_catalog.json_to_recordset(b.parts) AS p(name pg_catalog.text)
 WHERE b.relid = $1
"""


async def _make_room(db: Database, relid: int, done: Restored) -> None:
    own = [row["name"] for row in await db.fetch(_PART_NAMES, relid)]
    for row in await db.fetch(_TAKEN, relid):
        if row["homeless"]:
            raise NoSchema(row["schema"])
        if row["itself"]:
            raise NameTaken(f"{row['schema']}.{row['name']}")
        free = await db.fetchval(_FREE_RELATION, row["schema"], row["name"], own)
        await db.execute(_CALLED, relid, row["oid"], free)
        done.renamed.append((row["name"], free))
    await _place_statistics(db, relid, done)


_STATISTICS: Final = """
SELECT s.oid, s.name, COALESCE(n.nspname, b.schema)::pg_catalog.text AS schema
  FROM hotrollback.bin b
 CROSS JOIN LATERAL pg_catalog.json_to_recordset(b.statistics)
                    AS s(oid pg_catalog.int8, schema pg_catalog.text, name pg_catalog.text)
  LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = s.schema
 WHERE b.relid = $1
 ORDER BY s.oid
"""
_PLACE_STATISTICS: Final = """
UPDATE hotrollback.bin SET statistics = $2::pg_catalog.text::pg_catalog.json WHERE relid = $1
"""


async def _place_statistics(db: Database, relid: int, done: Restored) -> None:
    """They have a schema of their own; where that is gone, the table's."""
    placed: list[dict[str, Any]] = []
    for row in await db.fetch(_STATISTICS, relid):
        free = await db.fetchval(
            _FREE_STATISTICS, row["schema"], row["name"], [each["name"] for each in placed]
        )
        placed.append({**row, "name": free})
        if free != row["name"]:
            done.renamed.append((row["name"], free))
    await db.execute(_PLACE_STATISTICS, relid, json.dumps(placed))


_OBJECTS: Final = """
SELECT b.classid::pg_catalog.int8, b.objid::pg_catalog.int8, o.word,
       pg_catalog.format('%I.%I', b.schema, b.name) AS name,
       pg_catalog.format('ALTER %s SET SCHEMA %I',
                         hotrollback.granted_on_v1(o.word, o.oid), b.schema) AS alter
  FROM hotrollback.binned_for_v1($1) b
  JOIN hotrollback.object o ON (o.classid, o.objid) = (b.classid, b.objid)
"""


async def _objects(db: Database, relid: int, done: Restored) -> None:
    """The types and routines that it needs."""
    for row in await db.fetch(_OBJECTS, relid):
        what = f"{row['word'].lower()} {row['name']}"
        try:
            async with db.transaction():
                gone = await db.fetchval(
                    "SELECT hotrollback.unbin_object_v1($1, $2)", row["classid"], row["objid"]
                )
        except Exception as error:
            if sqlstate(error) not in _NAME_TAKEN:
                raise
            done.missing.append((f"{what}, which it has from the bin: {error}", row["alter"]))
            continue
        done.missing += [(f"what role {role} had on {what}", _NO_ROLE) for role in gone]


# Another type or routine has it by now, or its schema is gone.
_NAME_TAKEN: Final = frozenset({"42710", "42723", "3F000"})


# What it hangs on: parents, and foreign keys with where the tables are that they refer to.
_PARENTS: Final = """
SELECT a.parent, pg_catalog.format(
           CASE WHEN b.bound IS NULL THEN 'ALTER TABLE %1$I.%2$I INHERIT %3$s'
                ELSE 'ALTER TABLE %3$s ATTACH PARTITION %1$I.%2$I %4$s' END,
           b.schema, b.name, a.parent, b.bound) AS statement
  FROM hotrollback.bin b
 CROSS JOIN LATERAL pg_catalog.json_array_elements_text(b.parents) AS a(parent)
 WHERE b.relid = $1
"""
_KEYS: Final = """
SELECT k.name, COALESCE(c.oid::pg_catalog.regclass::pg_catalog.text, k.refers) AS now,
       n.nspname = 'hotrollback_bin' AS binned, k.refers, k.definition,
       pg_catalog.format('ALTER TABLE %I.%I ADD CONSTRAINT %I', b.schema, b.name, k.name) AS alter
  FROM hotrollback.bin b
 CROSS JOIN LATERAL pg_catalog.json_to_recordset(b.keys)
                    AS k(name pg_catalog.text, definition pg_catalog.text,
                         target pg_catalog.int8, refers pg_catalog.text)
  LEFT JOIN pg_catalog.pg_class c ON c.oid = k.target
  LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE b.relid = $1
"""
_GONE: Final = """
DELETE FROM hotrollback.bin WHERE relid = $1
RETURNING pg_catalog.format('%I.%I', schema, name)
"""
# The parent, or the table referred to, is not there or not as it was; rows that break the key.
_TOLERATED: Final = frozenset({
    "42P01", "3F000", "42703", "42704", "42830", "23503", "42P16", "42P17", "42809", "42804",
    "23514",
})  # fmt: skip


async def _keys(db: Database, relid: int, done: Restored) -> None:
    for row in await db.fetch(_PARENTS, relid):
        await _attempt(db, row["statement"], f"its parent {row['parent']}", done)
    for row in await db.fetch(_KEYS, relid):
        refers = row["refers"] if row["binned"] else row["now"]
        definition = row["definition"].replace(
            f" REFERENCES {row['refers']}(", f" REFERENCES {refers}(", 1
        )
        statement = f"{row['alter']} {definition}"
        what = f"foreign key {row['name']} to {refers}"
        if row["binned"]:
            done.missing.append((f"{what}, which is in the bin", statement))
        else:
            await _attempt(db, statement, what, done)


async def _attempt(db: Database, statement: str, what: str, done: Restored) -> None:
    """A table is worth more than what it hangs on."""
    try:
        async with db.transaction():
            await db.execute(statement)
    except Exception as error:
        if sqlstate(error) not in _TOLERATED:
            raise
        done.missing.append((f"{what}: {error}", statement))


# Foreign keys of other tables that went with it, as the log has them.
_INBOUND: Final = """
SELECT pg_catalog.string_agg(
           pg_catalog.format('%s of %s', e.value OPERATOR(pg_catalog.#>>) '{image,name}',
                             e.value OPERATOR(pg_catalog.->>) 'on'), ', ')
  FROM hotrollback.command c
 CROSS JOIN LATERAL pg_catalog.json_array_elements(
                        c.before OPERATOR(pg_catalog.->) 'components') AS e(value)
 WHERE c.xid = $1 AND e.value OPERATOR(pg_catalog.#>>) '{image,kind}' = 'constraint'
   AND e.value OPERATOR(pg_catalog.#>>) '{image,refers}' = $2
"""


async def _inbound(db: Database, entry: Entry, done: Restored) -> None:
    keys = await db.fetchval(_INBOUND, entry.xid, entry.table)
    if keys:
        done.missing.append(
            (
                f"foreign keys of others to it ({keys})",
                f"the undo of transaction {entry.xid} makes them again",
            )
        )


_DROPS: Final = """
SELECT c.xid, c.lsn FROM hotrollback.change c
 WHERE c.xid = {xid} AND c.op = 'B' AND c.relid = ANY ($1::pg_catalog.oid[])
"""


async def _record(
    db: Database,
    entry: Entry,
    below: Mapping[str, int],
    done: Restored,
    by: str,
    reason: str | None,
) -> None:
    """As an undo of the drop of these tables."""
    request = UndoRequest(
        Selection(xids=(entry.xid,), tables=(entry.table,)), by=by, reason=reason or "bin restore"
    )
    drops = _DROPS.format(xid=entry.xid)
    done.undo_id, xid = await record(db, request, None, WHOLE, drops, list(below.values()))
    tables = tuple(TableReport(table, moved="brought back") for table in done.tables)
    report = Report(
        Outcome.DONE, undo_id=done.undo_id, xid=xid, selected_transactions=1, tables=tables
    )
    await keep_report(db, done.undo_id, report.as_dict())
