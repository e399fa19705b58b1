"""What is measured: PostgreSQL itself, and what may stand in front of it.

Every target gives the address that pgbench connects to. Not: workloads, figures.
"""

import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from proxy.demo.cluster import Account, Cluster, embedded_binaries, free_port
from proxy.demo.command import Serving, call

HERE = Path(__file__).parent
PGBOUNCER = Path("/usr/sbin/pgbouncer")
PLAIN = "plain"  # the tables that are written
LOGGED = "logged"  # the same, with the undo log installed
REWRITTEN = "rewritten"  # the same, without capture triggers
ROW_AUDIT = "row_audit"  # the same, with audit triggers for each row
STATEMENT_AUDIT = "statement_audit"  # the same, with audit triggers for each statement

# Autovacuum would fall into some runs and not into others; the tables are vacuumed between rounds.
SETTINGS = {"shared_buffers": "512MB", "max_wal_size": "4GB", "autovacuum": "off"}

# As a server is that may lose nothing. Checkpoints come when they are called for: before each run.
DURABLE = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "checkpoint_timeout": "1h",
    "max_wal_size": "16GB",
}
IN_MEMORY = ("tmpfs", "ramfs")  # where fsync does nothing


class BenchError(Exception):
    """A target or a run failed; the text says how."""


@dataclass(frozen=True, slots=True)
class Target:
    name: str
    port: int
    database: str


def tool(cluster: Cluster, program: str, database: str, *args: str, port: int = 0) -> str:
    """Run one of PostgreSQL's own programs; its output. Raises BenchError."""
    address = ["-h", "127.0.0.1", "-p", str(port or cluster.port), "-U", "postgres"]
    command = [str(cluster.binaries / program), *address, *args, database]
    done = subprocess.run(
        command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode:
        raise BenchError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


@dataclass(frozen=True, slots=True)
class Bed:
    """A server with its databases filled, and the targets in front of it."""

    cluster: Cluster
    targets: tuple[Target, ...]
    durable: bool

    def tool(self, program: str, database: str, *args: str, port: int = 0) -> str:
        return tool(self.cluster, program, database, *args, port=port)

    def ask(self, sql: str) -> str:
        return self.tool("psql", PLAIN, "-XAtc", sql).strip()

    def vacuum(self, *tables: str) -> None:
        which = [word for table in tables for word in ("-t", table)]
        for database in dict.fromkeys(target.database for target in self.targets):
            self.tool("vacuumdb", database, "-q", *which)

    def checkpoint(self) -> None:
        """So that each run pays alike for the pages that WAL holds in full after one."""
        if self.durable:
            self.ask("CHECKPOINT")


@contextmanager
def bed(
    folder: Path,
    wanted: tuple[str, ...],
    fill: Callable[[Cluster, str], None],
    *,
    durable: bool = False,
    clients: int = 1,
) -> Iterator[Bed]:
    """Start everything; `wanted` names targets, in the order in which they are shown.

    `fill` makes the tables in the database that it is given, of which the others are copies.
    """
    settings = {**SETTINGS, **(DURABLE if durable else {})}
    # PgBouncer keeps as many connections as it had clients while others run.
    settings["max_connections"] = str(2 * clients + 50)
    with ExitStack() as stack:
        cluster = stack.enter_context(Cluster(embedded_binaries(), settings))
        if durable:
            refuse_memory(cluster.data)
        tool(cluster, "createdb", PLAIN)
        fill(cluster, PLAIN)
        for database in dict.fromkeys(STARTERS[name].database for name in wanted):
            if database != PLAIN:
                tool(cluster, "createdb", database, "-T", PLAIN, "--strategy", "file_copy")
        targets = [
            stack.enter_context(STARTERS[name].start(cluster, folder, clients)) for name in wanted
        ]
        yield Bed(cluster, tuple(targets), durable)


def filesystem(folder: Path) -> str:
    command = ["stat", "-f", "-c", "%T", str(folder)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def refuse_memory(data: Path) -> None:
    found = filesystem(data)
    if found in IN_MEMORY:
        raise BenchError(f"{data} is on {found}, not on a disk: set TMPDIR to a folder that is")


@contextmanager
def direct(cluster: Cluster, _folder: Path, _clients: int) -> Iterator[Target]:
    yield Target("direct", cluster.port, PLAIN)


@contextmanager
def pgbouncer(cluster: Cluster, folder: Path, clients: int) -> Iterator[Target]:
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
max_client_conn = {clients + 10}
default_pool_size = {clients + 10}
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
def capture_off(cluster: Cluster, folder: Path, _clients: int) -> Iterator[Target]:
    conf = folder / "off.toml"
    conf.write_text('capture = "off"\n')
    with Serving(cluster.url(PLAIN), folder, ("--config", str(conf))) as serving:
        yield Target("capture off", serving.port, PLAIN)


@contextmanager
def capture_on(cluster: Cluster, folder: Path, _clients: int) -> Iterator[Target]:
    call("install", "--upstream", cluster.url(LOGGED))
    with Serving(cluster.url(LOGGED), folder) as serving:
        yield Target("capture on", serving.port, LOGGED)


@contextmanager
def without_triggers(cluster: Cluster, folder: Path, _clients: int) -> Iterator[Target]:
    call("install", "--upstream", cluster.url(REWRITTEN), "--no-all-tables")
    with Serving(cluster.url(REWRITTEN), folder) as serving:
        yield Target("without triggers", serving.port, REWRITTEN)


@contextmanager
def triggers_alone(cluster: Cluster, _folder: Path, _clients: int) -> Iterator[Target]:
    """Nobody in between: the capture triggers record every row."""
    call("install", "--upstream", cluster.url(LOGGED))
    yield Target("triggers alone", cluster.port, LOGGED)


@contextmanager
def row_triggers(cluster: Cluster, _folder: Path, _clients: int) -> Iterator[Target]:
    """Nobody in between: an audit trigger as it is written by hand."""
    yield audited(cluster, "row triggers", ROW_AUDIT, HERE / "row_triggers.sql")


@contextmanager
def statement_triggers(cluster: Cluster, _folder: Path, _clients: int) -> Iterator[Target]:
    """The same with transition tables."""
    yield audited(cluster, "statement triggers", STATEMENT_AUDIT, HERE / "statement_triggers.sql")


def audited(cluster: Cluster, name: str, database: str, script: Path) -> Target:
    tool(cluster, "psql", database, "-qXAt", "-v", "ON_ERROR_STOP=1", "-f", str(script))
    return Target(name, cluster.port, database)


@dataclass(frozen=True, slots=True)
class Starter:
    """Which database a target writes, and what starts it, for as many clients as are told."""

    database: str
    start: Callable[[Cluster, Path, int], AbstractContextManager[Target]]


STARTERS: Mapping[str, Starter] = {
    "direct": Starter(PLAIN, direct),
    "pgbouncer": Starter(PLAIN, pgbouncer),
    "capture off": Starter(PLAIN, capture_off),
    "capture on": Starter(LOGGED, capture_on),
    "without triggers": Starter(REWRITTEN, without_triggers),
    "triggers alone": Starter(LOGGED, triggers_alone),
    "row triggers": Starter(ROW_AUDIT, row_triggers),
    "statement triggers": Starter(STATEMENT_AUDIT, statement_triggers),
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
