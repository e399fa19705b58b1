"""UNDO, REDO and RESTORE POINT: from clauses to a request, from a report to rows. What an undo is
and how it works is undo's."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from dataclasses import replace
from datetime import datetime
from itertools import groupby
from typing import Any, Final

from proxy.admin import clauses
from proxy.admin.command import Asked, Command, Permission, Rows
from proxy.admin.commands.fence import fence_of
from proxy.admin.commands.running import Run, watched
from proxy.admin.moments import coming, window
from proxy.admin.table import INT, JSON, TEXT, TIME, Column
from undo import batches, engine, fences
from undo.errors import NoScript, NothingToFence, StillOpen, UsageError
from undo.model import Along, Conflict, Outcome, RowDiff
from undo.report import Report
from undo.request import Selection, UndoRequest
from undo.unfinished import told, unfinished, wait

# Conflicts, gaps and statements that are listed one by one; the JSON report has all.
_MOST: Final = 20
# Seconds: as long as an undo waits for a lock.
_BEHIND_FENCE: Final = 30.0

_SELECTORS: Final = frozenset(c.field for c in (*clauses.SELECTORS, *clauses.EXCEPTIONS))


async def undo(asked: Asked, values: Mapping[str, Any]) -> Rows:
    given = {name: values[name] for name in _SELECTORS if name in values}
    given |= window(values, asked.zone, asked.now, asked.notice)
    request = UndoRequest(
        selection=Selection(**given),
        policy=values.get("policy", "abort"),
        policies=values.get("policies", ()),
        ignore=values.get("ignore", ()),
        accept_gaps=values.get("accept_gaps", False),
        trust_log=values.get("trust_log", False),
        dry_run=values.get("dry_run", False) or values.get("as_sql", False),
        batch=values.get("batch"),
        rate=values.get("rate"),
        max_lag=values.get("max_lag"),
        lock_timeout=values.get("lock_timeout"),
        sequences=values.get("sequences", False),
        by=asked.user,
        reason=values.get("reason"),
        diff=values.get("diff", False),
        plan=values.get("plan"),
    )
    at = _at(asked, values)
    async with (
        watched(asked, values, request.selection.words(), at) as run,
        _fence(asked, run.db, values),
    ):
        await _wait(run, request.selection, values)
        left = await unfinished(run.db, request.selection)
        if left:
            asked.notice(f"open, and left as they are: {told(left)}")
        script: list[str] = []
        if values.get("as_sql"):
            if request.batch is not None:
                raise NoScript("a script is one transaction: leave out BATCH")
            report = await engine.run(run.db, request, run.progress, script=script.append)
            return _script(report, script)
        report = await batches.run(run.db, request, run.progress, run.between)
    return _answer(asked, values, replace(report, open=left))


def _at(asked: Asked, values: Mapping[str, Any]) -> datetime | None:
    """When to begin. A preview waits for nothing."""
    if "at" not in values:
        return None
    due = coming(values["at"], asked.zone, asked.now)
    if due < asked.now:
        raise UsageError(f"{due:%Y-%m-%d %H:%M:%S} UTC has passed: give a later time, or none")
    if values.get("dry_run") or values.get("as_sql"):
        return None
    asked.notice(f"begins at {due:%Y-%m-%d %H:%M:%S} UTC")
    return due


def _script(report: Report, script: list[str]) -> Rows:
    if not script:
        raise NoScript(report.message or report.outcome)
    return [(line,) for line in "".join(script).removesuffix("\n").split("\n")]


def _fence(asked: Asked, db: Any, values: Mapping[str, Any]) -> AbstractAsyncContextManager[None]:
    """A preview holds nobody back."""
    wanted = fence_of(values)
    if not values.get("fence"):
        return nullcontext()
    if wanted.empty:
        raise NothingToFence
    if values.get("dry_run") or values.get("as_sql"):
        return nullcontext()
    return fences.fenced(db, wanted, by=asked.user, reason=values.get("reason"))


async def _wait(run: Run, selection: Selection, values: Mapping[str, Any]) -> None:
    """What was written before the fence may yet be committed: without WAIT, only for a while."""
    if "wait" in values:
        await wait(run.db, selection, run.progress, limit=values["wait"])
    elif values.get("fence") and not values.get("dry_run"):
        with suppress(StillOpen):
            await wait(run.db, selection, run.progress, limit=_BEHIND_FENCE)


async def redo(asked: Asked, values: Mapping[str, Any]) -> Rows:
    async with watched(asked, values, f"redo of undo {values['undo_id'] or 'LAST'}") as run:
        report = await batches.redo(
            run.db,
            values["undo_id"],
            by=asked.user,
            reason=values.get("reason"),
            dry_run=values.get("dry_run", False),
            policy=values.get("policy", "abort"),
            progress=run.progress,
            between=run.between,
        )
    return _answer(asked, values, report)


def _answer(asked: Asked, values: Mapping[str, Any], report: Report) -> Rows:
    if report.outcome in {Outcome.CONFLICTS, Outcome.GAPS} and report.undo_id is None:
        asked.warn("nothing was changed")
    if values.get("as_json"):
        return [(json.dumps(report.as_dict()),)]
    return list(rows_of(report))


Line = tuple[str, str | None, int | None, str | None]

_SAID: Final = {
    Outcome.DONE: "done",
    Outcome.NOTHING: "nothing to do",
    Outcome.PREVIEW: "dry run: rolled back, nothing was changed",
    Outcome.CONFLICTS: "conflicts",
    Outcome.GAPS: "gaps",
}


def rows_of(report: Report) -> Iterator[Line]:
    """For people: the outcome, what was done to each table, and what stands in the way."""
    said = [_SAID[report.outcome]]
    if report.undo_id is not None:
        by = f"{report.batches} batches" if report.batches else f"transaction {report.xid}"
        said.append(f"undo {report.undo_id}, {by}")
    elif report.batches:
        said.append(f"{report.batches} batches")
    if report.message:
        said.append(report.message)
    yield "outcome", None, None, "; ".join(said)
    yield "transactions selected", None, report.selected_transactions, None
    for table in report.tables:
        if table.moved:
            yield f"table {table.moved}", table.relation, None, None
        for what, rows in (
            ("rows brought back", table.inserts),
            ("rows set back", table.updates),
            ("rows taken away", table.deletes),
            ("rows left alone", table.skipped),
        ):
            if rows:
                yield what, table.relation, rows, None
    if report.seconds:
        yield "took", None, None, f"{report.seconds} s"
    if report.digest:
        yield "plan", None, None, report.digest
    yield from _diff(report.diff)
    yield from _some("taken along", [(None, _along(along)) for along in report.along])
    yield from _some("conflict", [(c.relation, _conflict(c)) for c in report.conflicts])
    yield from _some("left open", [(None, str(each)) for each in report.open])
    yield from _some(
        "gap",
        [
            (g.relation, f"{g.reason} in transaction {g.xid}: {g.statement or 'not known'}")
            for g in report.gaps
        ],
    )
    for what, found in (
        ("trigger", report.triggers),
        ("lock", report.locks),
        ("sequence", report.sequences),
        ("not touched", report.untouched),
    ):
        yield from _some(what, [(getattr(one, "relation", None), str(one)) for one in found])
    if report.outcome is Outcome.PREVIEW:
        yield from _some("statement", [(None, statement) for statement in report.statements])


def _some(what: str, found: list[tuple[str | None, str]]) -> Iterator[Line]:
    for relation, detail in found[:_MOST]:
        yield what, relation, None, detail
    if len(found) > _MOST:
        relation = found[0][0] if what == "row" else None
        yield f"{what}s", relation, len(found), f"{_MOST} of them are shown; AS JSON has all"


def _diff(found: Sequence[RowDiff]) -> Iterator[Line]:
    """So many of each table."""
    for relation, rows in groupby(found, lambda row: row.relation):
        yield from _some("row", [(relation, str(row)) for row in rows])


def _along(along: Along) -> str:
    return _transaction(along.xid, along.session, along.tag, along.at)


def _transaction(xid: int, session: str | None, tag: str | None, at: datetime | None) -> str:
    said = f"transaction {xid}"
    said += f" of session {session}" if session else ""
    said += f" under tag {tag}" if tag else ""
    return said + (f" at {at:%Y-%m-%d %H:%M:%S%z}" if at else "")


def _conflict(conflict: Conflict) -> str:
    said = conflict.kind.replace("_", " ")
    said += f", key {conflict.key}" if conflict.key else ""
    if conflict.xid is not None:
        by = _transaction(conflict.xid, conflict.session, conflict.tag, conflict.at)
        said += f", by {by}"
    return said + (f": {conflict.detail}" if conflict.detail else "")


class RestorePointExists(UsageError):
    """restore point "{}" is there already: names are used once"""


async def restore_point(asked: Asked, values: Mapping[str, Any]) -> Rows:
    async with asked.backend.database(values.get("database")) as db:
        row = await db.fetchrow(
            "INSERT INTO hotrollback.restore_point (name) VALUES ($1)"
            " ON CONFLICT DO NOTHING RETURNING name, at, lsn::pg_catalog.text AS lsn",
            values["name"],
        )
    if row is None:
        raise RestorePointExists(values["name"])
    return [(row["name"], row["at"], row["lsn"])]


_REPORT: Final = (
    Column(
        "what",
        TEXT,
        "outcome, what happened to rows, how long it took, a row's difference, a conflict, what is"
        " open, a gap; a sequence that was set; what is not touched; in a dry run the plan's"
        " digest, a trigger, a lock, a statement",
    ),
    Column("relation", TEXT, "the table"),
    Column("rows", INT, "how many"),
    Column("detail", TEXT, "more about it"),
)
_SQL: Final = (Column("sql", TEXT, "a line of the script"),)
REPORT_JSON: Final = (Column("report", JSON, "the whole report: outcome, exit_code, tables, ..."),)

COMMANDS: Final = (
    Command(
        ("UNDO",),
        "take back what the selectors fit together, in one transaction unless BATCH is given;"
        " at least one is needed",
        Permission.UNDO,
        _REPORT,
        undo,
        (
            clauses.DATABASE,
            *clauses.SELECTORS,
            *clauses.EXCEPTIONS,
            clauses.AT,
            clauses.WAIT,
            clauses.ON_CONFLICT,
            clauses.ON_CONFLICT_OF,
            clauses.IGNORE,
            clauses.ACCEPT_GAPS,
            clauses.TRUST_LOG,
            clauses.FENCE,
            clauses.BATCH,
            clauses.RATE,
            clauses.MAX_LAG,
            clauses.LOCK_TIMEOUT,
            clauses.RESET_SEQUENCES,
            clauses.REASON,
            clauses.DRY_RUN,
            clauses.DIFF,
            clauses.PLAN,
            clauses.AS_JSON,
            clauses.AS_SQL,
        ),
        json_columns=REPORT_JSON,
        sql_columns=_SQL,
    ),
    Command(
        ("REDO",),
        "take back an undo",
        Permission.UNDO,
        _REPORT,
        redo,
        (
            clauses.UNDO_ID,
            clauses.DATABASE,
            clauses.ON_CONFLICT,
            clauses.REASON,
            clauses.DRY_RUN,
            clauses.AS_JSON,
        ),
        json_columns=REPORT_JSON,
    ),
    Command(
        ("RESTORE", "POINT"),
        "give this moment a name, for UNDO TO RESTORE POINT",
        Permission.UNDO,
        (
            Column("name", TEXT, "its name"),
            Column("at", TIME, "when it was made"),
            Column("lsn", TEXT, "where in the log"),
        ),
        restore_point,
        (clauses.NAME, clauses.DATABASE),
    ),
)
