"""What CREATE INDEX CONCURRENTLY and the like leave when they fail half-way: an index that is not
valid, and the gap that was announced before them, since they cannot be recorded as they run.
"""

from typing import Final

from undo.database import Database
from undo.stages.chosen import Chosen

# Gaps of such statements in the selection, with the tables that they named, or whose indexes.
_ANNOUNCED: Final = """
SELECT c.ctid::pg_catalog.text AS place, c.xid,
       COALESCE(i.indrelid, c.relid)::pg_catalog.int8 AS relid
  FROM hotrollback.gap c
  JOIN hotrollback.statement s ON s.fingerprint = c.fingerprint
  JOIN pg_catalog.pg_class k ON k.oid = c.relid
  LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.relid
 WHERE ({where}) AND c.reason = 'ddl' AND s.text ~* '\\mconcurrently\\M'
   -- Who makes one holds this lock from the beginning to the end.
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_locks l
                     LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
                    WHERE l.relation = COALESCE(i.indrelid, c.relid) AND l.granted
                      AND l.mode = 'ShareUpdateExclusiveLock'
                      AND a.backend_type IS DISTINCT FROM 'autovacuum worker')
"""
_INDEXES: Final = (
    "SELECT hotrollback.unfinished_indexes_v1($1)::pg_catalog.oid[]::pg_catalog.int8[]"
)
# Not what was there before it.
_UNFINISHED: Final = """
SELECT pg_catalog.format('DROP INDEX %I.%I', n.nspname, c.relname)
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.oid = ANY ($1::pg_catalog.oid[])
   AND pg_catalog.age(c.xmin) <= pg_catalog.age(($2 % 4294967296)::pg_catalog.text::pg_catalog.xid)
"""
_EXPLAINED: Final = "DELETE FROM hotrollback.gap WHERE ctid = $1::pg_catalog.text::pg_catalog.tid"


async def clear(db: Database, chosen: Chosen) -> tuple[str, ...]:
    """Drop what is not finished, where the table is for the rest what is known of it: then nothing
    is missing in the log. What was run."""
    done: list[str] = []
    for row in await db.fetch(_ANNOUNCED.format(where=chosen.gaps_where), *chosen.args):
        indexes = await db.fetchval(_INDEXES, row["relid"])
        if indexes is None:
            continue
        for (statement,) in await db.fetch(_UNFINISHED, indexes, row["xid"]):
            await db.execute(statement)
            done.append(statement)
        await db.execute(_EXPLAINED, row["place"])
    return tuple(done)
