"""Which transactions are inside a window of time.

A transaction is inside when its commit is, where the server kept that; otherwise when its last
record is. It is settled once: what commits after the window was looked at is outside of it.
"""

from typing import Final

from undo.database import Database
from undo.errors import BadFilter
from undo.request import Selection
from undo.stages.chosen import Chosen

# When a transaction (x.xid) committed; NULL where the server does not know (any more). It is asked
# by 32 bits: of a transaction from before they came round it would tell another's.
COMMITTED: Final = """
CASE WHEN x.xid > pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())
                  ::pg_catalog.text::pg_catalog.int8 - 2147483648
     THEN pg_catalog.pg_xact_commit_timestamp(
              (x.xid & 4294967295)::pg_catalog.text::pg_catalog.xid) END
"""

_BY_RECORD: Final = """
SELECT x.xid FROM hotrollback.{table} x
 WHERE ($1::pg_catalog.timestamptz IS NULL OR x.at >= $1)
 GROUP BY x.xid HAVING pg_catalog.max(x.at) <= $2
"""
# Of those that wrote before the window, only the ones matter that did not end before it: they are
# younger than the oldest transaction that a restore point before the window saw running.
_BY_COMMIT: Final = """
SELECT x.xid
  FROM (SELECT x.xid, pg_catalog.max(x.at) AS at FROM hotrollback.{table} x
         WHERE $1::pg_catalog.timestamptz IS NULL OR x.at >= $1
            OR x.xid >= (SELECT COALESCE(pg_catalog.max(pg_catalog.pg_snapshot_xmin(r.snapshot)
                                         ::pg_catalog.text::pg_catalog.int8), 0)
                           FROM hotrollback.restore_point r WHERE r.at <= $1)
         GROUP BY x.xid) x
 CROSS JOIN LATERAL (SELECT COALESCE({committed}, x.at) AS at) AS t
 WHERE ($1::pg_catalog.timestamptz IS NULL OR t.at >= $1) AND t.at <= $2
"""


async def keeps_commits(db: Database) -> bool:
    """Whether the server keeps when transactions commit."""
    found: bool = await db.fetchval(
        "SELECT pg_catalog.current_setting('track_commit_timestamp')::pg_catalog.bool"
    )
    return found


async def times(db: Database, selection: Selection, chosen: Chosen) -> None:
    """Raises BadFilter."""
    if selection.since is None and selection.until is None:
        return
    since, until = selection.since, selection.until
    if since is not None and until is not None and since > until:
        raise BadFilter(f"the window ends ({until}) before it begins ({since})")
    until = until or await db.fetchval("SELECT pg_catalog.clock_timestamp()")
    query = _BY_COMMIT if await keeps_commits(db) else _BY_RECORD
    found: set[int] = set()
    for table in ("change", "command", "gap"):
        text = query.format(table=table, committed=COMMITTED)
        found.update(row["xid"] for row in await db.fetch(text, since, until))
    transactions(chosen, sorted(found))


def transactions(chosen: Chosen, xids: list[int]) -> None:
    """The bounds are for the index, which knows no lists."""
    low, high = (min(xids), max(xids)) if xids else (0, -1)
    given = chosen.given(xids)
    chosen.both(
        f"c.xid = ANY ({given}::pg_catalog.int8[])"
        f" AND c.xid BETWEEN {chosen.given(low)} AND {chosen.given(high)}"
    )
