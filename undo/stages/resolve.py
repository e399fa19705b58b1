"""Conflicts and what is done about them: every obstacle goes to the policy, and what the policy
takes out may put others in the way, until nothing new is.
"""

from dataclasses import dataclass, field

from undo.database import Database
from undo.image import image
from undo.log import DELETE
from undo.model import Kind, Resolution
from undo.policies import POLICIES
from undo.request import UndoRequest
from undo.stages.check import Obstacle, row_obstacles
from undo.stages.constraints import constraint_findings
from undo.stages.rows import Laid, set_aside, unchanged
from undo.stages.settle import Settled


@dataclass(slots=True)
class Resolved:
    obstacles: list[Obstacle] = field(default_factory=list)
    dropped: set[int] = field(default_factory=set)  # effects that are left as they are
    colliding: set[int] = field(default_factory=set)
    stopped: bool = False


async def resolve_all(db: Database, settled: Settled, request: UndoRequest) -> Resolved:
    laid = settled.laid
    resolved = Resolved()
    for rows in laid.rows.values():
        await set_aside(db, laid, await unchanged(db, rows))
    await _decide(
        db, laid, request, resolved, await row_obstacles(db, laid, settled.loaded, request)
    )
    while True:
        findings = await constraint_findings(db, settled.tables, laid)
        resolved.colliding = findings.colliding
        if not findings.obstacles:
            return resolved
        before = len(resolved.dropped)
        overwritten = await _decide(db, laid, request, resolved, findings.obstacles)
        if resolved.stopped or (len(resolved.dropped) == before and not overwritten):
            return resolved


async def _decide(
    db: Database, laid: Laid, request: UndoRequest, resolved: Resolved, obstacles: list[Obstacle]
) -> bool:
    """Whether some row is overwritten."""
    policy = POLICIES[request.policy]
    overwritten = [o for o in obstacles if policy(o.kind) is Resolution.OVERWRITE]
    dropped = {o.n for o in obstacles if policy(o.kind) is Resolution.DROP}
    resolved.stopped = resolved.stopped or any(policy(o.kind) is Resolution.STOP for o in obstacles)
    resolved.obstacles += obstacles
    resolved.dropped |= dropped
    await set_aside(db, laid, dropped)
    for obstacle in overwritten:
        await _overwrite(db, laid, obstacle)
    return bool(overwritten)


async def _overwrite(db: Database, laid: Laid, obstacle: Obstacle) -> None:
    """Make an effect that fits the row as it is now."""
    n = obstacle.n
    op = laid.ops[n]
    if obstacle.kind is Kind.OCCUPIED and obstacle.tid is not None:
        await _take_over(db, laid, obstacle)
    elif op != "I" and not obstacle.found:
        if op == DELETE:
            await set_aside(db, laid, [n])
        else:
            await db.execute(f"UPDATE {laid.table} SET op = 'I' WHERE n = $1", n)


async def _take_over(db: Database, laid: Laid, obstacle: Obstacle) -> None:
    """The row that has the key now becomes the one that is restored."""
    root = laid.roots[obstacle.n]
    if root is None or obstacle.relid is None:
        raise AssertionError("a row of a table that is gone")
    rows = laid.rows[root]
    heap = rows.family.heaps[obstacle.relid]
    picture = image(rows.family.columns, "t", safe_settings=True)
    await db.execute(
        f"INSERT INTO {rows.now} SELECT $1, t.tableoid, t.ctid, {picture}, false"
        f" FROM ONLY {heap.name} t WHERE t.ctid = $2 FOR UPDATE OF t",
        obstacle.n,
        obstacle.tid,
    )
    await db.execute(f"UPDATE {laid.table} SET op = 'U' WHERE n = $1", obstacle.n)
