"""An undo of rows and DDL: the log is gone through from its end, DDL command by command, and the
rows of each segment in between are undone as any are. One transaction, all or nothing.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Final

from undo.database import Database
from undo.log import CHANGE, COMMAND
from undo.model import Conflict, Kind, Outcome, Resolution
from undo.policies import POLICIES
from undo.report import Report, TableReport
from undo.schema.ahead import Ahead
from undo.schema.component import Command, read
from undo.schema.conflicts import conflicts_of
from undo.schema.reverse import reverse
from undo.schema.there import there
from undo.stages.load import ALL, DEAD, ROWS
from undo.stages.part import Part
from undo.stages.select import Chosen

_COMMANDS: Final = """
SELECT c.xid, c.lsn::pg_catalog.text AS lsn, c.after OPERATOR(pg_catalog.->>) 'command' AS tag,
       c.before::pg_catalog.text AS before, c.after::pg_catalog.text AS after
  FROM {command} c
 WHERE {where} AND {live}
 ORDER BY c.lsn DESC
"""
# Where what is selected lies between one command and the next, and whether tables come or go there.
_BETWEEN: Final = """
SELECT pg_catalog.width_bucket(c.lsn, {bounds}::pg_catalog.text[]::pg_catalog.pg_lsn[]) AS segment,
       pg_catalog.bool_or(c.op NOT IN {rows}) AS moved
  FROM {change} c
 WHERE c.op IN {ops} AND {where} AND {live}
 GROUP BY 1
"""


async def commands_of(db: Database, chosen: Chosen) -> tuple[Command, ...]:
    """DDL that is selected and not taken back, the newest first."""
    query = _COMMANDS.format(command=COMMAND, where=chosen.where, live=_live(chosen))
    return tuple(
        Command(
            row["xid"],
            row["lsn"],
            row["tag"],
            read(row["before"]),
            read(row["after"]),
        )
        for row in await db.fetch(query, *chosen.args)
    )


def _live(chosen: Chosen) -> str:
    return "true" if chosen.redo_of is not None else f"NOT {DEAD}"


@dataclass(slots=True)
class Done:
    """What was taken back so far."""

    reports: list[Report] = field(default_factory=list)
    statements: list[str] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)

    stopped: bool = False
    unseen: bool = False  # whether there may be other conflicts than these
    along: set[int] = field(default_factory=set)  # transactions that are to be taken back, too

    def report(self, report: Report, commands: int) -> Report:
        tables: dict[str, TableReport] = {}
        for each in self.reports:
            for table in each.tables:
                tables[table.relation] = _sum(tables.get(table.relation), table)
        conflicts = [*self.conflicts, *(c for each in self.reports for c in each.conflicts)]
        told = f"{commands} DDL command{'' if commands == 1 else 's'} taken back"
        return replace(
            report,
            tables=tuple(tables[name] for name in sorted(tables)),
            statements=(*report.statements, *self.statements),
            conflicts=tuple(conflicts),
            untouched=tuple(dict.fromkeys(u for each in self.reports for u in each.untouched)),
        ).with_message(told)


def _sum(one: TableReport | None, other: TableReport) -> TableReport:
    if one is None:
        return other
    return TableReport(
        one.relation,
        one.inserts + other.inserts,
        one.updates + other.updates,
        one.deletes + other.deletes,
        one.skipped + other.skipped,
        other.moved or one.moved,
    )


# Undoes the rows of a segment; the outcome is DONE, NOTHING or CONFLICTS.
Rows = Callable[[Part], Awaitable[Report]]


async def take_back(
    db: Database,
    chosen: Chosen,
    commands: tuple[Command, ...],
    rows: Rows,
    undo_id: int,
    policy: str,
) -> Done:
    """From the newest on, until something stands in the way: then it is only looked what else does.
    `undo_id`: the undo that all is recorded for."""
    done = Done()
    bounds = [command.lsn for command in commands[::-1]]
    first = len(chosen.args) + 1
    query = _BETWEEN.format(
        bounds=f"${first}",
        change=CHANGE,
        ops=ALL,
        rows=ROWS,
        where=chosen.where,
        live=_live(chosen),
    )
    filled = dict(await db.fetch(query, *chosen.args, bounds))
    ahead = Ahead()
    for segment in range(len(commands), -1, -1):
        if segment in filled and not done.stopped:
            part = Part(only=_between(bounds, segment), undo_id=undo_id)
            done.reports.append(await rows(part))
            await _forget(db)
            done.stopped = done.reports[-1].outcome is Outcome.CONFLICTS
        elif segment in filled:
            done.unseen = True
        if done.stopped:
            ahead.moved |= filled.get(segment, False)
        if segment > 0:
            command = commands[len(commands) - segment]
            now = await there(db, command)
            if not done.stopped or ahead.leaves(command, now):
                _decide(await conflicts_of(db, chosen, command, now, ahead.ids), policy, done)
            else:
                done.unseen = True
            if done.stopped:
                ahead.add(command)
                continue
            if done.along:
                return done
            done.statements += await reverse(db, command, now)
            if chosen.redo_of is None:
                await db.execute(_TAKEN_BACK, undo_id, command.xid, bounds[segment - 1])
    return done


_TEMPORARY: Final = """
SELECT 'DROP TABLE '
       OPERATOR(pg_catalog.||)
       pg_catalog.string_agg(pg_catalog.format('pg_temp.%I', c.relname), ', ')
  FROM pg_catalog.pg_class c
 WHERE c.relnamespace = pg_catalog.pg_my_temp_schema() AND c.relkind = 'r'
   AND pg_catalog.starts_with(c.relname::pg_catalog.text, 'hotrollback_')
"""


async def _forget(db: Database) -> None:
    """What rows were laid out in is made of types that may go with the next command."""
    drop = await db.fetchval(_TEMPORARY)
    if drop is not None:
        await db.execute(drop)


_TAKEN_BACK: Final = """
INSERT INTO hotrollback.undone (undo, xid, lsn)
VALUES ($1, $2, $3::pg_catalog.text::pg_catalog.pg_lsn)
"""


def _between(bounds: list[str], segment: int) -> str:
    conditions = []
    if segment > 0:
        conditions.append(f"c.lsn >= '{bounds[segment - 1]}'")
    if segment < len(bounds):
        conditions.append(f"c.lsn < '{bounds[segment]}'")
    return " AND ".join(conditions)


def _decide(found: tuple[Conflict, ...], policy: str, done: Done) -> None:
    """A command is taken back whole or not at all, and what is older rests on it: to leave one
    alone is to stop."""
    done.conflicts += found
    for conflict in found:
        resolution = POLICIES[policy](Kind(conflict.kind))
        if resolution is Resolution.TAKE_ALONG and conflict.xid is not None:
            done.along.add(conflict.xid)
        elif resolution is not Resolution.OVERWRITE:
            done.stopped = True
