"""The hotrollback command as a child process: one call, or `serve` for as long as it is needed.

Everything the demo does, it does from outside, as a user would. Not: SQL, what the commands mean.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from proxy.demo.cluster import free_port
from proxy.demo.interrupts import held

READY_SECONDS = 30
STOP_SECONDS = 20
CALL_SECONDS = 120

# The caller's own settings must not reach into the demo.
FOREIGN = ("HOTROLLBACK_", "PG")


class CommandError(Exception):
    """A hotrollback command did not do what it was asked; the text holds what it said."""


def program() -> str:
    """The hotrollback command of this very installation. Raises CommandError if there is none."""
    beside = Path(sys.executable).with_name("hotrollback")
    found = str(beside) if beside.exists() else shutil.which("hotrollback")
    if found is None:
        raise CommandError("the command hotrollback is not installed: pip install .")
    return found


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}


class Process(Protocol):
    """What is used of a subprocess.Popen."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int, /) -> None: ...
    def kill(self) -> None: ...


# How a command becomes a process, for whoever has a quicker way.
launch: Callable[..., Process] = subprocess.Popen


def call(*args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run one command without a terminal. Raises CommandError on a failure if `check`."""
    command = [program(), *args]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = launch(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment()
        )
        try:
            status = process.wait(CALL_SECONDS)
        except BaseException:
            process.kill()
            process.wait()
            raise
        out.seek(0)
        err.seek(0)
        done = subprocess.CompletedProcess(command, status, out.read(), err.read())
    if check and done.returncode:
        raise CommandError(
            f"hotrollback {' '.join(args)} ended with {done.returncode}:\n"
            f"{done.stdout}{done.stderr}"
        )
    return done


@dataclass(slots=True)
class Serving:
    """`hotrollback serve` on a free loopback port; its admin socket and log are in `folder`."""

    upstream: str
    folder: Path
    args: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    process: Process | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def admin(self) -> Path:
        return self.folder / f"admin-{self.port}"

    @property
    def log(self) -> Path:
        return self.folder / f"serve-{self.port}.log"

    def start(self) -> None:
        """Returns once the ready line was seen. Raises CommandError if it does not come."""
        self.admin.mkdir(mode=0o700, exist_ok=True)
        command = [
            *(program(), "serve", "--listen", f"127.0.0.1:{self.port}"),
            *("--upstream", self.upstream, "--admin", str(self.admin), *self.args),
        ]
        with self.log.open("wb") as log, held():
            self.process = launch(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(),
                start_new_session=True,
            )
        try:
            self._get_ready(self.process)
        except BaseException:
            self.stop()
            raise

    def _get_ready(self, process: Process) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not any(event.get("event") == "ready" for event in self.events()):
            if process.poll() is not None or time.monotonic() > deadline:
                raise CommandError(f"hotrollback serve did not get ready:\n{self.said()}")
            time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to stop; its exit status. Raises CommandError if it has to be killed."""
        process, self.process = self.process, None
        if process is None:
            return 0
        process.send_signal(how)
        try:
            return process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired as error:
            process.kill()
            process.wait()
            raise CommandError(f"hotrollback serve did not stop:\n{self.said()}") from error

    def events(self) -> list[dict[str, Any]]:
        """The structured lines of the log so far."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def said(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]

    def call(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one command against this proxy's admin socket."""
        return call(*args, "--admin", str(self.admin), check=check)
