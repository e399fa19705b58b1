"""A worker as the process that it is: made, told what to do, stopped."""

import asyncio
import os
import signal
import socket

import asyncpg
import structlog
import uvloop

from config import ConfigError, Settings
from config import upstream as urls
from proxy import events
from proxy.auth.users import Users
from proxy.net import control, credentials, listen, operator
from proxy.net.bookkeeping import Bookkeeping
from proxy.net.census import Census
from proxy.net.keepalive import KeepAlive
from proxy.net.secrets import Secrets, read_list
from proxy.net.upstream import Route
from proxy.net.worker import Worker

_log = structlog.get_logger()


def make_worker(settings: Settings, census: Census) -> Worker:
    """Raises ValueError for an upstream that cannot be meant, and for certificates."""

    async def connecting(database: str | None = None) -> asyncpg.Connection:
        return await operator.connect(settings.upstream, database)

    books = Bookkeeping(connecting, f"{socket.gethostname()}:{os.getpid()}")
    secrets = Secrets(connecting, settings.auth_query, _listed(settings))
    to = urls.read(settings.upstream)
    route = Route(to, credentials.for_server(to), KeepAlive.of(settings))
    shown = credentials.for_clients(settings)
    return Worker(settings, route, shown, books, secrets, settings.capture, census)


def _listed(settings: Settings) -> Users:
    """A list that has become wrong since the proxy started ends no worker."""
    try:
        return read_list(settings.auth_file)
    except ConfigError as error:
        _log.error("auth_file_wrong", error=str(error))
        return Users()


def main(
    settings: Settings,
    port: int,
    end: socket.socket,
    local: socket.socket | None,
    census: Census,
) -> None:
    """In the child: serves until the supervisor says stop, or is gone."""
    events.configure(settings.log_level)
    # The terminal's Ctrl-C reaches the whole group; the supervisor says what to do.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    census.begin()
    uvloop.run(_serve(settings, port, end, local, census))


async def _serve(
    settings: Settings,
    port: int,
    end: socket.socket,
    local: socket.socket | None,
    census: Census,
) -> None:
    asyncio.get_running_loop().set_exception_handler(events.say_faults)
    worker = make_worker(settings, census)
    keepalive = worker.route.keepalive
    await worker.start(
        listen.tcp(settings.listen_host, port, shared=True, keepalive=keepalive), local
    )
    commands = control.Commands(worker)
    answering = asyncio.create_task(control.answer(commands, end))
    await commands.stopping.wait()
    await worker.stop(settings.grace, lambda: commands.hurry)
    answering.cancel()
