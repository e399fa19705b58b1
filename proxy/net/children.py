"""Workers as processes: started, asked, started again when one dies, stopped."""

import asyncio
import ctypes
import multiprocessing
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from typing import Any, Final

import structlog

from config import Settings
from proxy.net import census
from proxy.net.census import Census
from proxy.net.control import Remote
from proxy.net.live import LiveSession

_log = structlog.get_logger()

_START_TIMEOUT: Final = 20.0  # seconds until a child listens
_AGAIN: Final = 1.0  # before one that died is started again
_STOP_TIMEOUT: Final = 5.0  # beyond the grace: what does not end then is killed
_LOOK: Final = 0.02


def _work(*args: Any) -> None:
    """In the child, which alone loads what serves clients."""
    from proxy.net import child  # noqa: PLC0415

    child.main(*args)


@dataclass(frozen=True, slots=True, eq=False)
class Child:
    process: BaseProcess
    remote: Remote


@dataclass(slots=True, eq=False)
class Children:
    settings: Callable[[], Settings]  # as they are when one is started
    port: int
    local: socket.socket | None = None  # the Unix socket that all of them listen on
    running: list[Child] = field(default_factory=list)
    _places: "ctypes.Array[ctypes.c_int]" = field(default_factory=lambda: census.places(0))
    _stopping: bool = False
    _restarts: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self, count: int) -> None:
        """Raises OSError, TimeoutError among them, if one does not come to listen."""
        self._places = census.places(count)
        try:
            for number in range(count):
                await self._start(number)
        except OSError:
            self._kill()
            raise

    async def _start(self, number: int) -> None:
        settings = self.settings()
        counted = Census(self._places, number, settings.max_clients)
        ours, theirs = socket.socketpair()
        process = multiprocessing.get_context("spawn").Process(
            target=_work,
            args=(settings, self.port, theirs, self.local, counted),
            name=f"worker {number}",
        )
        process.start()
        theirs.close()
        started = Child(process, await Remote.connect(ours))
        try:
            await asyncio.wait_for(started.remote.call("stats"), _START_TIMEOUT)
        except OSError:
            process.kill()
            raise
        self.running.append(started)
        loop = asyncio.get_running_loop()
        loop.add_reader(process.sentinel, self._died, number, started)

    def _died(self, number: int, dead: Child) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(dead.process.sentinel)
        dead.process.join()
        dead.remote.close()
        self.running.remove(dead)
        if self._stopping:
            return
        _log.error("worker_died", worker=number, exitcode=dead.process.exitcode)
        task = loop.create_task(self._restart(number))
        self._restarts.add(task)
        task.add_done_callback(self._restarts.discard)

    async def _restart(self, number: int) -> None:
        while not self._stopping:
            await asyncio.sleep(_AGAIN)
            try:
                await self._start(number)
            except OSError as error:
                _log.error("worker_not_started", worker=number, error=str(error))
            else:
                _log.info("worker_started", worker=number)
                return

    async def call(self, name: str, **arguments: Any) -> list[Any]:
        """What each of them answers; one that ends meanwhile has none."""
        answers = []
        for one in list(self.running):
            try:
                answers.append(await one.remote.call(name, **arguments))
            except ConnectionError:
                if one in self.running and one.process.is_alive():
                    raise
        return answers

    async def sessions(self) -> list[LiveSession]:
        return [LiveSession(**row) for part in await self.call("sessions") for row in part]

    async def stop(self, grace: float, hurry: Callable[[], bool]) -> None:
        self._stopping = True
        for task in self._restarts:
            task.cancel()
        self._say_stop()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace + _STOP_TIMEOUT
        hurried = False
        while self.running and loop.time() < deadline:
            if hurry() and not hurried:
                hurried = True
                self._say_stop()
                deadline = min(deadline, loop.time() + _STOP_TIMEOUT)
            await asyncio.sleep(_LOOK)
        self._kill()

    def _say_stop(self) -> None:
        for one in self.running:
            one.remote.stop()

    def _kill(self) -> None:
        for one in self.running:
            _log.error("worker_killed", worker=one.process.name)
            one.process.kill()
            one.process.join()
