"""One number for all that a plan would do: to which rows, what they are and what they become, and
what was in the way. The same plan made again gives the same one, as long as the world stands still.
"""

import hashlib
import json
from typing import Any, Final

from undo.database import Database
from undo.errors import PlanMoved
from undo.report import Report
from undo.request import UndoRequest
from undo.stages.moves import Moves
from undo.stages.rows import Rows
from undo.stages.settle import Settled

# What of the request decides about rows and is not seen in them.
_DECIDES: Final = ("policy", "policies", "ignore", "accept_gaps", "trust_log")


async def hold(
    db: Database, settled: Settled, moves: Moves, request: UndoRequest, report: Report
) -> None:
    """Raises PlanMoved unless this is the plan that was asked for, if one was."""
    if request.plan is None:
        return
    found = await digest(db, settled, moves, request, report)
    if found != request.plan:
        raise PlanMoved("what it would do is not what it was. Nothing was changed")


async def digest(
    db: Database, settled: Settled, moves: Moves, request: UndoRequest, report: Report
) -> str:
    said = report.as_dict()
    asked = request.as_dict()
    whole: list[Any] = [
        await db.fetchval("SELECT pg_catalog.current_database()::pg_catalog.text"),
        {name: asked[name] for name in _DECIDES},
        [said[name] for name in ("conflicts", "gaps", "along")],
        [moves.away, moves.back, sorted(moves.left)],
        await _left(db, settled),
    ]
    for root, rows in sorted(settled.laid.rows.items()):
        ignored = sorted(rows.ignored)  # which columns stay is not seen in rows
        whole.append([root, rows.family.name, ignored, await db.fetchval(_rows(rows))])
    return hashlib.sha256(json.dumps(whole).encode()).hexdigest()


async def _left(db: Database, settled: Settled) -> list[list[Any]]:
    """Effects without a table."""
    rows = await db.fetch(
        f"SELECT e.tail_relid::pg_catalog.int8, e.tail_tid::pg_catalog.text,"
        f"       e.op::pg_catalog.text, pg_catalog.count(*)"
        f"  FROM {settled.laid.table} e WHERE e.root IS NULL GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
    )
    return [list(row) for row in rows]


def _rows(rows: Rows) -> str:
    """Of each row where and what it is now, what the selection left, and what it becomes."""
    one = (
        "pg_catalog.format('%L,%L,%L,%L,%L,%L,%L,%L,%L', e.op, e.active, e.dropped, e.first_relid,"
        f" m.relid, m.tid, m.image, CASE WHEN o.{rows.n} IS NOT NULL THEN {rows.text('o')} END,"
        f" CASE WHEN w.{rows.n} IS NOT NULL THEN {rows.text('w')} END)"
    )
    return (
        f"SELECT pg_catalog.encode(pg_catalog.sha256(COALESCE(pg_catalog.string_agg("
        f"x.one, '' ORDER BY x.one), '')), 'hex') FROM ("
        f"SELECT pg_catalog.sha256(pg_catalog.convert_to({one}, 'UTF8')) AS one"
        f"  FROM {rows.effects} e LEFT JOIN {rows.now} m ON m.n = e.n"
        f"  LEFT JOIN {rows.want} w ON w.{rows.n} = e.n AND e.op <> 'D'"
        f"  LEFT JOIN {rows.ours} o ON o.{rows.n} = e.n"
        f" WHERE e.root = {rows.family.root}) x"
    )
