"""What the supervisor says to its workers, over a socket pair: one JSON line a request and a reply.

A request is the name of a method of `Commands` with its arguments; both ends are made from it.
"""

import asyncio
import json
import socket
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import structlog

if TYPE_CHECKING:
    from proxy.net.worker import Worker

_log = structlog.get_logger()

_STOP: Final = "stop"
_LINE_LIMIT: Final = 1 << 28  # every session of a worker is on one line


class Commands:
    """What a worker can be asked; plain values only."""

    def __init__(self, worker: "Worker") -> None:
        self._worker = worker
        self.stopping: asyncio.Event = asyncio.Event()
        self.hurry = False

    async def sessions(self) -> list[dict[str, Any]]:
        return [asdict(session) for session in self._worker.sessions()]

    async def stats(self) -> dict[str, int]:
        return self._worker.stats()

    async def serving(self) -> list[str]:
        return self._worker.books.serving()

    async def set_capture(self, *, on: bool) -> None:
        self._worker.set_capture(on=on)

    async def flush(self) -> None:
        await self._worker.books.flush()

    async def reload(self) -> None:
        self._worker.reload()

    async def forget(self) -> None:
        self._worker.forget()

    def stop(self) -> None:
        self.hurry = self.stopping.is_set()
        self.stopping.set()


class Remote:
    """The supervisor's end: a worker in another process."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._lock = asyncio.Lock()  # one call at a time, so that each gets its own reply

    @classmethod
    async def connect(cls, end: socket.socket) -> "Remote":
        return cls(*await asyncio.open_connection(sock=end, limit=_LINE_LIMIT))

    async def call(self, name: str, **arguments: Any) -> Any:
        """Raises ConnectionError if the worker is gone or could not do it."""
        async with self._lock:
            self._writer.write(json.dumps([name, arguments]).encode() + b"\n")
            await self._writer.drain()
            line = await self._reader.readline()
        if not line:
            raise ConnectionError("a worker has ended")
        done, result = json.loads(line)
        if not done:
            raise ConnectionError(f"a worker could not do {name}: {result}")
        return result

    def stop(self) -> None:
        """Whatever else it is doing. There is no reply."""
        self._writer.write(json.dumps([_STOP, {}]).encode() + b"\n")

    def close(self) -> None:
        self._writer.close()


async def answer(commands: Commands, end: socket.socket) -> None:
    """The worker's end, until the supervisor is gone."""
    reader, writer = await asyncio.open_connection(sock=end, limit=_LINE_LIMIT)

    async def reply(name: str, arguments: dict[str, Any]) -> None:
        try:
            said = [True, await getattr(commands, name)(**arguments)]
        except Exception as error:  # noqa: BLE001 (the supervisor waits for an answer)
            _log.exception("command_fault", command=name)
            said = [False, str(error) or type(error).__name__]
        writer.write(json.dumps(said).encode() + b"\n")
        await writer.drain()

    doing: asyncio.Task[None] | None = None
    with suppress(ConnectionError):  # it is gone and has not read an answer
        while line := await reader.readline():
            name, arguments = json.loads(line)
            if name == _STOP:
                commands.stop()
            else:
                doing = asyncio.create_task(reply(name, arguments))
    if doing is not None:
        doing.cancel()
    commands.hurry = True
    commands.stopping.set()
