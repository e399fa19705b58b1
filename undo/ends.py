"""How an undo ends that has no row to write: reports, and what is recorded of it."""

from dataclasses import replace

from undo.database import Database
from undo.model import Gap, Outcome
from undo.report import Report
from undo.request import UndoRequest
from undo.stages.part import Part
from undo.stages.record import begin, keep_report, record
from undo.trial import RolledBack


async def redo_of_nothing(
    db: Database, request: UndoRequest, undo_id: int, report: Report, part: Part
) -> Report:
    """The undo found every row as it was to be: what it took back is only counted again."""
    told = "the undo had no row to change"
    if request.dry_run:
        raise RolledBack(replace(report, outcome=Outcome.PREVIEW).with_message(told))
    redone_by, xid = await record(db, request, undo_id, part, "")
    return replace(report, undo_id=redone_by, xid=xid).with_message(told)


async def only_cleared(db: Database, request: UndoRequest, report: Report) -> Report:
    told = "nothing was left of it but what a failed statement had not finished"
    report = report.with_message(told)
    if request.dry_run:
        raise RolledBack(replace(report, outcome=Outcome.PREVIEW))
    undo_id, xid = await begin(db, request, None)
    await keep_report(db, undo_id, report.as_dict())
    return replace(report, undo_id=undo_id, xid=xid)


async def nothing_left(db: Database, report: Report, changes: str) -> Report:
    ids = await db.fetchval(
        f"SELECT pg_catalog.string_agg(x.id::pg_catalog.text, ', ' ORDER BY x.id) FROM ("
        f"SELECT DISTINCT u.id"
        f"  FROM hotrollback.undone d JOIN hotrollback.undo u ON u.id = d.undo"
        f" WHERE u.redone_by IS NULL AND d.xid IN (SELECT c.xid FROM {changes} c)) x"
    )
    told = f"nothing is left to undo: undo {ids} did it" if ids else "nothing is left to undo"
    return replace(report, outcome=Outcome.NOTHING).with_message(told)


def stopped_by_gaps(report: Report, gaps: tuple[Gap, ...]) -> Report:
    found = "1 gap" if len(gaps) == 1 else f"{len(gaps)} gaps"
    told = (
        f"{found} in the selection: what was not recorded would not be undone. Nothing was changed."
        " ACCEPT GAPS (--accept-gaps) undoes the rest"
    )
    return replace(report, outcome=Outcome.GAPS, gaps=gaps).with_message(told)


def stopped_by_conflicts(report: Report, *, unseen: bool = False) -> Report:
    found = len(report.conflicts)
    told = f"{found} conflict{'s' if found > 1 else ''}. Nothing was changed"
    if unseen:
        told += ". What the selection did before may have others, which show once these are solved"
    return replace(report, outcome=Outcome.CONFLICTS).with_message(told)
