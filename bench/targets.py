"""What is measured: PostgreSQL itself, and what may stand in front of it.

Every target gives the address that pgbench connects to. Not: workloads, figures.
"""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from proxy.demo.cluster import Account, Cluster, embedded_binaries, free_port
from proxy.demo.command import Serving, call

PGBOUNCER = Path("/usr/sbin/pgbouncer")
PLAIN = "plain"  # the pgbench tables
LOGGED = "logged"  # the same, with the undo log installed
REWRITTEN = "rewritten"  # the same, without capture triggers
DATABASES = (PLAIN, LOGGED, REWRITTEN)

# Autovacuum would fall into some runs and not into others; the tables are vacuumed between rounds.
SETTINGS = {"shared_buffers": "512MB", "max_wal_size": "4GB", "autovacuum": "off"}


class BenchError(Exception):
    """A target or a run failed; the text says how."""


@dataclass(frozen=True, slots=True)
class Target:
    name: str
    port: int
    database: str


@dataclass(frozen=True, slots=True)
class Bed:
    """A server with both databases filled, and the targets in front of it."""

    binaries: Path
    port: int
    targets: tuple[Target, ...]

    def tool(self, program: str, database: str, *args: str, port: int | None = None) -> str:
        """Run one of PostgreSQL's own programs; its output. Raises BenchError."""
        address = ["-h", "127.0.0.1", "-p", str(port or self.port), "-U", "postgres"]
        command = [str(self.binaries / program), *address, *args, database]
        done = subprocess.run(
            command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        if done.returncode:
            raise BenchError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
        return done.stdout

    def vacuum(self) -> None:
        for database in DATABASES:
            tables = ("accounts", "branches", "tellers")
            which = [word for table in tables for word in ("-t", f"pgbench_{table}")]
            self.tool("vacuumdb", database, "-q", *which)


@contextmanager
def bed(folder: Path, scale: int, wanted: tuple[str, ...]) -> Iterator[Bed]:
    """Start everything; `wanted` names targets, in the order in which they are shown."""
    with ExitStack() as stack:
        cluster = stack.enter_context(Cluster(embedded_binaries(), SETTINGS))
        empty = Bed(cluster.binaries, cluster.port, ())
        for database in DATABASES:
            empty.tool("createdb", database)
            empty.tool("pgbench", database, "-i", "-q", "-s", str(scale))
        targets = [stack.enter_context(STARTERS[name](cluster, folder)) for name in wanted]
        yield Bed(cluster.binaries, cluster.port, tuple(targets))


@contextmanager
def direct(cluster: Cluster, _folder: Path) -> Iterator[Target]:
    yield Target("direct", cluster.port, PLAIN)


@contextmanager
def pgbouncer(cluster: Cluster, folder: Path, clients: int = 100) -> Iterator[Target]:
    port = free_port()
    conf = folder / "pgbouncer.ini"
    conf.write_text(
        f"""
[databases]
{PLAIN} = host=127.0.0.1 port={cluster.port} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = session
max_client_conn = {clients}
default_pool_size = {clients}
"""
    )
    account = Account.choose()
    log = (folder / "pgbouncer.log").open("wb")
    with (
        log,
        subprocess.Popen(
            [str(PGBOUNCER), str(conf)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            user=account.uid,
            group=account.gid,
            extra_groups=None if account.uid is None else [],
        ) as process,
    ):
        try:
            await_port(port, process, folder / "pgbouncer.log")
            yield Target("pgbouncer", port, PLAIN)
        finally:
            process.terminate()


@contextmanager
def capture_off(cluster: Cluster, folder: Path) -> Iterator[Target]:
    conf = folder / "off.toml"
    conf.write_text('capture = "off"\n')
    with Serving(cluster.url(PLAIN), folder, ("--config", str(conf))) as serving:
        yield Target("capture off", serving.port, PLAIN)


@contextmanager
def capture_on(cluster: Cluster, folder: Path, clients: int = 0) -> Iterator[Target]:
    del clients  # as many as come
    call("install", "--upstream", cluster.url(LOGGED))
    with Serving(cluster.url(LOGGED), folder) as serving:
        yield Target("capture on", serving.port, LOGGED)


@contextmanager
def without_triggers(cluster: Cluster, folder: Path) -> Iterator[Target]:
    call("install", "--upstream", cluster.url(REWRITTEN), "--no-all-tables")
    with Serving(cluster.url(REWRITTEN), folder) as serving:
        yield Target("without triggers", serving.port, REWRITTEN)


@contextmanager
def triggers_alone(cluster: Cluster, _folder: Path) -> Iterator[Target]:
    """Nobody in between: the capture triggers record every row."""
    call("install", "--upstream", cluster.url(LOGGED))
    yield Target("triggers alone", cluster.port, LOGGED)


STARTERS = {
    "direct": direct,
    "pgbouncer": pgbouncer,
    "capture off": capture_off,
    "capture on": capture_on,
    "without triggers": without_triggers,
    "triggers alone": triggers_alone,
}


def available() -> tuple[str, ...]:
    """The targets that this machine has: PgBouncer is optional."""
    return tuple(name for name in STARTERS if name != "pgbouncer" or PGBOUNCER.exists())


def await_port(port: int, process: subprocess.Popen[bytes], log: Path, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
        except OSError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise BenchError(f"nothing listens on {port}:\n{log.read_text()}") from error
            time.sleep(0.05)
        else:
            return
