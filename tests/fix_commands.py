"""hotrollback as a child process, without the second that Python takes to start and import it."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

from proxy.demo import command

FORKER = Path(__file__).with_name("forker.py")


@dataclass(slots=True)
class Forked:
    """As subprocess.Popen, of a process that is another one's child."""

    args: list[str]
    pid: int
    answer: int  # where its wait status will be told
    returncode: int | None = None

    def poll(self) -> int | None:
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        status = self._look(timeout)
        if status is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return status

    def send_signal(self, sent: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, sent)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _look(self, seconds: float | None) -> int | None:
        if self.returncode is None and select.select([self.answer], [], [], seconds)[0]:
            told = os.read(self.answer, 100)
            os.close(self.answer)
            assert told, "the process that started it is gone"
            self.returncode = os.waitstatus_to_exitcode(int(told))
        return self.returncode


@dataclass(frozen=True, slots=True)
class Forker:
    asked: socket.socket

    def __call__(
        self,
        args: list[str],
        *,
        stdin: int,
        stdout: IO[Any],
        stderr: IO[Any],
        env: dict[str, str],
        start_new_session: bool = False,
    ) -> Forked:
        assert stdin == subprocess.DEVNULL
        question = {"args": args[1:], "env": env, "session": start_new_session}
        answer, told = os.pipe()
        with Path(os.devnull).open("rb") as nothing:
            given = [nothing.fileno(), stdout.fileno(), stderr.fileno(), told]
            socket.send_fds(self.asked, [json.dumps(question).encode()], given)
        os.close(told)
        number = b""
        while not number.endswith(b"\n"):
            piece = os.read(answer, 1)
            assert piece, "nothing was started"
            number += piece
        return Forked(args, int(number), answer)


@pytest.fixture(scope="session", autouse=True)
def quick_commands() -> Iterator[None]:
    """What product code starts as `hotrollback` in this test process is forked instead."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    source = [sys.executable, str(FORKER), str(theirs.fileno())]
    package = str(Path(command.__file__).parents[2])  # what runs in the tests themselves
    env = {**os.environ, "PYTHONPATH": package}
    forker = subprocess.Popen(source, pass_fds=[theirs.fileno()], cwd=package, env=env)
    theirs.close()
    command.launch = Forker(ours)
    yield
    command.launch = subprocess.Popen
    ours.close()
    forker.wait(10)
