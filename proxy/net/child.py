"""A worker as a process of its own, and what makes a worker in either case."""

import asyncio
import os
import signal
import socket
from urllib.parse import urlsplit

import asyncpg
import uvloop

from config import Settings
from proxy import events
from proxy.net import control, listen, operator
from proxy.net.bookkeeping import Bookkeeping
from proxy.net.relay import Upstream
from proxy.net.worker import Worker


def make_worker(settings: Settings) -> Worker:
    async def connecting(database: str) -> asyncpg.Connection:
        return await operator.connect(settings.upstream, database)

    url = urlsplit(settings.upstream)
    upstream = Upstream(url.hostname or "127.0.0.1", url.port or 5432)
    books = Bookkeeping(connecting, f"{socket.gethostname()}:{os.getpid()}")
    return Worker(settings, upstream, books, settings.capture)


def main(settings: Settings, port: int, end: socket.socket) -> None:
    """In the child: serves until the supervisor says stop, or is gone."""
    events.configure(settings.log_level)
    # The terminal's Ctrl-C reaches the whole group; the supervisor says what to do.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    uvloop.run(_serve(settings, port, end))


async def _serve(settings: Settings, port: int, end: socket.socket) -> None:
    worker = make_worker(settings)
    await worker.start(listen.tcp(settings.listen_host, port, shared=True))
    commands = control.Commands(worker)
    answering = asyncio.create_task(control.answer(commands, end))
    await commands.stopping.wait()
    await worker.stop(settings.grace, lambda: commands.hurry)
    answering.cancel()
