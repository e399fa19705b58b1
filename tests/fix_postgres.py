"""Real PostgreSQL servers, 18 and 15, and a fresh database on one of them for every test.

Each test process (pytest-xdist worker) has servers of its own; they start when first asked for and
are gone when the process ends. A server that is missing is an error, not a skip.
"""

import asyncio
import itertools
import os
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest

from proxy.demo.cluster import Account, Cluster, embedded_binaries, free_port
from undo.install import _migrate, install
from undo.retention import ensure_partitions

VERSIONS = (18, 15)
DEBIAN_15 = Path("/usr/lib/postgresql/15/bin")
SETTINGS = {
    "max_connections": "200",
    "max_prepared_transactions": "20",
    "wal_level": "logical",
    "shared_buffers": "64MB",
    "max_wal_size": "256MB",
}
MEMORY = Path("/dev/shm")
ROOM = 8 << 30
# Databases with the log, to copy: much quicker than to install it again.
TEMPLATE = "with_log"
# Not the original's any more, and not older than itself.
ITS_OWN = (
    "UPDATE hotrollback.meta SET installed = clock_timestamp(),"
    " database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
# Sorted by every pg_dump, which looks among them for those of what it dumps.
NO_COMMENTS = "SET allow_system_table_mods = on; DELETE FROM pg_description"
ROLES = "CREATE ROLE app LOGIN; CREATE ROLE operator LOGIN"

# Lines of a dump that an undo neither could nor should give back: comments, psql's restrictions,
# positions of sequences, and what install attached to the tables.
NOT_CONTENT = ("--", "\\", "SELECT pg_catalog.setval(", "SET ")
OURS = ("TRIGGER hotrollback_",)

_numbers = itertools.count(1)
# Of a server (port: another one may have had it), databases to drop. The last one waits: while
# somebody is just leaving it the server would wait, too.
_ended: dict[int, list[str]] = {}


def binaries(version: int) -> Path:
    if version == 18:
        return embedded_binaries()
    if not (DEBIAN_15 / "postgres").exists():
        pytest.fail(
            f"PostgreSQL 15 is not in {DEBIAN_15}: install Debian's package postgresql-15 "
            "(.ci/test does it when it runs as root)",
            pytrace=False,
        )
    return DEBIAN_15


def memory() -> Path | None:
    """Where servers wait for no disk: they copy databases all the time. None where all those of
    all test processes would not fit in, or no program may run (a server may bring its own)."""
    if not MEMORY.is_dir():
        return None
    found = os.statvfs(MEMORY)
    fits = found.f_bavail * found.f_frsize >= ROOM
    return MEMORY if fits and not found.f_flag & os.ST_NOEXEC else None


def cluster_of(version: int, **settings: str) -> Cluster:
    """A server of its own for whoever asks, not started yet."""
    return Cluster(binaries(version), {**SETTINGS, **settings}, within=memory())


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: superuser `postgres`, and `app` and `operator` who are not."""

    version: int
    host: str
    port: int
    bin: Path

    def url(self, user: str = "postgres", database: str = "postgres") -> str:
        return f"postgresql://{user}@{self.host}:{self.port}/{database}"

    def psql(self, sql: str, user: str = "postgres", database: str = "postgres") -> list[tuple]:
        """Run a text of statements in autocommit; the rows of the last one that has any."""
        with self._connection(user, database) as connection:
            return rows_of(connection.execute(sql))

    def _connection(self, user: str = "postgres", database: str = "postgres") -> psycopg.Connection:
        return psycopg.connect(self.url(user, database), autocommit=True)

    @contextmanager
    def database(
        self, *, logged: bool = False, given: str = "", begun: bool = False
    ) -> Iterator["Database"]:
        """A fresh database, dropped some time afterwards whoever is still connected. `logged`: with
        the log, as install makes it where there is nothing but what is `given`. `begun`: with all
        that an install makes before it looks at what is there, which another one goes on with."""
        name = f"t{os.getpid()}_{next(_numbers)}"
        fresh = Database(self, name)
        source = self._template(given, begun=begun) if logged or begun else "template1"
        with self._connection() as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {source} STRATEGY file_copy")
            ended = _ended.setdefault(self.port, [])
            while len(ended) > 1:
                connection.execute(f"DROP DATABASE IF EXISTS {ended.pop(0)} WITH (FORCE)")
        try:
            if logged or begun:
                fresh.psql(ITS_OWN)
            yield fresh
        finally:
            _ended.setdefault(self.port, []).append(name)

    def _template(self, given: str, *, begun: bool) -> str:
        name = f"{TEMPLATE}_{sha256(given.encode()).hexdigest()[:16]}_{begun:d}"
        if not self.psql(f"SELECT FROM pg_database WHERE datname = '{name}'"):
            self.psql(f"CREATE DATABASE {name}")
            Database(self, name).psql(given)
            with_connection(Database(self, name), begin_install if begun else install)
        return name


@dataclass(frozen=True, slots=True)
class Database:
    server: Server
    name: str

    @property
    def host(self) -> str:
        return self.server.host

    @property
    def port(self) -> int:
        return self.server.port

    def url(self, user: str = "postgres") -> str:
        return self.server.url(user, self.name)

    def psql(self, sql: str, user: str = "postgres") -> list[tuple]:
        return self.server.psql(sql, user, self.name)

    async def connect(self, user: str = "postgres", **options) -> asyncpg.Connection:
        return await asyncpg.connect(self.url(user), **options)

    def dump(self) -> list[str]:
        """Schema and rows without the log, sorted: what an undo has to give back."""
        command = [
            *(str(self.server.bin / "pg_dump"), "--inserts", "--dbname", self.url()),
            *("--exclude-schema", "hotrollback", "--exclude-schema", "hotrollback_bin"),
            "--no-security-labels",  # it would take a tenth of the time to find that there are none
        ]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return sorted(line for line in done.stdout.splitlines() if is_content(line))


def install_into(database: Database, **options: Any) -> None:
    """What `hotrollback install` does, in this process: starting one takes longer than the work."""
    with_connection(database, install, **options)


async def begin_install(connection: asyncpg.Connection) -> None:
    await _migrate(connection)
    await ensure_partitions(connection)


def with_connection(database: Database, work: Callable[..., Awaitable], **options: Any) -> None:
    async def run() -> None:
        connection = await database.connect()
        try:
            await work(connection, **options)
        finally:
            await connection.close()

    asyncio.run(run())


def rows_of(cursor: psycopg.Cursor) -> list[tuple]:
    rows: list[tuple] = []
    while True:
        if cursor.description is not None:
            rows = cursor.fetchall()
        if not cursor.nextset():
            return rows


def is_content(line: str) -> bool:
    return bool(line) and not line.startswith(NOT_CONTENT) and not any(o in line for o in OURS)


class Servers:
    """The servers of this test process, by version, started when first asked for."""

    def __init__(self) -> None:
        self._clusters: dict[int, Cluster] = {}

    def __getitem__(self, version: int) -> Server:
        if version not in self._clusters:
            cluster = cluster_of(version)
            cluster.start()
            self._clusters[version] = cluster
            self._server(version).psql(ROLES)
            self._server(version).psql(NO_COMMENTS, database="template1")
        return self._server(version)

    def _server(self, version: int) -> Server:
        cluster = self._clusters[version]
        return Server(version, cluster.host, cluster.port, cluster.binaries)

    def stop(self) -> None:
        for cluster in self._clusters.values():
            cluster.stop()


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    running = Servers()
    yield running
    running.stop()


@pytest.fixture(scope="session", params=VERSIONS, ids=lambda version: f"pg{version}")
def server(request: pytest.FixtureRequest, servers: Servers) -> Server:
    """Every test that uses this runs on each version."""
    return servers[request.param]


@pytest.fixture(scope="session")
def server18(servers: Servers) -> Server:
    return servers[18]


@pytest.fixture(scope="session")
def server15(servers: Servers) -> Server:
    return servers[15]


@pytest.fixture
def with_log() -> None:
    """Whoever asks for this finds the log in the test's database."""


@pytest.fixture
def database(request: pytest.FixtureRequest, server: Server) -> Iterator[Database]:
    """`pytest.mark.given(sql)`: with the log, and what was there before it."""
    given = request.node.get_closest_marker("given")
    logged = given is not None or "with_log" in request.fixturenames
    begun = "ground" in request.fixturenames and not logged
    text = given.args[0] if given else ""
    with server.database(logged=logged, given=text, begun=begun) as fresh:
        yield fresh


@pytest.fixture
def database18(request: pytest.FixtureRequest, server18: Server) -> Iterator[Database]:
    with server18.database(logged="with_log" in request.fixturenames) as fresh:
        yield fresh


@pytest.fixture
def standby18(server18: Server) -> Iterator[Server]:
    """A copy of the server as it is now, that follows nobody."""
    account = Account.choose()
    with tempfile.TemporaryDirectory(prefix="hotrollback-standby-", dir=memory()) as folder:
        data = Path(folder) / "data"
        Path(folder).chmod(0o711)
        data.mkdir(mode=0o700)
        account.own(data)
        source = ["-h", server18.host, "-p", str(server18.port), "-U", "postgres"]
        account.run([str(server18.bin / "pg_basebackup"), *source, "-c", "fast", "-D", str(data)])
        signal = data / "standby.signal"
        signal.touch()
        account.own(signal)
        port = free_port()
        control = [str(server18.bin / "pg_ctl"), "-D", str(data), "-w"]
        account.run([*control, "-l", str(data / "log"), "-o", f"-p {port}", "start"])
        yield Server(18, server18.host, port, server18.bin)
        account.run([*control, "-m", "immediate", "stop"])
