"""`hotrollback serve` as a child process, driven from outside: its port, its command line."""

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

import asyncpg
import psycopg
import pytest
from fix_postgres import Database, Server, Servers, rows_of

from proxy.demo.command import Serving


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy in front of a test's database."""

    database: Database
    serving: Serving

    @property
    def port(self) -> int:
        return self.serving.port

    @property
    def admin(self) -> Path:
        """The directory of the admin socket."""
        return self.serving.admin

    def url(self, user: str = "app", database: str | None = None) -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database or self.database.name}"

    async def connect(self, user: str = "app", **options) -> asyncpg.Connection:
        return await asyncpg.connect(self.url(user), **options)

    def psql(self, sql: str, user: str = "app", tag: str = "") -> list[tuple]:
        """As Database.psql, through the proxy, under a tag."""
        options = f"-c hotrollback.tag={tag}" if tag else ""
        with psycopg.connect(self.url(user), autocommit=True, options=options) as connection:
            return rows_of(connection.execute(sql))

    def cli(self, *args: str, check: bool = True) -> CompletedProcess[str]:
        """Run a command against this proxy's admin socket; `check` wants exit status 0."""
        return self.serving.call(*args, check=check)


Serve = Callable[..., Proxy]


@pytest.fixture
def serve(database: Database, tmp_path: Path) -> Iterator[Serve]:
    """serve(*args) starts a proxy in front of `database`; all are stopped at the end."""
    running: list[Serving] = []

    def start(*args: str) -> Proxy:
        serving = Serving(database.url(), tmp_path, args)
        running.append(serving)
        serving.start()
        return Proxy(database, serving)

    yield start
    for serving in running:
        serving.stop()


@pytest.fixture
def proxy(serve: Serve, with_log: None) -> Proxy:
    """A proxy in front of `database`, where the undo log is installed."""
    return serve()


@pytest.fixture(scope="session")
def standing(
    servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Server], Serving]]:
    """standing(server) is a proxy in front of a database of its own, for the whole of this process;
    the servers are there for longer."""
    with ExitStack() as stack:

        @functools.cache
        def one(server: Server) -> Serving:
            home = stack.enter_context(server.database(logged=True))
            folder = Path(tmp_path_factory.mktemp("standing"))
            return stack.enter_context(Serving(home.url(), folder))

        yield one


@pytest.fixture
def proxy_of_all(
    database: Database, with_log: None, standing: Callable[[Server], Serving]
) -> Proxy:
    """As `proxy`, for those who neither stop it nor change what it does: it serves the databases of
    other tests, too. Its own database is another one, so that commands have to name this."""
    return Proxy(database, standing(database.server))
