"""The client of the admin socket: sends one console command, gives its rows, shows its progress.

Not: grammar, flags, how rows are printed.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from getpass import getuser
from pathlib import Path
from typing import Any, Final

import asyncpg
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from config import Settings
from proxy.admin.execution import PROGRESS
from proxy.admin.login import DATABASE

_CONNECT_SECONDS: Final = 10.0


class NoConsole(Exception):
    """No proxy answers where one was looked for; the text says where."""


class Refused(Exception):
    """The console answered with an error."""


@dataclass(frozen=True, slots=True)
class Answer:
    columns: tuple[str, ...]
    rows: Sequence[Sequence[Any]]


class Bar:
    """A progress bar on a terminal's standard error; elsewhere nothing."""

    def __init__(self) -> None:
        err = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description:8}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[speed]}"),
            console=err,
            transient=True,
        )
        self._shown = err.is_terminal
        self._stage = ""
        self._task = TaskID(0)

    def __call__(self, text: str) -> None:
        if not self._shown:
            return
        how_far, _, speed = text.partition(", ")
        stage, _, counts = how_far.partition(" ")
        done, _, total = counts.partition("/")
        if not self._stage:
            self._progress.start()
        if stage != self._stage:
            if self._stage:
                self._progress.remove_task(self._task)
            self._stage = stage
            self._task = self._progress.add_task(
                stage, total=int(total) if total else None, speed=""
            )
        self._progress.update(self._task, completed=int(done or 0), speed=speed)

    def close(self) -> None:
        if self._stage:
            self._progress.stop()


def place(settings: Settings) -> Path:
    """Where the admin socket is. Raises NoConsole."""
    if settings.admin is None:
        raise NoConsole(
            "where is the proxy? Give --admin DIR (as in serve --admin DIR), HOTROLLBACK_ADMIN, or"
            " admin in the config file"
        )
    return settings.admin


def _user() -> str:
    """Who is at the command line: undos are recorded with it."""
    try:
        return getuser()
    except (KeyError, OSError):  # a container's user has no name
        return f"uid {os.getuid()}"


@asynccontextmanager
async def console(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    """Raises NoConsole."""
    folder = place(settings)
    socket = folder / f".s.PGSQL.{settings.admin_port}"
    try:
        connection = await asyncpg.connect(
            host=str(folder.absolute()),
            port=settings.admin_port,
            user=_user(),
            password="",  # the permission of the socket's file is the door
            database=DATABASE,
            ssl=False,
            timeout=_CONNECT_SECONDS,
        )
    except FileNotFoundError as error:
        raise NoConsole(f"no proxy serves the admin socket {socket}") from error
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise NoConsole(f"cannot use the admin socket {socket}: {why}") from error
    try:
        yield connection
    finally:
        await connection.close()


async def ask(
    settings: Settings, text: str, told: Callable[[str], None] = lambda _: None
) -> Answer:
    """`told` hears notices at once. Raises NoConsole, Refused."""
    bar = Bar()

    def hear(_connection: Any, message: Any) -> None:
        if message.sqlstate == PROGRESS:
            bar(message.message)
        else:
            told(message.message)

    try:
        async with console(settings) as connection:
            connection.add_log_listener(hear)
            try:
                prepared = await connection.prepare(text)
                columns = tuple(attribute.name for attribute in prepared.get_attributes())
                rows = await prepared.fetch()
            except asyncio.CancelledError:
                connection.terminate()  # the console gives up what nobody waits for
                raise
            await asyncio.sleep(0)  # the driver tells notices a turn later
            return Answer(columns, [tuple(row) for row in rows])
    except asyncpg.PostgresError as error:
        raise Refused(str(error)) from error  # the driver's text has detail and hint
    except (ConnectionError, asyncpg.InterfaceError) as error:
        raise NoConsole(f"the proxy ended before it answered: {error}") from error
    finally:
        bar.close()


def run(settings: Settings, text: str, told: Callable[[str], None] = lambda _: None) -> Answer:
    return asyncio.run(ask(settings, text, told))
