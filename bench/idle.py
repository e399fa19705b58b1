"""What idle connections cost: memory of this proxy and of PgBouncer, side by side, with as many
clients logged in and silent, and how fast they come in.

    python bench/idle.py                    2,000 clients; a minute or two
    python bench/idle.py --clients 500

Memory is what is resident in the processes that serve clients, after less before, divided by the
clients: "idle" when all have logged in, "used" when each has run a query and a write, which this
proxy recorded. PgBouncer, by session here, answers a login by itself and opens the connection to
the server with the first query; this proxy opens it with the login, which the server decides. So
"used" is where both hold the same, and "with a query" the rate to compare.
"""

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from targets import BenchError, Target, capture_on, pgbouncer

from proxy.demo.cluster import Cluster, ClusterError, embedded_binaries
from proxy.demo.command import CommandError

HERE = Path(__file__).parent
LOCAL = HERE / "results" / "local" / "idle.json"
READY = b"Z\0\0\0\5I"
SETTLE = 1.0  # seconds
AT_ONCE = 50  # logins under way
SETUP = """
CREATE TABLE t (id int PRIMARY KEY, v int);
INSERT INTO t SELECT i, 0 FROM generate_series(1, 100000) i
"""


@dataclass(frozen=True, slots=True)
class Figures:
    target: str
    clients: int
    logins_per_second: float
    first_answers_per_second: float  # a login and a query, all logins first
    before: int  # bytes that are resident
    idle: int
    used: int

    def each(self, now: int) -> float:
        """kB a client."""
        return (now - self.before) / 1024 / self.clients


def resident(pids: list[int]) -> int:
    """Bytes."""
    lines = [
        line.split()
        for pid in pids
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    ]
    return sum(int(line[1]) << 10 for line in lines if line and line[0] == "VmRSS:")


def serving(target: Target) -> list[int]:
    """The processes that listen on this port; the supervisor is not one of them."""
    listed = subprocess.run(
        ["ss", "-Hltnp", f"sport = :{target.port}"], check=True, capture_output=True, text=True
    )
    pids = {part.split(",")[0] for part in listed.stdout.split("pid=")[1:]}
    return sorted(int(pid) for pid in pids)


def message(kind: bytes, body: bytes) -> bytes:
    return kind + (len(body) + 4).to_bytes(4, "big") + body


class Client(asyncio.Protocol):
    """Nothing but a socket, so that 2,000 of them are cheap on this side."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._last = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._last = (self._last + data)[-400:]
        if self._last.endswith(READY) and not self.ready.done():
            self.ready.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ready.done():
            self.ready.set_exception(BenchError(f"a client was ended: {exc} {self._last!r}"))

    async def say(self, data: bytes) -> None:
        self.ready = asyncio.get_running_loop().create_future()
        self._last = b""
        assert self.transport is not None
        self.transport.write(data)
        await self.ready


async def hold(target: Target, count: int) -> Figures:
    loop = asyncio.get_running_loop()
    pids = serving(target)
    gate = asyncio.Semaphore(AT_ONCE)
    hello = (196608).to_bytes(4, "big")
    hello += b"user\0postgres\0database\0" + target.database.encode() + b"\0\0"
    hello = (len(hello) + 4).to_bytes(4, "big") + hello

    async def log_in() -> Client:
        async with gate:
            _, client = await loop.create_connection(Client, "127.0.0.1", target.port)
            await client.say(hello)
        return client

    async def ask(client: Client, text: bytes) -> None:
        async with gate:
            await client.say(message(b"Q", text + b"\0"))

    await log_in()  # the first one warms it up
    await asyncio.sleep(SETTLE)
    before = resident(pids)
    started = time.monotonic()
    clients = await asyncio.gather(*(log_in() for _ in range(count)))
    logins = time.monotonic() - started
    await asyncio.sleep(SETTLE)
    idle = resident(pids)
    started = time.monotonic()
    await asyncio.gather(*(ask(client, b"SELECT v FROM t WHERE id = 7") for client in clients))
    asked = logins + time.monotonic() - started
    update = b"UPDATE t SET v = v + 1 WHERE id = %d"
    await asyncio.gather(*(ask(client, update % n) for n, client in enumerate(clients, 1)))
    await asyncio.sleep(SETTLE)
    used = resident(pids)
    for client in clients:
        if client.transport is not None:
            client.transport.abort()
    return Figures(target.name, count, count / logins, count / asked, before, idle, used)


def measure(count: int) -> list[Figures]:
    settings = {"max_connections": str(count + 100), "shared_buffers": "256MB"}
    found = []
    with ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="hotrollback-idle-"))
        folder = Path(name)
        folder.chmod(0o755)
        cluster = stack.enter_context(Cluster(embedded_binaries(), settings))
        for database in ("plain", "logged"):
            psql = [str(cluster.binaries / "psql"), "-qX", "-v", "ON_ERROR_STOP=1"]
            subprocess.run([*psql, cluster.url(), "-c", f"CREATE DATABASE {database}"], check=True)
            subprocess.run([*psql, cluster.url(database), "-c", SETUP], check=True)
        for starter in (pgbouncer, capture_on):
            # One after the other: the server has room for one of them.
            with starter(cluster, folder, count) as target:
                found.append(asyncio.run(hold(target, count)))
            time.sleep(SETTLE)
    return found


def table(found: list[Figures]) -> Table:
    shown = Table(title=f"{found[0].clients} clients")
    for column in (
        "",
        "logins/s",
        "with a query/s",
        "before, MB",
        "idle, kB each",
        "used, kB each",
    ):
        shown.add_column(column, justify="right" if column else "left")
    for one in found:
        figures = (
            f"{one.before / 2**20:.0f}",
            *(f"{one.each(n):.1f}" for n in (one.idle, one.used)),
        )
        fast = (f"{one.logins_per_second:.0f}", f"{one.first_answers_per_second:.0f}")
        shown.add_row(one.target, *fast, *figures)
    return shown


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, default=2000)
    parser.add_argument("--output", type=Path, default=LOCAL, help=f"default {LOCAL}")
    args = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        found = measure(args.clients)
    except (BenchError, ClusterError, CommandError) as error:
        print(error, file=sys.stderr)
        return 1
    Console(width=100).print(table(found))
    args.output.parent.mkdir(parents=True, exist_ok=True)
    figures = [
        {**asdict(one), "idle_kB_each": one.each(one.idle), "used_kB_each": one.each(one.used)}
        for one in found
    ]
    args.output.write_text(
        json.dumps({"cpus": os.cpu_count(), "results": figures}, indent=1) + "\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
