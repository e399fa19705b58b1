"""An undo from request to report: select, load, fold, check, policy, order, apply, verify, record.

One transaction, and one path: a preview is the same, rolled back. Undos of a database wait for one
another.
"""

from collections.abc import Collection
from dataclasses import replace
from time import monotonic
from typing import Any, Final

from undo.database import Database, lock_undo, set_all
from undo.ends import (
    nothing_left,
    only_cleared,
    redo_of_nothing,
    stopped_by_conflicts,
    stopped_by_gaps,
)
from undo.errors import (
    NoScript,
    PlanMoved,
    UnknownPolicy,
    UsageError,
)
from undo.image import PINNED_SETTINGS
from undo.model import Outcome
from undo.origin import check_installed, check_origin
from undo.policies import POLICIES
from undo.report import Report, TableReport
from undo.request import Selection, UndoRequest
from undo.schema.component import Command
from undo.script import Say, write
from undo.segments import commands_of, take_back
from undo.stages import select
from undo.stages.along import told
from undo.stages.apply import Planned, apply, plan
from undo.stages.describe import describe
from undo.stages.diff import differences
from undo.stages.digest import digest, hold
from undo.stages.gaps import gaps_of
from undo.stages.halfway import clear
from undo.stages.load import by_index, match, summarize
from undo.stages.moves import Moves, move, move_last, moves_of, tie
from undo.stages.part import WHOLE, Outdated, Part
from undo.stages.preview import preview
from undo.stages.record import begin, keep_report, record, redone
from undo.stages.resolve import Resolved, resolve_all
from undo.stages.rows import Progress
from undo.stages.rules import rules_of
from undo.stages.select import Chosen
from undo.stages.settle import Settled, settle
from undo.stages.standing import last_undo, not_redone_yet
from undo.stages.untouched import untouched
from undo.trial import BACK_OFF, Again, RolledBack, TakeAlong, Trial, after, lock_timeout

_SETTINGS: Final = (
    *PINNED_SETTINGS,
    ("row_security", "off"),  # an error instead of rows that are silently not seen
    ("statement_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("jit", "off"),
    ("work_mem", "64MB"),
    ("hotrollback.tag", ""),
    ("client_min_messages", "warning"),
)

_NEXT: Final = (
    "SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())"
    "::pg_catalog.text::pg_catalog.int8"
)


def _silence(_stage: str, _done: int, _total: int) -> None:
    """Nobody watches."""


async def run(
    db: Database,
    request: UndoRequest,
    progress: Progress | None = None,
    part: Part = WHOLE,
    script: Say | None = None,
) -> Report:
    """Undo what is selected: all of it, or nothing. A dry run says the same as a script, piece by
    piece, if asked. Raises UndoError; Outdated for a part."""
    policies = {request.policy, *(policy for _, policy in request.policies)}
    for policy in policies - POLICIES.keys():
        raise UnknownPolicy(policy, ", ".join(POLICIES))
    if "cascade" in policies and request.selection.undo_id is not None:
        raise UsageError("a redo takes nobody along: undo what is in its way first")
    await ready(db)
    await summarize(db)
    trial = Trial(script=script, began=await db.fetchval(_NEXT))
    while True:
        try:
            async with db.transaction(isolation="read_committed"):
                return await _attempt(db, request, progress or _silence, trial, part)
        except RolledBack as end:
            if request.plan is not None and end.report.outcome is not Outcome.PREVIEW:
                raise PlanMoved(end.report.message) from None
            return end.report
        except TakeAlong as more:
            if part.listed:
                raise Outdated from more
            trial = trial.taking(more.xids)
        except Again:
            trial = trial.next()
        except Exception as error:
            learnt = after(error, trial, request)
            if learnt is None:
                raise
            if learnt.blocked > trial.blocked:
                pause = BACK_OFF * 2**trial.blocked
                await db.execute(f"SELECT pg_catalog.pg_sleep({pause})")
            trial = learnt


async def redo(
    db: Database,
    undo_id: int | None,
    *,
    by: str,
    dry_run: bool = False,
    policy: str = "abort",
    reason: str | None = None,
    progress: Progress | None = None,
    part: Part = WHOLE,
) -> Report:
    """Take an undo back, the last one that still stands if none is named. Raises UndoError."""
    await ready(db)
    if undo_id is None:
        undo_id = await last_undo(db)
    selection = Selection(undo_id=undo_id)
    request = UndoRequest(selection, policy=policy, dry_run=dry_run, by=by, reason=reason)
    return await run(db, request, progress, part)


async def ready(db: Database) -> None:
    """Raises NotInstalled, or what says that the log is of elsewhere."""
    await check_installed(db)
    await check_origin(db)


async def _attempt(
    db: Database, request: UndoRequest, progress: Progress, trial: Trial, part: Part
) -> Report:
    await lock_undo(db)
    settings = (*_SETTINGS, ("lock_timeout", lock_timeout(request)))
    await set_all(db, settings, local=True)
    progress("select", 0, 0)
    await by_index(db, on=True)
    chosen = part.of(await select.resolve(db, request.selection))
    if chosen.redo_of is not None:
        await not_redone_yet(db, chosen.redo_of)
    chosen.along = trial.along
    if not part.parts:
        chosen.cleared = await clear(db, chosen)
    commands = () if part.listed or part.undo_id else await commands_of(db, chosen)
    if commands and part.parts:
        raise UsageError("DDL is taken back in one transaction: leave out BATCH")
    if commands:
        return await _in_segments(db, request, progress, trial, chosen, commands)
    return await _rows(db, request, progress, trial, chosen, part)


async def _rows(
    db: Database,
    request: UndoRequest,
    progress: Progress,
    trial: Trial,
    chosen: Chosen,
    part: Part,
) -> Report:
    matched = await match(db, chosen)
    live = matched.live or matched.moves
    report = Report(
        Outcome.DONE, selected_transactions=matched.transactions, statements=chosen.cleared
    )
    if matched.rows and not live and not chosen.cleared:
        raise RolledBack(await nothing_left(db, report, matched.table))
    gaps = await gaps_of(db, chosen, matched.gone) if part.asks else ()
    await by_index(db, on=False)
    if gaps and not request.accept_gaps:
        raise RolledBack(stopped_by_gaps(report, gaps))
    report = replace(report, gaps=gaps)
    if not live and chosen.redo_of is not None:
        return await redo_of_nothing(db, request, chosen.redo_of, report, part)
    if not live and chosen.cleared:
        return await only_cleared(db, request, report)
    if not live:
        nothing = replace(report, outcome=Outcome.NOTHING)
        raise RolledBack(nothing.with_message("nothing was recorded that could be undone"))
    rules = await rules_of(db, request)
    moves = await moves_of(db, chosen, matched, request, rules)
    _extend(moves.along, trial)
    if not moves.stopped:
        await move(db, moves, matched.gone)
    hold = part.look is None
    settled = await settle(db, chosen, matched, rules, progress, hold=hold)
    if settled.matched.moves != matched.moves:
        raise Again  # one more table was made meanwhile
    resolved = await resolve_all(db, settled, rules, trust_log=request.trust_log)
    if resolved.along and not resolved.stopped:
        _extend(resolved.along, trial)
        resolved.stopped = True
    if trial.along:
        report = replace(report, along=await told(db, trial.along))
    return await _carry_out(
        db, request, chosen.redo_of, moves, settled, resolved, report, progress, trial, part
    )


async def _in_segments(
    db: Database,
    request: UndoRequest,
    progress: Progress,
    trial: Trial,
    chosen: Chosen,
    commands: tuple[Command, ...],
) -> Report:
    report = Report(Outcome.DONE, statements=chosen.cleared)
    if trial.script is not None or request.plan is not None:
        raise NoScript("it takes DDL back, which asks the server at each step")
    gaps = await gaps_of(db, chosen)
    if gaps and not request.accept_gaps:
        raise RolledBack(stopped_by_gaps(report, gaps))
    bare = replace(request, dry_run=False, diff=False, plan=None, accept_gaps=True)

    async def rows(part: Part) -> Report:
        try:
            of_part = part.of(replace(chosen, changes=[*chosen.changes], standing=True))
            return await _rows(db, bare, progress, trial, of_part, part)
        except RolledBack as end:
            if end.report.outcome not in {Outcome.NOTHING, Outcome.CONFLICTS}:
                raise
            return end.report

    undo_id, xid = await begin(db, request, chosen.redo_of)
    done = await take_back(db, chosen, commands, rows, undo_id, request.policy)
    if not done.stopped:
        _extend(done.along, trial)
    xids = {command.xid for command in commands}
    report = done.report(replace(report, gaps=gaps, selected_transactions=len(xids)), len(commands))
    if done.stopped:
        raise RolledBack(stopped_by_conflicts(report, unseen=done.unseen))
    report = replace(report, seconds=round(monotonic() - trial.begun, 3))
    if trial.along:
        report = replace(report, along=await told(db, trial.along))
    if request.dry_run:
        raise RolledBack(replace(report, outcome=Outcome.PREVIEW))
    if chosen.redo_of is not None:
        await redone(db, undo_id, chosen.redo_of)
    report = replace(report, undo_id=undo_id, xid=xid)
    await keep_report(db, undo_id, report.as_dict())
    return report


def _extend(along: Collection[int], trial: Trial) -> None:
    """Begin anew if transactions that are not yet selected are to be taken along."""
    more = frozenset(along) - trial.along
    if more:
        raise TakeAlong(more)


async def _carry_out(
    db: Database,
    request: UndoRequest,
    redo_of: int | None,
    moves: Moves,
    settled: Settled,
    resolved: Resolved,
    report: Report,
    progress: Progress,
    trial: Trial,
    part: Part,
) -> Report:
    laid = settled.laid
    conflicts = await describe(db, settled.tables, settled.parts, laid, resolved.obstacles)
    report = replace(
        report,
        selected_transactions=settled.matched.transactions,
        conflicts=(*moves.conflicts, *conflicts),
    )
    if moves.stopped or resolved.stopped:
        raise RolledBack(stopped_by_conflicts(report))
    planned, sequence = await plan(
        db, settled.tables, laid, resolved.colliding, park_all=trial.park_all
    )
    if part.look is not None:
        tables = (*moves.reports(), *await _tables(db, settled, planned))
        report = replace(report, outcome=Outcome.PREVIEW, tables=tables)
        if request.dry_run:
            report = await preview(db, settled, moves, planned, sequence, report)
        await part.look(db, settled, moves, trial.along)
        if moves.away or moves.back:
            raise RolledBack(report)
        return report
    await hold(db, settled, moves, request, report)
    await apply(db, settled.tables, laid, planned, sequence, progress)
    await move_last(db, moves, settled.matched.gone)
    await tie(db, moves)
    progress("record", 0, 0)
    tables = await _tables(db, settled, planned)
    report = replace(
        report,
        tables=(*moves.reports(), *tables),
        untouched=await untouched(db, settled),
        seconds=round(monotonic() - trial.begun, 3),
    )
    done, args = _done(settled, moves)
    if moves.back or await db.fetchval(f"SELECT EXISTS ({done})", *args):
        undo_id, xid = await record(db, request, redo_of, part, done, *args)
        report = replace(report, undo_id=undo_id, xid=xid)
        await keep_report(db, undo_id, report.as_dict())
    if request.diff:
        report = replace(report, diff=await differences(db, settled.laid))
    if request.dry_run:
        if trial.script is not None:
            await write(db, settled, moves, planned, sequence, trial.script)
        made = await digest(db, settled, moves, request, report)
        report = replace(report, outcome=Outcome.PREVIEW, undo_id=None, xid=None, digest=made)
        raise RolledBack(await preview(db, settled, moves, planned, sequence, report))
    return report


def _done(settled: Settled, moves: Moves) -> tuple[str, list[Any]]:
    """A query for what is taken back now: of rows that were not left alone, of tables that were
    moved, and what was recorded twice."""
    laid, along = settled.laid, settled.matched.along
    query = (
        f"SELECT c.xid, c.lsn FROM {laid.changes} c JOIN {laid.table} e ON e.n = c.n"
        f" WHERE c.selected AND NOT e.dropped"
        f" UNION ALL SELECT c.xid, c.lsn FROM {laid.changes} c WHERE c.selected AND c.again"
        f" UNION ALL SELECT a.xid, a.lsn FROM {along} a"
        f" WHERE a.matched AND NOT a.dead AND a.relid <> ALL ($1::pg_catalog.oid[])"
        f" UNION ALL SELECT m.xid, '0/0'::pg_catalog.pg_lsn + m.lsn"
        f" FROM ROWS FROM (pg_catalog.unnest($2::pg_catalog.int8[]),"
        f"                 pg_catalog.unnest($3::pg_catalog.int8[])) AS m(xid, lsn)"
    )
    moved = (*moves.away, *moves.back)
    return query, [sorted(moves.left), [move.xid for move in moved], [move.lsn for move in moved]]


async def _tables(
    db: Database, settled: Settled, planned: dict[int, Planned]
) -> tuple[TableReport, ...]:
    skipped: dict[int, int] = dict(
        await db.fetch(
            f"SELECT e.root::pg_catalog.int8, pg_catalog.count(*) FROM {settled.laid.table} e"
            f" WHERE e.dropped AND e.root IS NOT NULL GROUP BY 1"
        )
    )
    found = []
    for root in sorted({*planned, *skipped}, key=lambda r: settled.tables.families[r].name):
        name = settled.tables.families[root].name
        if root in planned:
            work = planned[root].work
            line = TableReport(name, work.inserts, work.updates, work.deletes, skipped.get(root, 0))
        else:
            line = TableReport(name, skipped=skipped[root])
        found.append(line)
    return tuple(found)
