"""A migration before it is run: each statement is really run, in one transaction that is rolled
back, and asked whether it could be undone exactly, and what it takes to keep what that needs.

What the statements lock stays locked until the end, and what they write is written once: it is as
much work as the migration. Sequences go on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from undo.database import Database, sqlstate
from undo.engine import ready
from undo.image import quote_literal


@dataclass(frozen=True, slots=True)
class Piece:
    """A statement of a script, as far as its text tells."""

    text: str
    spared: bool = False  # it may destroy something: the proxy runs it through run_ddl_v1
    apart: bool = False  # it cannot run in a transaction
    left_out: bool = False  # it begins or ends a transaction


@dataclass(frozen=True, slots=True)
class Verdict:
    text: str
    exact: bool
    rows: int = 0  # whose images are recorded, or whose values are kept
    bytes: int = 0  # of these
    locks: tuple[str, ...] = ()  # the strong ones that it takes, with their tables
    why: str = ""  # it is not exact, or how it is done


async def rehearse(
    db: Database, pieces: Sequence[Piece], *, lock_timeout: float = 2.0
) -> tuple[Verdict, ...]:
    """Raises NotInstalled. A statement that fails is told, and the rest goes on without it."""
    await ready(db)
    await db.execute("BEGIN")
    try:
        await db.execute(f"SET LOCAL lock_timeout = '{round(lock_timeout * 1000)}ms'")
        await db.execute('SET LOCAL search_path = "$user", public')  # whatever ours is
        return tuple([await _verdict(db, piece) for piece in pieces])
    finally:
        await db.execute("ROLLBACK")


async def _verdict(db: Database, piece: Piece) -> Verdict:
    if piece.left_out:
        return Verdict(piece.text, exact=True, why="left out: the rehearsal is one transaction")
    if piece.apart:
        told = "not rehearsed, it cannot run in a transaction: what it leaves if it fails half-way"
        return Verdict(piece.text, exact=False, why=f"{told} would have to be dropped by hand")
    before = await db.fetchrow(_STATE)
    text = piece.text
    if piece.spared:
        text = f"CALL hotrollback.run_ddl_v1({quote_literal(text)})"
    await db.execute("SAVEPOINT hotrollback_piece")
    try:
        await db.execute(text)
        await db.execute("RELEASE SAVEPOINT hotrollback_piece")
    except Exception as error:
        if sqlstate(error) is None:
            raise
        await db.execute("ROLLBACK TO SAVEPOINT hotrollback_piece")
        return Verdict(piece.text, exact=False, why=f"it fails: {error}")
    after = await db.fetchrow(_STATE)
    gaps = await db.fetch(_GAPS, before["lsn"])
    return Verdict(
        piece.text,
        exact=not gaps,
        rows=after["rows"] - before["rows"] + after["kept_rows"] - before["kept_rows"],
        bytes=after["bytes"] - before["bytes"] + after["kept"] - before["kept"],
        locks=tuple(sorted({*after["locks"]} - {*before["locks"]})),
        why=_told(gaps, before, after),
    )


def _told(gaps: Sequence[Any], before: Any, after: Any) -> str:
    if gaps:
        return "; ".join(f"{g['reason']}: {g['statement'] or g['relation'] or '?'}" for g in gaps)
    moved = after["binned"] - before["binned"]
    if moved:
        return f"{moved} table{'' if moved == 1 else 's'} would go to the bin"
    return "values are kept" if after["kept"] > before["kept"] else ""


# What this transaction has recorded and kept so far, and the strong locks that it holds.
_STATE: Final = """
WITH mine AS (
    SELECT c.before, c.after FROM hotrollback.change c
     WHERE c.xid = pg_catalog.pg_current_xact_id()::pg_catalog.text::pg_catalog.int8
       AND c.at >= pg_catalog.transaction_timestamp() AND c.op IN ('I', 'U', 'D')
), kept AS (
    SELECT k.oid, pg_catalog.pg_table_size(k.oid) AS size
      FROM hotrollback.kept h
      JOIN pg_catalog.pg_class k ON k.relname = h.name
       AND k.relnamespace = pg_catalog.to_regnamespace('hotrollback_bin')
     WHERE h.at >= pg_catalog.transaction_timestamp()
)
SELECT pg_catalog.pg_current_wal_insert_lsn()::pg_catalog.text AS lsn,
       (SELECT pg_catalog.count(*) FROM mine) AS rows,
       (SELECT COALESCE(pg_catalog.sum(pg_catalog.pg_column_size(m.before)
                                       + COALESCE(pg_catalog.pg_column_size(m.after), 0)), 0)
          FROM mine m)::pg_catalog.int8 AS bytes,
       (SELECT COALESCE(pg_catalog.sum(k.size), 0) FROM kept k)::pg_catalog.int8 AS kept,
       (SELECT COALESCE(pg_catalog.sum(pg_catalog.pg_stat_get_xact_tuples_inserted(k.oid)), 0)
          FROM kept k)::pg_catalog.int8 AS kept_rows,
       (SELECT pg_catalog.count(*) FROM hotrollback.bin b
         WHERE b.at >= pg_catalog.transaction_timestamp()) AS binned,
       ARRAY(SELECT pg_catalog.format('%s: %s', c.oid::pg_catalog.regclass, l.mode)
               FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_class c ON c.oid = l.relation
               JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
              WHERE l.pid = pg_catalog.pg_backend_pid() AND c.relkind IN ('r', 'p', 'm')
                AND n.nspname !~ '^(pg_|information_schema|hotrollback)'
                AND l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock',
                               'AccessExclusiveLock')) AS locks
"""
_GAPS: Final = """
SELECT g.reason, g.statement,
       g.relid::pg_catalog.regclass::pg_catalog.text AS relation
  FROM hotrollback.gap g
 WHERE g.xid = pg_catalog.pg_current_xact_id()::pg_catalog.text::pg_catalog.int8
   AND g.lsn >= $1::pg_catalog.text::pg_catalog.pg_lsn
 ORDER BY g.lsn
"""
