"""Conflicts and what is done about them: every obstacle goes to the policy, and what the policy
takes out may put others in the way, until nothing new is.
"""

from dataclasses import dataclass, field

from undo.database import Database
from undo.image import image
from undo.model import Kind, Resolution
from undo.policies import POLICIES
from undo.request import UndoRequest
from undo.stages.check import Obstacle, row_obstacles
from undo.stages.constraints import constraint_findings
from undo.stages.rows import Laid, drop, heaps_of, set_aside_unchanged
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
        await set_aside_unchanged(db, laid, rows)
    await _decide(db, laid, request, resolved, await row_obstacles(db, laid, request))
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
    await drop(db, laid, dropped)
    for obstacle in overwritten:
        await _overwrite(db, laid, obstacle)
    return bool(overwritten)


async def _overwrite(db: Database, laid: Laid, obstacle: Obstacle) -> None:
    """Make an effect that fits the row as it is now."""
    effect = f"UPDATE {laid.table} SET {{}} WHERE n = $1"
    if obstacle.kind is Kind.OCCUPIED and obstacle.tid is not None:
        await _take_over(db, laid, obstacle)
        await db.execute(effect.format("op = 'U'"), obstacle.n)
    elif not obstacle.found:
        # A row that is gone is made again, or is gone already.
        made = "op = CASE op WHEN 'U' THEN 'I' ELSE op END, active = active AND op <> 'D'"
        await db.execute(effect.format(made), obstacle.n)


async def _take_over(db: Database, laid: Laid, obstacle: Obstacle) -> None:
    """The row that has the key now becomes the one that is restored."""
    rows = heaps_of(laid.rows)[obstacle.relid or 0]
    heap = rows.family.heaps[obstacle.relid or 0]
    picture = image(rows.family.columns, "t", safe_settings=True)
    await db.execute(
        f"INSERT INTO {rows.now} SELECT $1, t.tableoid, t.ctid, {picture}, false"
        f" FROM ONLY {heap.name} t WHERE t.ctid = $2 FOR UPDATE OF t",
        obstacle.n,
        obstacle.tid,
    )
