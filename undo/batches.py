"""An undo in several transactions, each complete in itself, and its redo.

What a batch took back is out of every later selection: the same request goes on where one was cut
off, under the same number. Not: how rows are taken back (engine), which go together (split).
"""

import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

from undo import engine, sequences
from undo.database import Database, sqlstate
from undo.errors import CutOff, RedoCutOff, Refused, TooBusy, UndoError, UsageError
from undo.model import Outcome
from undo.pace import Pace
from undo.report import Report, TableReport
from undo.request import UndoRequest
from undo.stages.load import ROWS
from undo.stages.moves import Moves
from undo.stages.part import WHOLE, Outdated, Part
from undo.stages.rows import Progress
from undo.stages.settle import Settled
from undo.stages.split import Batch, Split, split
from undo.stages.standing import last_undo
from undo.trial import lock_timeout

# Waited for between two batches: whoever runs the undo may have it paused.
Between = Callable[[], Awaitable[None]]

_INTEGRITY: Final = "23"  # the class of errors that say a constraint does not hold
_ROUNDS: Final = 10

# The same selection, cut off, of which nothing was redone.
_BEGUN: Final = """
SELECT pg_catalog.max(u.id)
  FROM hotrollback.undo u
 WHERE u.more AND (u.request -> 'selection')::pg_catalog.jsonb
                  = $1::pg_catalog.text::pg_catalog.jsonb
   AND NOT EXISTS (SELECT FROM hotrollback.undo m
                    WHERE m.batch_of = u.id AND m.redone_by IS NOT NULL)
"""


async def _at_once() -> None:
    """Nobody pauses it."""


async def run(
    db: Database,
    request: UndoRequest,
    progress: Progress | None = None,
    between: Between = _at_once,
) -> Report:
    """As engine.run; in transactions of about `request.batch` rows, if that is given. Conflicts of
    all of it are looked for before the first. Sequences fit the rows at the end, if asked. Raises
    UndoError; CutOff if some of it is done."""
    report = await _run(db, request, progress, between)
    if request.sequences and report.outcome is Outcome.DONE:
        return await sequences.fit(db, report, lock_timeout(request))
    return sequences.tried(report) if request.sequences else report


async def _run(
    db: Database, request: UndoRequest, progress: Progress | None, between: Between
) -> Report:
    if request.batch is None:
        if request.rate or request.max_lag:
            raise UsageError("RATE and MAX LAG are kept between batches: say BATCH, too")
        return await engine.run(db, request, progress)
    if request.plan is not None:
        raise UsageError("a PLAN is done in one transaction: leave out BATCH")
    work = _Work(db, request, progress or (lambda *_: None), between)
    for _ in range(_ROUNDS):
        report = await work.round()
        if report is not None:
            return report
    raise CutOff(work.done, work.group, TooBusy(_ROUNDS), work.group)


@dataclass(slots=True)
class _Looked:
    """What a look at the whole finds."""

    size: int
    split: Split | None = None
    made: tuple[int, ...] = ()  # tables that are to go

    async def at(self, db: Database, settled: Settled, moves: Moves, along: frozenset[int]) -> None:
        self.split = await split(db, settled, self.size, along)
        self.made = tuple(move.relid for move in moves.away)


@dataclass(slots=True)
class _Work:
    db: Database
    request: UndoRequest
    progress: Progress
    between: Between
    group: int | None = None
    looks: list[Report] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    done: int = 0  # batches
    rows: int = 0
    total: int = 0

    async def round(self) -> Report | None:
        """Look at all that is left and do it; None if it has to be looked at again."""
        looked = _Looked(self.request.batch or 0)
        report = await engine.run(self.db, self.request, self._told, Part(look=looked.at))
        if looked.split is None:
            return self._end(report)
        if self.request.dry_run:
            await looked.split.drop(self.db)
            # Rows were not locked, nor written: no locks are told, and no time.
            parts = len(looked.split.batches) + bool(looked.made)
            return replace(report, locks=(), batches=parts)
        if self.group is None:
            selection = json.dumps(self.request.as_dict()["selection"])
            self.group = await self.db.fetchval(_BEGUN, selection)
        self.looks.append(report)
        if looked.made:
            # The rows are looked at again when the tables are not in their way.
            listed = ", ".join(map(str, looked.made))
            only = f"c.op NOT IN {ROWS} OR c.relid IN ({listed})"
            stopped = await self._one(Part(only=only), 0)
            return stopped and self._end(stopped)
        found = await self._all(looked.split)
        await looked.split.drop(self.db)
        return found

    async def _all(self, planned: Split) -> Report | None:
        pace = Pace(self.request.rate, self.request.max_lag)
        self.total = self.rows + sum(batch.rows for batch in planned.batches)
        left = list(planned.batches)
        while left:
            batch = left.pop(0)
            try:
                await self.between()
                pace.begin()
                stopped = await self._one(
                    Part(await planned.listed(self.db, batch.number)), batch.rows
                )
                if left and not stopped:
                    await pace.keep(self.db, batch.rows)
            except Outdated:
                return None
            except Exception as error:
                if left and _of_constraints(error):
                    # By an index over expressions, for instance, rows need one another unseen.
                    await planned.join(self.db, left[0].number, batch.number)
                    left[0] = Batch(batch.number, batch.rows + left[0].rows)
                    continue
                if self.done and (isinstance(error, UndoError) or sqlstate(error)):
                    raise CutOff(self.done, self.group, error, self.group) from error
                raise
            if stopped:
                return self._end(stopped)
        if self.group is not None:
            await self.db.execute(
                "UPDATE hotrollback.undo SET more = false WHERE id = $1", self.group
            )
        return self._summed(Outcome.DONE)

    async def _one(self, part: Part, rows: int) -> Report | None:
        """A transaction; what it says if it did not do its part."""
        part = replace(part, batched=True, batch_of=self.group)
        report = await engine.run(self.db, self.request, self._told, part)
        if report.outcome not in {Outcome.DONE, Outcome.NOTHING}:
            return report
        self.group = self.group or report.undo_id
        self.done += report.undo_id is not None
        self.rows += rows
        self.reports.append(report)
        return None

    def _told(self, stage: str, done: int, total: int) -> None:
        """Of all, as soon as that is known."""
        if self.total:
            self.progress("apply", self.rows + (done if stage == "apply" else 0), self.total)
        else:
            self.progress(stage, done, total)

    def _end(self, report: Report) -> Report:
        """It stops here, whatever was done before."""
        if not self.done:
            return report
        if report.outcome is Outcome.NOTHING:
            return self._summed(Outcome.DONE)
        self.reports.append(report)
        why = report.message.partition(". ")[0]
        told = f"{why}. {self.done} batches were done before and stay done; REDO {self.group} takes"
        return self._summed(report.outcome).with_message(f"{told} them back")

    def _summed(self, outcome: Outcome) -> Report:
        first, last = self.looks[0], self.looks[-1]
        skipped = (TableReport(t.relation, skipped=t.skipped) for t in last.tables if t.skipped)
        found = summed(self.reports)
        conflicts = (*last.conflicts, *found.conflicts)
        return replace(
            found,
            outcome=outcome,
            undo_id=self.group,
            selected_transactions=first.selected_transactions,
            tables=_added((*found.tables, *skipped)),
            conflicts=tuple({(c.relation, c.key, c.kind): c for c in conflicts}.values()),
            gaps=first.gaps,
            along=last.along,
        )


def _of_constraints(error: Exception) -> bool:
    return isinstance(error, Refused) or (sqlstate(error) or "").startswith(_INTEGRITY)


def summed(reports: Sequence[Report]) -> Report:
    """Of several transactions, under the number of the first."""
    done = [report for report in reports if report.undo_id is not None]
    return Report(
        Outcome.DONE,
        undo_id=done[0].undo_id if done else None,
        xid=done[0].xid if done else None,
        selected_transactions=sum(report.selected_transactions for report in reports),
        tables=_added(table for report in reports for table in report.tables),
        conflicts=tuple(conflict for report in reports for conflict in report.conflicts),
        seconds=round(sum(report.seconds for report in reports), 3),
        untouched=tuple(dict.fromkeys(each for report in reports for each in report.untouched)),
        diff=tuple(each for report in reports for each in report.diff),
        batches=len(done),
    )


def _added(tables: Iterable[TableReport]) -> tuple[TableReport, ...]:
    found: dict[tuple[str, str], TableReport] = {}
    for table in tables:
        at = (table.relation, table.moved)
        so_far = found.get(at)
        if so_far is None:
            found[at] = table
            continue
        found[at] = replace(
            so_far,
            inserts=so_far.inserts + table.inserts,
            updates=so_far.updates + table.updates,
            deletes=so_far.deletes + table.deletes,
            skipped=so_far.skipped + table.skipped,
        )
    return tuple(found[at] for at in sorted(found))


# -- back again ------------------------------------------------------------------------------------

_MEMBERS: Final = """
SELECT m.id
  FROM hotrollback.undo u JOIN hotrollback.undo m ON m.batch_of = u.batch_of
 WHERE u.id = $1 AND u.redo_of IS NULL AND m.redone_by IS NULL
 ORDER BY m.id DESC
"""


async def redo(
    db: Database,
    undo_id: int | None,
    *,
    by: str,
    dry_run: bool = False,
    policy: str = "abort",
    reason: str | None = None,
    progress: Progress | None = None,
    between: Between = _at_once,
) -> Report:
    """As engine.redo; of an undo in batches all that stand, newest first, each in a transaction.
    Raises UndoError; CutOff if some of it is done."""
    await engine.ready(db)
    undo_id = undo_id or await last_undo(db)
    members = [row[0] for row in await db.fetch(_MEMBERS, undo_id)]

    async def one(member: int, part: Part) -> Report:
        return await engine.redo(
            db, member, by=by, policy=policy, reason=reason, progress=progress, part=part,
            dry_run=dry_run and not part.batched,
        )  # fmt: skip

    if not members:
        report = await one(undo_id, WHOLE)
    elif dry_run:
        report = await _tried(db, one, members, between)
    else:
        report = await _redone(one, members, between)
    fits = report.outcome is Outcome.DONE and await sequences.asked_for(db, undo_id)
    return await sequences.fit(db, report, lock_timeout(UndoRequest())) if fits else report


class _RolledBack(Exception):
    """Ends what was only tried."""


_One = Callable[[int, Part], Awaitable[Report]]


async def _tried(db: Database, one: _One, members: list[int], between: Between) -> Report:
    report = Report(Outcome.NOTHING)
    with suppress(_RolledBack):
        async with db.transaction(isolation="read_committed"):
            report = await _redone(one, members, between)
            raise _RolledBack
    if report.outcome is not Outcome.DONE:
        return report
    return replace(report, outcome=Outcome.PREVIEW, undo_id=None, xid=None)


async def _redone(one: _One, members: list[int], between: Between) -> Report:
    done: list[Report] = []
    for member in members:
        await between()
        group = done[0].undo_id if done else None
        try:
            report = await one(member, Part(batched=True, batch_of=group))
        except UndoError as error:
            if not done:
                raise
            raise RedoCutOff(len(done), error) from error
        if report.outcome is not Outcome.DONE:
            if not done:
                return report
            why = report.message.partition(". ")[0]
            told = f"{why}. {len(done)} batches were redone before and stay so; REDO again goes on"
            found = summed([*done, report])
            return replace(found, outcome=report.outcome).with_message(told)
        done.append(report)
    return summed(done)
