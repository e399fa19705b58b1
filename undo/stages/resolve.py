"""Conflicts and what is done about them: every obstacle goes to its table's policy, and what the
policy takes out may put others in the way, until nothing new is.
"""

from collections.abc import Collection
from dataclasses import dataclass, field, replace

from undo.database import Database
from undo.image import image
from undo.log import UPDATE
from undo.model import Kind, Resolution
from undo.policies import POLICIES
from undo.stages.along import in_the_way
from undo.stages.check import Obstacle, row_obstacles
from undo.stages.checks import take_as_ours
from undo.stages.constraints import constraint_findings
from undo.stages.merge import merge
from undo.stages.rows import Laid, drop, heaps_of, set_aside_unchanged
from undo.stages.rules import Rules
from undo.stages.settle import Settled


@dataclass(slots=True)
class Resolved:
    obstacles: list[Obstacle] = field(default_factory=list)
    colliding: set[int] = field(default_factory=set)
    along: set[int] = field(default_factory=set)  # transactions that are to be taken back, too
    stopped: bool = False


async def resolve_all(db: Database, settled: Settled, rules: Rules, *, trust_log: bool) -> Resolved:
    laid = settled.laid
    resolved = Resolved()
    for rows in laid.rows.values():
        await set_aside_unchanged(db, laid, rows)
    found = await row_obstacles(db, laid, trust_log=trust_log)
    await _decide(db, settled, rules, resolved, found)
    while not resolved.along:  # with a larger selection everything is looked at anew
        findings = await constraint_findings(db, settled.tables, laid)
        resolved.colliding = findings.colliding
        if not findings.obstacles:
            return resolved
        moved_on = await _decide(db, settled, rules, resolved, findings.obstacles)
        if resolved.stopped or not moved_on:
            break
    return resolved


async def _decide(
    db: Database,
    settled: Settled,
    rules: Rules,
    resolved: Resolved,
    obstacles: list[Obstacle],
) -> bool:
    """Whether the rows, or what is to be made of them, are others than before."""
    by: dict[Resolution, list[Obstacle]] = {resolution: [] for resolution in Resolution}
    laid = settled.laid
    roots = await _roots(db, laid, [o.n for o in obstacles])
    for obstacle in obstacles:
        policy = rules.policy_of(roots[obstacle.n])
        by[POLICIES[policy](obstacle.kind)].append(obstacle)
    merged = await _merge(db, settled, resolved, by[Resolution.MERGE])
    await _take_along(db, settled, resolved, by[Resolution.TAKE_ALONG])
    resolved.stopped |= bool(by[Resolution.STOP])
    resolved.obstacles += by[Resolution.STOP] + by[Resolution.DROP] + by[Resolution.OVERWRITE]
    dropped = await drop(db, laid, [o.n for o in by[Resolution.DROP]])
    for obstacle in by[Resolution.OVERWRITE]:
        await _overwrite(db, laid, obstacle)
    await take_as_ours(db, laid, [o.n for o in by[Resolution.OVERWRITE]])
    return bool(merged or dropped or by[Resolution.OVERWRITE])


async def _roots(db: Database, laid: Laid, numbers: Collection[int]) -> dict[int, int | None]:
    rows = await db.fetch(
        f"SELECT e.n, e.root::pg_catalog.int8 FROM {laid.table} e"
        f" WHERE e.n = ANY ($1::pg_catalog.int4[])",
        sorted(numbers),
    )
    return dict(rows)


async def _merge(
    db: Database, settled: Settled, resolved: Resolved, obstacles: list[Obstacle]
) -> bool:
    """Updates of rows that are there are taken apart; what others deleted since stays deleted."""
    if not obstacles:
        return False
    laid = settled.laid
    updates = await _updates(db, laid, [o.n for o in obstacles])
    numbers = [o.n for o in obstacles if o.n in updates and o.found]
    merged = await merge(db, laid, settled.parts, numbers)
    gone = [o.n for o in obstacles if o.n in updates and not o.found]
    await drop(db, laid, [*merged.left, *gone])
    for o in obstacles:
        told = o
        if o.n not in updates:
            told = replace(o, detail=f"{o.detail}; the selection made or deleted it: no merge")
        elif o.n in merged.broken:
            told = replace(o, kind=Kind.CHECK, detail=f"merged, it breaks {merged.broken[o.n]}")
        elif o.n in merged.kept:
            told = replace(o, detail=f"{o.detail}: {merged.kept[o.n]} stays as it is")
        resolved.obstacles.append(told)
        resolved.stopped |= o.n not in updates or o.n in merged.broken
    return True


async def _updates(db: Database, laid: Laid, numbers: Collection[int]) -> set[int]:
    rows = await db.fetch(
        f"SELECT e.n FROM {laid.table} e WHERE e.op = '{UPDATE}'"
        f" AND e.n = ANY ($1::pg_catalog.int4[])",
        sorted(numbers),
    )
    return {row[0] for row in rows}


async def _take_along(
    db: Database, settled: Settled, resolved: Resolved, obstacles: list[Obstacle]
) -> None:
    """Whoever is in the way and known; otherwise nothing is changed."""
    if not obstacles:
        return
    found = await in_the_way(db, settled.tables, settled.laid, obstacles)
    resolved.along.update(xid for _, xid in found)
    known = {n for n, _ in found}
    resolved.obstacles += obstacles
    resolved.stopped |= any(o.n not in known for o in obstacles)


async def _overwrite(db: Database, laid: Laid, obstacle: Obstacle) -> None:
    """Make an effect that fits the row as it is now."""
    effect = f"UPDATE {laid.table} SET {{}} WHERE n = $1"
    if obstacle.kind is Kind.OCCUPIED and obstacle.rows:
        await _take_over(db, laid, obstacle)
        await db.execute(effect.format("op = 'U'"), obstacle.n)
    elif not obstacle.found:
        # A row that is gone is made again, or is gone already.
        made = "op = CASE op WHEN 'U' THEN 'I' ELSE op END, active = active AND op <> 'D'"
        await db.execute(effect.format(made), obstacle.n)


async def _take_over(db: Database, laid: Laid, obstacle: Obstacle) -> None:
    """The row that has the key now becomes the one that is restored."""
    ((relid, tid),) = obstacle.rows
    rows = heaps_of(laid.rows)[relid]
    heap = rows.family.heaps[relid]
    picture = image(rows.family.columns, "t", safe_settings=True)
    await db.execute(
        f"INSERT INTO {rows.now} SELECT $1, t.tableoid, t.ctid, {picture}, false"
        f" FROM ONLY {heap.name} t WHERE t.ctid = $2 FOR UPDATE OF t",
        obstacle.n,
        tid,
    )
