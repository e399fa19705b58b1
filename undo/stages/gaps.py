"""What is inside of a selection and was not recorded, or not exactly."""

from collections.abc import Collection
from typing import Final

from undo.database import Database
from undo.model import Gap
from undo.stages.select import SESSION_OF, Chosen

# A change (c) that was recorded when another session had just altered its table, so that its image
# may lack a column, and that no trigger recorded as well.
STALE: Final = """c.stale AND NOT EXISTS (
    SELECT FROM hotrollback.change x
     WHERE x.xid = c.xid AND x.relid = c.relid AND x.op = c.op AND x.stale IS NOT TRUE
       AND x.old_tid IS NOT DISTINCT FROM c.old_tid AND x.new_tid IS NOT DISTINCT FROM c.new_tid)"""

_GAPS: Final = """
SELECT {distinct} c.xid, c.at, c.tag, {reason} AS reason, {session} AS session,
       c.relid::pg_catalog.int8 AS relid,
       (SELECT r.rolname::pg_catalog.text FROM pg_catalog.pg_roles r WHERE r.oid = c.role) AS role,
       COALESCE((SELECT pg_catalog.format('%I.%I', n.nspname, k.relname)
                   FROM pg_catalog.pg_class k
                   JOIN pg_catalog.pg_namespace n ON n.oid = k.relnamespace
                  WHERE k.oid = c.relid),
                (SELECT r.name FROM hotrollback.relation r
                  WHERE r.relid = c.relid ORDER BY r.seen DESC LIMIT 1)) AS relation,
       COALESCE({text}, (SELECT s.text FROM hotrollback.statement s
                          WHERE s.fingerprint = c.fingerprint)) AS statement
  FROM {records} c
 WHERE {where}
 ORDER BY {order}
"""


async def gaps_of(
    db: Database, chosen: Chosen, gone: Collection[int] = frozenset()
) -> tuple[Gap, ...]:
    """What was not recorded, or not exactly, inside of the selection; not what is about tables that
    go as a whole."""
    noted = _GAPS.format(
        distinct="",
        reason="c.reason",
        session=SESSION_OF,
        text="c.statement",
        records="hotrollback.gap",
        where=chosen.gaps_where,
        order="c.lsn",
    )
    stale = _GAPS.format(
        distinct="DISTINCT ON (c.xid, c.relid)",
        reason="'stale_catalog'",
        session=SESSION_OF,
        text="NULL::pg_catalog.text",
        records="hotrollback.change",
        where=f"{STALE} AND {chosen.where}",
        order="c.xid, c.relid, c.lsn",
    )
    found: list[Gap] = []
    for query in (noted, stale):
        found += [
            Gap(
                row["xid"],
                row["at"],
                row["session"],
                row["tag"],
                row["role"],
                row["relation"],
                row["reason"],
                row["statement"],
            )
            for row in await db.fetch(query, *chosen.args)
            if row["relid"] not in gone
        ]
    return tuple(found)
