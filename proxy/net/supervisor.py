"""The parent process: starts the workers, owns the admin socket and the operator's connections,
hears signals, and ends everything in order.

With one worker it is in this process; with more, each is a child that listens on the same port.
"""

import asyncio
import contextlib
import multiprocessing
import os
import signal
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final

import asyncpg
import structlog
import uvloop

from config import Settings
from proxy import events
from proxy.admin.console import Console
from proxy.net import child, listen, operator
from proxy.net.control import Commands, Remote
from proxy.net.upkeep import Upkeep
from proxy.net.worker import LiveSession, Worker

_log = structlog.get_logger()

_START_TIMEOUT: Final = 20.0  # seconds until a child listens


@dataclass(slots=True, eq=False)
class Supervisor:
    """Satisfies proxy.admin.backend.Backend."""

    configured: Settings
    local: Worker | None = None
    commands: Commands | None = None
    remotes: list[Remote] = field(default_factory=list)
    processes: list[BaseProcess] = field(default_factory=list)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    capture_on: bool = True
    hurry: bool = False

    # -- what console commands need -----------------------------------------------------------

    @contextlib.asynccontextmanager
    async def database(self, name: str | None) -> AsyncIterator[asyncpg.Connection]:
        """The operator's connection to a database; what workers have gathered is written first."""
        await self._everywhere("flush")
        connection = await operator.connect(self.configured.upstream, name)
        try:
            yield connection
        finally:
            await connection.close()

    async def sessions(self) -> list[LiveSession]:
        found = self.local.sessions() if self.local is not None else []
        for remote in self.remotes:
            found.extend(await remote.sessions())
        return found

    async def stats(self) -> dict[str, int]:
        total: dict[str, int] = {}
        for part in await self._everywhere("stats"):
            for name, value in part.items():
                total[name] = total.get(name, 0) + value
        return total

    def settings(self) -> Settings:
        return self.configured

    def capturing(self) -> bool:
        return self.capture_on

    async def set_capture(self, *, on: bool) -> None:
        self.capture_on = on
        await self._everywhere("set_capture", on=on)
        _log.warning("capture", on=on)

    async def shutdown(self) -> None:
        self.stop()

    async def _everywhere(self, name: str, **arguments: Any) -> list[Any]:
        results = []
        if self.commands is not None:
            results.append(await getattr(self.commands, name)(**arguments))
        results.extend([await remote.call(name, **arguments) for remote in self.remotes])
        return results

    # -- life -----------------------------------------------------------------------------------

    def stop(self) -> None:
        """The first time gracefully, the second time at once."""
        self.hurry = self.stopping.is_set()
        self.stopping.set()

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        settings = self.configured
        self.capture_on = settings.capture
        shared = settings.workers > 1
        listener = listen.tcp(settings.listen_host, settings.listen_port, shared=shared)
        upkeep = Upkeep(settings)
        address = f"{settings.listen_host}:{listener.getsockname()[1]}"
        admin = None
        if settings.admin is not None:
            path = Path(settings.admin) / f".s.PGSQL.{settings.admin_port}"
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            admin = await asyncio.start_unix_server(self._console, sock=listen.unix(path))
        if shared:
            await self._start_children(listener)
        else:
            await self._start_here(listener)
        upkeep_task = loop.create_task(upkeep.run())
        events.ready(
            listen=address,
            upstream=operator.without_password(settings.upstream),
            admin=str(settings.admin) if settings.admin is not None else None,
            workers=settings.workers,
            capture=settings.capture,
        )
        await self.stopping.wait()
        _log.info("stopping", grace=settings.grace)
        await self._stop_workers()
        upkeep_task.cancel()
        await upkeep.close()
        if admin is not None:
            admin.close()
            path.unlink(missing_ok=True)
        _log.info("stopped")
        return 0

    async def _start_here(self, listener: socket.socket) -> None:
        self.local = child.make_worker(self.configured)
        self.commands = Commands(self.local)
        await self.local.start(listener)

    async def _start_children(self, listener: socket.socket) -> None:
        """Each child binds the port for itself; ours is closed when all of them listen."""
        context = multiprocessing.get_context("spawn")
        port = listener.getsockname()[1]
        for number in range(self.configured.workers):
            ours, theirs = socket.socketpair()
            process = context.Process(
                target=child.main, args=(self.configured, port, theirs), name=f"worker {number}"
            )
            process.start()
            theirs.close()
            remote = await Remote.connect(ours)
            await asyncio.wait_for(remote.call("stats"), _START_TIMEOUT)
            self.processes.append(process)
            self.remotes.append(remote)
        listener.close()

    async def _stop_workers(self) -> None:
        if self.local is not None:
            await self.local.stop(self.configured.grace, lambda: self.hurry)
        for remote in self.remotes:
            with contextlib.suppress(ConnectionError):
                await remote.call("stop")
        while any(process.is_alive() for process in self.processes):
            if self.hurry:
                for process in self.processes:
                    process.terminate()
            await asyncio.sleep(0.05)

    async def _console(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        console = Console(self, send=writer.write)
        try:
            while not console.closed and (data := await reader.read(65536)):
                writer.write(await console.feed(data))
                await writer.drain()
        except ConnectionError as error:
            _log.info("console_lost", error=str(error))
        finally:
            writer.close()


def serve(settings: Settings) -> int:
    """Runs until it is told to stop; the exit code. Raises OSError if it cannot listen."""
    events.configure(settings.log_level)
    os.umask(0o077)
    return uvloop.run(Supervisor(settings).run())
