"""What a dry run tells besides: the inverse of each row as a person would write it, the triggers
that would act or be kept silent, the locks. Asked at the end of the real run, before it is rolled
back, so that it is not what was expected but what there was.
"""

from dataclasses import replace
from typing import Final

from undo.database import Database
from undo.inverse import readable
from undo.model import Lock, Trigger
from undo.report import Report
from undo.stages.apply import Planned
from undo.stages.moves import Moves
from undo.stages.order import Sequence
from undo.stages.settle import Settled

_READABLE_ROWS: Final = 100  # per table


async def preview(
    db: Database,
    settled: Settled,
    moves: Moves,
    planned: dict[int, Planned],
    sequence: Sequence,
    report: Report,
) -> Report:
    return replace(
        report,
        statements=(*moves.statements(), *await _statements(db, settled)),
        triggers=await _triggers(db, settled, planned, sequence),
        locks=await _locks(db, settled, moves),
    )


async def _statements(db: Database, settled: Settled) -> tuple[str, ...]:
    found: list[str] = []
    for rows in settled.laid.rows.values():
        lines = [row[0] for row in await db.fetch(readable(rows, _READABLE_ROWS + 1))]
        found += lines[:_READABLE_ROWS]
        if len(lines) > _READABLE_ROWS:
            found.append(f"-- and more rows of {rows.family.name}")
    return tuple(found)


# Those of users that what is written (bits as in tgtype: INSERT 4, DELETE 8, UPDATE 16) calls. Of a
# partitioned table's only its own, not their copies in the partitions.
_ACTING: Final = """
SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) AS relation, x.name, x.kind, w.fires
  FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.oid[]),
                  pg_catalog.unnest($2::pg_catalog.int4[]),
                  pg_catalog.unnest($3::pg_catalog.bool[])) AS w(relid, bits, fires)
  JOIN pg_catalog.pg_class c ON c.oid = w.relid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 CROSS JOIN LATERAL (
       SELECT t.tgname::pg_catalog.text AS name, 'trigger' AS kind
         FROM pg_catalog.pg_trigger t
        WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgparentid = 0
          AND t.tgname !~ '^hotrollback_' AND t.tgenabled IN ('O', 'A')
          AND t.tgtype & w.bits <> 0
       UNION ALL
       SELECT r.rulename::pg_catalog.text, 'rule'
         FROM pg_catalog.pg_rewrite r
        WHERE r.ev_class = c.oid AND r.ev_enabled IN ('O', 'A')
          AND CASE r.ev_type WHEN '2' THEN 16 WHEN '3' THEN 4 WHEN '4' THEN 8 ELSE 0 END
              & w.bits <> 0) AS x
 ORDER BY 1, 3, 2
"""

# The undo makes temporary tables.
_EVENTS: Final = """
SELECT NULL, e.evtname::pg_catalog.text, 'event trigger', true
  FROM pg_catalog.pg_event_trigger e
 WHERE e.evtevent IN ('ddl_command_start', 'ddl_command_end') AND e.evtenabled IN ('O', 'A')
   AND e.evtname !~ '^hotrollback_'
   AND (e.evttags IS NULL OR e.evttags && ARRAY['CREATE TABLE', 'CREATE TABLE AS'])
 ORDER BY 2
"""


async def _triggers(
    db: Database, settled: Settled, planned: dict[int, Planned], sequence: Sequence
) -> tuple[Trigger, ...]:
    tables = settled.tables
    written = [
        (heap.relid, _bits(plan), root not in sequence.silent)
        for root, plan in planned.items()
        for heap in tables.families[root].heaps.values()
    ]
    columns = [list(column) for column in zip(*written, strict=True)] or [[], [], []]
    found = [Trigger(*row) for row in await db.fetch(_ACTING, *columns)]
    for key in tables.foreign_keys:
        roots = {tables.roots.get(key.parent, 0), tables.roots.get(key.child, 0)} & set(planned)
        if roots:
            child = key.child_name.removeprefix("ONLY ")
            found.append(Trigger(child, key.name, "foreign key", not roots & sequence.silent))
    return (*found, *(Trigger(*row) for row in await db.fetch(_EVENTS)))


def _bits(plan: Planned) -> int:
    work = plan.work
    bits = 4 if work.inserts or work.movers else 0
    bits |= 8 if work.deletes or work.movers else 0
    return bits | (16 if work.updates > work.movers else 0)


# Of tables and views of users. The log's own are left out: all that writes has these.
_LOCKS: Final = """
SELECT l.relation::pg_catalog.int8 AS relid,
       pg_catalog.format('%I.%I', n.nspname, c.relname) AS name,
       (pg_catalog.array_agg(l.mode ORDER BY pg_catalog.array_position(ARRAY[
            'AccessShareLock', 'RowShareLock', 'RowExclusiveLock', 'ShareUpdateExclusiveLock',
            'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'],
            l.mode) DESC))[1] AS mode
  FROM pg_catalog.pg_locks l
  JOIN pg_catalog.pg_class c ON c.oid = l.relation AND c.relkind IN ('r', 'p', 'f', 'v', 'm')
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE l.pid = pg_catalog.pg_backend_pid() AND l.locktype = 'relation' AND l.granted
   AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d
                      WHERE d.datname = pg_catalog.current_database())
   AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'hotrollback')
   AND n.nspname !~ '^pg_(temp|toast)'
 GROUP BY l.relation, n.nspname, c.relname
 ORDER BY 2
"""


async def _locks(db: Database, settled: Settled, moves: Moves) -> tuple[Lock, ...]:
    rows: dict[int, int] = {}
    for one in settled.laid.rows.values():
        query = f"SELECT m.relid::pg_catalog.int8, pg_catalog.count(*) FROM {one.now} m GROUP BY 1"
        rows.update(dict(await db.fetch(query)))
    return tuple(
        Lock(moves.names.get(relid, name), mode, rows.get(relid, 0))
        for relid, name, mode in await db.fetch(_LOCKS)
    )
