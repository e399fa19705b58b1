"""What the supervisor says to its workers, over a socket pair: one JSON line a request and a reply.

A request is the name of a method of `Commands` with its arguments; both ends are made from it.
"""

import asyncio
import json
import socket
from dataclasses import asdict
from typing import Any

from proxy.net.worker import LiveSession, Worker


class Commands:
    """What a worker can be asked; plain values only."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.stopping: asyncio.Event = asyncio.Event()
        self.hurry = False

    async def sessions(self) -> list[dict[str, Any]]:
        return [asdict(session) for session in self._worker.sessions()]

    async def stats(self) -> dict[str, int]:
        return self._worker.stats()

    async def set_capture(self, *, on: bool) -> None:
        self._worker.set_capture(on=on)

    async def flush(self) -> None:
        await self._worker.books.flush()

    async def forget(self) -> None:
        self._worker.forget()

    async def stop(self) -> None:
        self.hurry = self.stopping.is_set()
        self.stopping.set()


class Remote:
    """The supervisor's end: a worker in another process."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._lock = asyncio.Lock()

    @classmethod
    async def connect(cls, end: socket.socket) -> "Remote":
        return cls(*await asyncio.open_connection(sock=end))

    async def call(self, name: str, **arguments: Any) -> Any:
        """Raises ConnectionError if the worker is gone."""
        async with self._lock:
            self._writer.write(json.dumps([name, arguments]).encode() + b"\n")
            await self._writer.drain()
            line = await self._reader.readline()
        if not line:
            raise ConnectionError("a worker has ended")
        return json.loads(line)

    async def sessions(self) -> list[LiveSession]:
        return [LiveSession(**row) for row in await self.call("sessions")]


async def answer(commands: Commands, end: socket.socket) -> None:
    """The worker's end, until the supervisor is gone."""
    reader, writer = await asyncio.open_connection(sock=end)
    while line := await reader.readline():
        name, arguments = json.loads(line)
        result = await getattr(commands, name)(**arguments)
        writer.write(json.dumps(result).encode() + b"\n")
        await writer.drain()
    commands.hurry = True
    commands.stopping.set()
