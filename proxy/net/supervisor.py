"""The parent process: starts the workers, owns the admin socket and the operator's connections,
hears signals, and ends everything in order.

Clients are served by workers alone, each a process that listens on the same port: a big undo, which
is worked out here, keeps nobody waiting.
"""

import asyncio
import contextlib
import os
import resource
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import asyncpg
import structlog
import uvloop

from config import Address, ConfigError, Settings
from proxy import events
from proxy.admin.console import Console
from proxy.admin.running import Running
from proxy.net import credentials, listen, operator, verifiers
from proxy.net.admin_socket import AdminSocket
from proxy.net.children import Children
from proxy.net.live import LiveSession
from proxy.net.secrets import read_list, warn_of_readers
from proxy.net.upkeep import Upkeep

_log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class Supervisor:
    """Satisfies proxy.admin.backend.Backend."""

    configured: Settings
    children: Children | None = None
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    capture_on: bool = True
    hurry: bool = False
    running: list[Running] = field(default_factory=list)
    _reloading: asyncio.Task[None] | None = None

    # -- what console commands need -----------------------------------------------------------

    @contextlib.asynccontextmanager
    async def database(self, name: str | None) -> AsyncIterator[asyncpg.Connection]:
        """The operator's connection to a database; what workers have gathered is written first."""
        await self._everywhere("flush")
        connection = await operator.connect(self.configured.upstream, name)
        try:
            yield connection
        finally:
            await operator.close(connection)

    async def sessions(self) -> list[LiveSession]:
        return await self.children.sessions() if self.children is not None else []

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
        return await self.children.call(name, **arguments) if self.children is not None else []

    async def _serving(self) -> list[str]:
        return [database for part in await self._everywhere("serving") for database in part]

    async def reload(self) -> None:
        """The files that settings name. Raises ConfigError, and nothing has changed then."""
        _check(self.configured)
        await self._everywhere("reload")
        _log.info("reloaded")

    def _hung_up(self) -> None:
        async def reload() -> None:
            try:
                await self.reload()
            except (ConfigError, ConnectionError) as error:
                _log.error("not_reloaded", error=str(error))

        self._reloading = asyncio.get_running_loop().create_task(reload())

    # -- life -----------------------------------------------------------------------------------

    def stop(self) -> None:
        """The first time gracefully, the second time at once."""
        self.hurry = self.stopping.is_set()
        self.stopping.set()

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(events.say_faults)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        # A terminal that is closed, or a certificate that is new: nobody is cut.
        loop.add_signal_handler(signal.SIGHUP, self._hung_up)
        settings = self.configured
        self.capture_on = settings.capture
        # Not shared first: a port that another proxy serves must not be shared with it.
        with listen.tcp(settings.listen_host, settings.listen_port, shared=False) as free:
            port = free.getsockname()[1]
        # Bound and not listening, this only keeps the port for workers that start later.
        with listen.tcp(settings.listen_host, port, shared=True), self._local(port) as local:
            admin = await self._start_admin()
            try:
                await self._serve(Address(settings.listen_host, port), local)
            finally:
                # The last to go: whoever waits for the sessions to end may look at them.
                if admin is not None:
                    admin.close()
        _log.info("stopped")
        return 0

    async def _start_admin(self) -> AdminSocket | None:
        settings = self.configured
        if settings.admin is None:
            return None
        path = Path(settings.admin) / f".s.PGSQL.{settings.admin_port}"
        admin = AdminSocket(path, lambda send: Console(self, send=send))
        await admin.start()
        return admin

    @contextlib.contextmanager
    def _local(self, port: int) -> Iterator[socket.socket | None]:
        """The Unix socket for clients, where there is to be one."""
        folder = self.configured.socket_dir
        if folder is None:
            yield None
            return
        path = folder / f".s.PGSQL.{port}"
        with listen.unix(path, self.configured.socket_mode) as local:
            try:
                yield local
            finally:
                path.unlink(missing_ok=True)

    async def _serve(self, address: Address, local: socket.socket | None) -> None:
        settings = self.configured
        self.children = Children(self._settings_now, address.port, local)
        await self.children.start(settings.workers)
        upkeep = Upkeep(settings, self._serving)
        upkeep_task = asyncio.create_task(upkeep.run())
        events.ready(
            listen=str(address),
            upstream=operator.without_password(settings.upstream),
            admin=str(settings.admin) if settings.admin is not None else None,
            workers=settings.workers,
            capture=settings.capture,
        )
        looking = asyncio.create_task(_look_for_verifiers(settings))
        await self.stopping.wait()
        looking.cancel()
        _log.info("stopping", grace=settings.grace)
        await self._stop_workers()
        upkeep_task.cancel()
        await upkeep.close()

    def _settings_now(self) -> Settings:
        return replace(self.configured, capture=self.capture_on)

    async def _stop_workers(self) -> None:
        if self.children is not None:
            await self.children.stop(self.configured.grace, lambda: self.hurry)


async def _look_for_verifiers(settings: Settings) -> None:
    if not verifiers.wanted(settings):
        return
    # Where the server does not answer, upkeep says so, and clients are not let in at all.
    with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection = await operator.connect(settings.upstream, None)
        try:
            for found in await verifiers.missing(connection, settings):
                _log.warning("no_verifiers", reason=found.text, hint=found.remedy)
        finally:
            await operator.close(connection)


def _check(settings: Settings) -> None:
    """What workers will read. Raises ConfigError."""
    credentials.checked(settings)
    read_list(settings.auth_file)
    warn_of_readers(settings.auth_file)


def _raise_limits() -> None:
    """Two descriptors a client: what the system allows is asked for."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def serve(settings: Settings) -> int:
    """Runs until it is told to stop; the exit code. Raises OSError if it cannot listen, ConfigError
    for a file of certificates or secrets that cannot be used."""
    events.configure(settings.log_level)
    _check(settings)
    os.umask(0o077)
    _raise_limits()
    return uvloop.run(Supervisor(settings).run())
