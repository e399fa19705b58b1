"""A proxy and its server, watched from outside: what was logged, which processes there are, how much
memory they take, which backends are left."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from fix_postgres import Database

from proxy.demo.command import Serving

PATIENCE = 10.0


def eventually(condition: Callable[[], object], patience: float = PATIENCE) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)


def events(serving: Serving, name: str) -> list[dict]:
    return [event for event in serving.events() if event["event"] == name]


def workers(serving: Serving) -> list[int]:
    process = serving.process
    assert process is not None
    found = subprocess.run(
        ["ps", "-ww", "--ppid", str(process.pid), "-o", "pid=,args="],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    lines = [line.split(None, 1) for line in found.stdout.splitlines()]
    return [int(pid) for pid, args in lines if "spawn_main" in args]


def memory(serving: Serving, which: str = "VmHWM") -> int:
    """Bytes that the workers have in memory, at most so far; now, with "VmRSS"."""
    status = [Path(f"/proc/{pid}/status").read_text() for pid in workers(serving)]
    assert status
    lines = [line.split() for text in status for line in text.splitlines()]
    return sum(int(line[1]) << 10 for line in lines if line and line[0] == f"{which}:")


def backends(database: Database) -> int:
    """Those of clients."""
    ((count,),) = database.psql(
        "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND datname = current_database()"
    )
    return count
