"""Sequences that fit their rows again: after an undo, and only where that is asked for.

PostgreSQL itself never turns a sequence back, and an undo does not either. What this does is done
behind the undo's commit, in a transaction of its own for each sequence: a position is not rolled
back with a transaction, so it must not rest on rows that may be.
"""

import json
from dataclasses import asdict, replace
from typing import Any, Final

from undo.database import Database, set_all, sqlstate
from undo.model import Fitted
from undo.report import Report

_LOCK_NOT_AVAILABLE: Final = "55P03"

# Which columns take values from which sequence, or own it.
USES: Final = """
SELECT d.objid AS sequence, d.refobjid AS relid, d.refobjsubid::pg_catalog.int2 AS attnum
  FROM pg_catalog.pg_depend d
 WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
   AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
   AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
UNION
SELECT d.refobjid, f.adrelid, f.adnum
  FROM pg_catalog.pg_attrdef f
  JOIN pg_catalog.pg_depend d ON d.objid = f.oid
   AND d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass
   AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
"""

# Of the tables whose rows came or went, partitions with what they are of: their sequences, and for
# each every column of any table that takes values from it or owns it.
_SEQUENCES: Final = f"""
WITH RECURSIVE up(relid) AS (
    SELECT DISTINCT c.relid
      FROM hotrollback.undo u JOIN hotrollback.change c ON c.xid = u.xid
     WHERE (u.id = $1 OR u.batch_of = $1) AND c.op IN ('I', 'D')
    UNION
    SELECT i.inhparent FROM up JOIN pg_catalog.pg_inherits i ON i.inhrelid = up.relid
), uses AS ({USES})
SELECT pg_catalog.format('%I.%I', sn.nspname, c.relname) AS name,
       s.seqincrement AS increment, s.seqstart AS start, s.seqmin AS least, s.seqmax AS most,
       pg_catalog.bool_and(a.atttypid = ANY (ARRAY[20, 21, 23]::pg_catalog.oid[])) AS integers,
       pg_catalog.array_agg(DISTINCT pg_catalog.format('%I.%I', tn.nspname, t.relname)) AS tables,
       pg_catalog.string_agg(pg_catalog.format(
           'SELECT %I::pg_catalog.int8 AS value FROM %I.%I', a.attname, tn.nspname, t.relname),
           ' UNION ALL ') AS values
  FROM uses u
  JOIN pg_catalog.pg_class c ON c.oid = u.sequence AND c.relkind = 'S'
  JOIN pg_catalog.pg_namespace sn ON sn.oid = c.relnamespace
  JOIN pg_catalog.pg_sequence s ON s.seqrelid = c.oid
  JOIN pg_catalog.pg_class t ON t.oid = u.relid AND t.relkind IN ('r', 'p')
  JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace
  JOIN pg_catalog.pg_attribute a ON a.attrelid = u.relid AND a.attnum = u.attnum
 WHERE u.sequence IN (SELECT own.sequence FROM uses own JOIN up ON up.relid = own.relid)
 GROUP BY c.oid, sn.nspname, c.relname, s.seqincrement, s.seqstart, s.seqmin, s.seqmax
 ORDER BY 1
"""


async def fit(db: Database, report: Report, lock_timeout: str) -> Report:
    """Set what the undo's tables take their values from behind the rows that are there now, with
    all writers of those tables held back for as long as that takes. Outside of transactions."""
    if report.undo_id is None:
        return report
    found = [
        await _one(db, row, lock_timeout) for row in await db.fetch(_SEQUENCES, report.undo_id)
    ]
    done = {each.name for each in found if not each.why}
    left = [u for u in report.untouched if u.kind != "sequence" or u.name not in done]
    await db.execute(
        "UPDATE hotrollback.undo SET report = (report::pg_catalog.jsonb"
        " || pg_catalog.jsonb_build_object('sequences', $2::pg_catalog.text::pg_catalog.jsonb))"
        "::pg_catalog.json WHERE id = $1",
        report.undo_id,
        json.dumps([asdict(each) for each in found]),
    )
    return replace(report, sequences=tuple(found), untouched=tuple(left))


def tried(report: Report) -> Report:
    """Of a dry run."""
    found = [each for each in report.untouched if each.kind == "sequence" and each.name]
    why = "this is a dry run"
    return replace(
        report,
        sequences=tuple(Fitted(each.name, why=why) for each in found if each.name),
        untouched=tuple(each for each in report.untouched if each not in found),
    )


async def _one(db: Database, row: Any, lock_timeout: str) -> Fitted:
    if not row["integers"]:
        return Fitted(row["name"], why="not all columns that take its values are integers")
    try:
        async with db.transaction():
            limits = (("lock_timeout", lock_timeout), ("row_security", "off"))
            await set_all(db, limits, local=True)
            listed = ", ".join(sorted(row["tables"]))
            await db.execute(f"LOCK TABLE {listed} IN SHARE ROW EXCLUSIVE MODE")
            return await _set(db, row)
    except Exception as error:
        if sqlstate(error) != _LOCK_NOT_AVAILABLE:
            raise
        return Fitted(row["name"], why=f"others wrote to {', '.join(sorted(row['tables']))}")


async def _set(db: Database, row: Any) -> Fitted:
    was = await db.fetchval(
        f"SELECT CASE WHEN is_called THEN last_value + $1::pg_catalog.int8 ELSE last_value END"
        f"  FROM {row['name']}",
        row["increment"],
    )
    last = await db.fetchval(
        f"SELECT pg_catalog.{'max' if row['increment'] > 0 else 'min'}(v.value)"
        f"  FROM ({row['values']}) v"
    )
    if last is None:
        await _position(db, row, row["start"], called=False)
        return Fitted(row["name"], was, row["start"])
    if not row["least"] <= last <= row["most"]:
        return Fitted(row["name"], why=f"{last} is there, which it never gives")
    await _position(db, row, last, called=True)
    return Fitted(row["name"], was, last + row["increment"])


async def _position(db: Database, row: Any, value: int, *, called: bool) -> None:
    await db.execute(
        "SELECT pg_catalog.setval($1::pg_catalog.text::pg_catalog.regclass, $2, $3)",
        *(row["name"], value, called),
    )


async def asked_for(db: Database, undo_id: int) -> bool:
    """Whether it was of this undo, which is to be redone."""
    asked: bool | None = await db.fetchval(
        "SELECT (u.request ->> 'sequences')::pg_catalog.bool FROM hotrollback.undo u"
        " WHERE u.id = $1",
        undo_id,
    )
    return bool(asked)
