"""Writing the rows: the sequence of `order`, the statements of `inverse`, counts checked."""

from dataclasses import dataclass
from typing import Final

from undo import path
from undo.database import Database
from undo.errors import AlwaysTrigger, NeedsReplicaRole, NotRestored, PlanNotMet
from undo.inverse import delete, insert, update
from undo.log import DELETE, INSERT, UPDATE
from undo.stages.constraints import broken, rekeyed
from undo.stages.order import Sequence, Work, order
from undo.stages.rows import Laid, Progress, Rows
from undo.tables import Tables

_MAY_SILENCE: Final = "SELECT pg_catalog.has_parameter_privilege('session_replication_role', 'SET')"


@dataclass(frozen=True, slots=True)
class Planned:
    """Of one family: how many rows of each table are to be written how."""

    work: Work
    updates: dict[int, int]
    deletes: dict[int, int]
    movers: dict[int, int]


async def plan(
    db: Database, tables: Tables, laid: Laid, colliding: set[int], *, park_all: bool
) -> tuple[dict[int, Planned], Sequence]:
    """Marks the movers, and counts. With `park_all` every row that is set back is one."""
    planned = {}
    for root, rows in laid.rows.items():
        await _mark_movers(db, rows, colliding, park_all=park_all)
        planned[root] = await _count(db, tables, rows)
    planned = {root: p for root, p in planned.items() if _any(p.work)}
    work = {root: p.work for root, p in planned.items()}
    return planned, order(tables, work, collisions=bool(colliding) or park_all)


def _any(work: Work) -> bool:
    return work.inserts + work.updates + work.deletes > 0


async def _mark_movers(db: Database, rows: Rows, colliding: set[int], *, park_all: bool) -> None:
    """Rows that no UPDATE can bring back: they belong to another partition, have an identity that
    only INSERT can give, or swap unique values with others."""
    identity = [c.name for c in rows.columns if c.identity == "a"]
    other_identity = rows.differ(identity, "w", "o") if identity else "false"
    await db.execute(
        f"UPDATE {rows.effects} e SET mover = true FROM {rows.now} m, {rows.want} w, {rows.ours} o"
        f" WHERE m.n = e.n AND w.{rows.n} = e.n AND o.{rows.n} = e.n AND e.op = 'U' AND e.active"
        f"   AND e.root = {rows.family.root}"
        f"   AND (e.first_relid <> m.relid OR {other_identity}"
        f"        OR e.n = ANY ($1::pg_catalog.int4[]) OR $2::pg_catalog.bool)",
        sorted(colliding),
        park_all,
    )


async def _count(db: Database, tables: Tables, rows: Rows) -> Planned:
    counted = await db.fetch(
        f"SELECT e.op::pg_catalog.text AS op, e.mover, m.relid::pg_catalog.int8 AS relid,"
        f"       pg_catalog.count(*) AS rows"
        f"  FROM {rows.effects} e LEFT JOIN {rows.now} m ON m.n = e.n"
        f" WHERE e.active AND e.root = {rows.family.root} GROUP BY 1, 2, 3"
    )

    def by_table(op: str, *, mover: bool) -> dict[int, int]:
        return {r["relid"]: r["rows"] for r in counted if (r["op"], r["mover"]) == (op, mover)}

    updates, movers = by_table("U", mover=False), by_table("U", mover=True)
    deletes = by_table("D", mover=False)
    changes_values = bool(updates or movers)
    work = Work(
        inserts=sum(r["rows"] for r in counted if r["op"] == "I"),
        updates=sum(updates.values()) + sum(movers.values()),
        deletes=sum(deletes.values()),
        movers=sum(movers.values()),
        rekeyed=await _touched(db, tables, rows, parents=True) if changes_values else frozenset(),
        repointed=await _touched(db, tables, rows, parents=False)
        if changes_values
        else frozenset(),
    )
    return Planned(work, updates, deletes, movers)


async def _touched(db: Database, tables: Tables, rows: Rows, *, parents: bool) -> frozenset[int]:
    """Positions of the foreign keys whose columns, on one side, get other values by an update."""
    found = []
    have = {column.name for column in rows.columns}
    for position, key in enumerate(tables.foreign_keys):
        relid = key.parent if parents else key.child
        columns = key.parent_columns if parents else key.child_columns
        if tables.roots.get(relid) != rows.family.root or not have.issuperset(columns):
            continue
        if await db.fetchval(
            f"SELECT EXISTS (SELECT FROM {rows.effects} e JOIN {rows.want} w ON w.{rows.n} = e.n"
            f"  JOIN {rows.ours} o ON o.{rows.n} = e.n"
            f" WHERE e.active AND e.root = {rows.family.root} AND {rekeyed(rows, columns)})"
        ):
            found.append(position)
    return frozenset(found)


async def apply(
    db: Database,
    tables: Tables,
    laid: Laid,
    planned: dict[int, Planned],
    sequence: Sequence,
    progress: Progress,
) -> None:
    """Raises PlanNotMet, NotRestored: then everything has to be rolled back."""
    await _may(db, tables, planned, sequence)
    await db.execute("SET CONSTRAINTS ALL DEFERRED")
    writer = _Writer(db, laid, planned, sequence, progress)
    write = {INSERT: writer.insert, UPDATE: writer.update, DELETE: writer.delete}
    for op, root in sequence.steps(planned):
        async with path.theirs(db, root):
            await write[op](root)
    await writer.quiet(on=False)
    await db.execute("SET CONSTRAINTS ALL IMMEDIATE")
    failed = await broken(db, tables, laid, set(sequence.silent) & set(planned))
    if failed:
        raise NotRestored(", ".join(failed), "some")


async def _may(
    db: Database, tables: Tables, planned: dict[int, Planned], sequence: Sequence
) -> None:
    for root in planned:
        for heap in tables.families[root].heaps.values():
            if heap.always:
                raise AlwaysTrigger(heap.name, ", ".join(heap.always))
    silent = [tables.families[root].name for root in planned if root in sequence.silent]
    if silent and not await db.fetchval(_MAY_SILENCE):
        raise NeedsReplicaRole(", ".join(silent))


@dataclass(slots=True)
class _Writer:
    db: Database
    laid: Laid
    planned: dict[int, Planned]
    sequence: Sequence
    progress: Progress
    _quiet: bool = False
    _done: int = 0

    async def quiet(self, *, on: bool) -> None:
        """Whether triggers and rules of users, and foreign keys, are off."""
        if on != self._quiet:
            role = "replica" if on else "origin"
            await self.db.execute(f"SET LOCAL session_replication_role = {role}")
            self._quiet = on

    async def insert(self, root: int) -> None:
        count = self.planned[root].work.inserts
        if count:
            rows = self.laid.rows[root]
            await self._run(root, insert(rows, movers=False), "INSERT", count)

    async def update(self, root: int) -> None:
        rows, planned = self.laid.rows[root], self.planned[root]
        for relid, count in planned.movers.items():
            parked = delete(rows, relid, movers=True)
            await self._run(root, parked, "DELETE", count)
        for relid, count in planned.updates.items():
            query = update(rows, relid)
            if query is not None:
                await self._run(root, query, "UPDATE", count)
        if planned.work.movers:
            back = insert(rows, movers=True)
            await self._run(root, back, "INSERT", planned.work.movers)

    async def delete(self, root: int) -> None:
        rows = self.laid.rows[root]
        for relid, count in self.planned[root].deletes.items():
            query = delete(rows, relid, movers=False)
            await self._run(root, query, "DELETE", count)

    async def _run(self, root: int, query: str, what: str, count: int) -> None:
        total = sum(p.work.inserts + p.work.updates + p.work.deletes for p in self.planned.values())
        self.progress("apply", self._done, total)
        await self.quiet(on=root in self.sequence.silent)
        done, fits = await self.db.fetchrow(query)
        name = self.laid.rows[root].family.name
        if done != count:
            raise PlanNotMet(what, name, count, done)
        if not fits:
            raise NotRestored(name, "some")
        self._done += done
