"""PAUSE, RESUME and CANCEL UNDO, and how far undos are: of all that run in this proxy."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final

from proxy.admin import clauses
from proxy.admin.command import Asked, Command, Permission, Rows
from proxy.admin.running import Cancelled, Running
from proxy.admin.table import INT, TEXT, TIME, Column
from undo.database import sqlstate
from undo.errors import CutOff, RedoCutOff

_PAUSE: Final = 0.1  # seconds between two tries to end one


@dataclass(frozen=True, slots=True)
class Run:
    """`db`: its own connection."""

    db: Any
    progress: Callable[[str, int, int], None]
    between: Callable[[], Awaitable[None]]


@asynccontextmanager
async def watched(
    asked: Asked, values: Mapping[str, Any], what: str, at: datetime | None = None
) -> AsyncIterator[Run]:
    """Listed as long as it runs, so that other consoles see it and can pause or end it. `at`: it
    has no connection before then."""
    database = values.get("database")
    splits = "batch" in values or "undo_id" in values
    one = Running(asked.user, what, database, asked.now, splits)

    def progress(stage: str, done: int, total: int) -> None:
        one.tell(stage, done, total)
        asked.progress(stage, done, total)

    asked.backend.running.append(one)
    try:
        if at is not None:
            await one.until(at)
        async with asked.backend.database(database) as db:
            one.pid = await db.fetchval("SELECT pg_catalog.pg_backend_pid()")
            yield Run(db, progress, partial(one.between, db))
    except (CutOff, RedoCutOff):
        raise  # says what is done
    except Exception as error:
        if one.cancelled_by and sqlstate(error) == Cancelled.sqlstate:
            raise Cancelled(one.cancelled_by) from error
        raise
    finally:
        asked.backend.running.remove(one)


def _meant(asked: Asked, values: Mapping[str, Any]) -> list[Running]:
    wanted = values.get("database")
    return [one for one in asked.backend.running if wanted in {None, one.database}]


async def progress(asked: Asked, values: Mapping[str, Any]) -> Rows:
    return [
        (
            *(one.by, one.what, one.database, one.since, one.state, one.stage),
            *((one.done, one.total) if one.total else (None, None)),
            *(one.speed or (None, None)),
        )
        for one in _meant(asked, values)
    ]


async def pause(asked: Asked, values: Mapping[str, Any]) -> Rows:
    found = []
    for one in _meant(asked, values):
        one.paused = one.splits
        how = "pauses before its next batch" if one.splits else "runs on: it is one transaction"
        found.append((one.what, how))
    return _or_none(asked, found)


async def resume(asked: Asked, values: Mapping[str, Any]) -> Rows:
    found = [one for one in _meant(asked, values) if one.paused]
    for one in found:
        one.paused = False
    return _or_none(asked, [(one.what, "goes on") for one in found])


async def cancel(asked: Asked, values: Mapping[str, Any]) -> Rows:
    """Waits until they have ended. A query may begin when the server has been told, so it is told
    again."""
    found = _meant(asked, values)
    for one in found:
        one.cancelled_by = asked.user
        async with asked.backend.database(one.database) as db:
            while one in asked.backend.running:
                await db.fetchval("SELECT pg_catalog.pg_cancel_backend($1)", one.pid)
                await db.fetchval("SELECT pg_catalog.pg_sleep($1)", _PAUSE)
    return _or_none(asked, [(one.what, "ended") for one in found])


def _or_none(asked: Asked, found: Rows) -> Rows:
    if not found:
        asked.notice("there is none: SHOW UNDO PROGRESS lists those that run in this proxy")
    return found


_STATE: Final = (
    Column("what", TEXT, "what is undone"),
    Column("state", TEXT, "what becomes of it"),
)

COMMANDS: Final = (
    Command(
        ("SHOW", "UNDO", "PROGRESS"),
        "undos and redos that run in this proxy, and how far they are",
        Permission.LOOK,
        (
            Column("by", TEXT, "who asked for it"),
            Column("what", TEXT, "what was selected"),
            Column("database", TEXT, "where, if it was said"),
            Column("since", TIME, "when it was asked for"),
            Column("state", TEXT, "runs, paused, or ends: it was cancelled"),
            Column("stage", TEXT, "what it does now, or waits for"),
            Column("done", INT, "rows, or what else the stage counts"),
            Column("total", INT, "of so many"),
            Column("rate", INT, "a second, since the stage began"),
            Column("left", INT, "seconds, at this rate"),
        ),
        progress,
        (clauses.DATABASE,),
    ),
    Command(
        ("PAUSE", "UNDO"),
        "let undos in batches, and their redos, wait before their next batch",
        Permission.UNDO,
        _STATE,
        pause,
        (clauses.DATABASE,),
    ),
    Command(
        ("RESUME", "UNDO"),
        "let them go on",
        Permission.UNDO,
        _STATE,
        resume,
        (clauses.DATABASE,),
    ),
    Command(
        ("CANCEL", "UNDO"),
        "end undos that run: what is not committed is rolled back, batches that are done stay done",
        Permission.UNDO,
        _STATE,
        cancel,
        (clauses.DATABASE,),
    ),
)
