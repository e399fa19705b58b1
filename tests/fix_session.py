"""A proxy inside the test process: the real relay and sessions between a client and a real server.

What a worker would tell the operator is kept in lists, what a worker decides is an attribute.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import psycopg
import pytest
from fix_postgres import Database, rows_of

from proxy.catalog.cache import Knowledge
from proxy.net.relay import Door, Link, Upstream
from proxy.session.session import Surroundings
from undo.install import install

TAG = "case"


@dataclass(slots=True, eq=False)
class Inside:
    """`capturing`, `knowledge` may be changed while it runs; the rest is what sessions told."""

    database: Database
    port: int = 0
    capturing: bool = True
    knowledge: Knowledge = field(default_factory=Knowledge)
    statements: dict[int, bytes] = field(default_factory=dict)
    unrecorded: list[Any] = field(default_factory=list)
    seen: list[Any] = field(default_factory=list)
    counted: dict[str, int] = field(default_factory=dict)
    links: set[Link] = field(default_factory=set)
    options: dict[str, Any] = field(default_factory=dict)

    def surroundings(self) -> Surroundings:
        return Surroundings(
            knowledge=lambda _database: self.knowledge,
            capturing=lambda: self.capturing,
            statement_seen=lambda _database, number, text: self.statements.update({number: text}),
            session_seen=self.seen.append,
            gap_unrecorded=lambda _session, plan: self.unrecorded.append(plan),
            counted=self.counted,
            **self.options,
        )

    def url(self, user: str = "app") -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{self.database.name}"

    def connect(self, user: str = "app", tag: str = TAG, **options: Any) -> psycopg.Connection:
        given = f"-c hotrollback.tag={tag}" if tag else ""
        return psycopg.connect(self.url(user), autocommit=True, options=given, **options)

    def psql(self, sql: str, user: str = "app", tag: str = TAG) -> list[tuple]:
        with self.connect(user, tag) as connection:
            return rows_of(connection.execute(sql))

    def changes(self, where: str = "true") -> list[tuple]:
        """op, relation, before, after in the order of the log."""
        return self.database.psql(
            "SELECT op::text, relid::regclass::text, before::jsonb, after::jsonb"
            f" FROM hotrollback.change WHERE {where} ORDER BY lsn"
        )

    def gaps(self, where: str = "true") -> list[tuple]:
        """reason, relation in the order of the log."""
        return self.database.psql(
            "SELECT reason, nullif(relid, 0)::regclass::text"
            f" FROM hotrollback.gap WHERE {where} ORDER BY lsn, at"
        )


@contextmanager
def inside(database: Database, **options: Any) -> Iterator[Inside]:
    state = Inside(database, options=options)
    loop = asyncio.new_event_loop()
    ready = threading.Event()
    stop: asyncio.Event = asyncio.Event()

    async def main() -> None:
        door = Door(
            loop=loop,
            upstream=Upstream(database.host, database.port),
            around=state.surroundings(),
            tag_of=lambda _address: lambda *_who: None,
            login_timeout=10.0,
            opened=state.links.add,
            closed=state.links.discard,
        )
        server = await loop.create_server(lambda: Link(door), "127.0.0.1", 0)
        state.port = server.sockets[0].getsockname()[1]
        ready.set()
        await stop.wait()
        server.close()
        for link in list(state.links):
            link.close()
        await asyncio.sleep(0.01)

    thread = threading.Thread(target=lambda: loop.run_until_complete(main()), daemon=True)
    thread.start()
    ready.wait(10)
    try:
        yield state
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


async def installed(database: Database, **options: Any) -> None:
    connection = await asyncpg.connect(database.url())
    try:
        await install(connection, **options)
    finally:
        await connection.close()


@pytest.fixture
def between(database: Database) -> Iterator[Inside]:
    """The log is installed before the test's tables are there: on 15 attach() comes after them."""
    asyncio.run(installed(database))
    with inside(database) as state:
        yield state


@pytest.fixture
def between18(database18: Database) -> Iterator[Inside]:
    asyncio.run(installed(database18))
    with inside(database18) as state:
        yield state


Reinstall = Callable[..., None]


@pytest.fixture
def reinstall() -> Reinstall:
    """Attach what tables made since the first install need."""
    return lambda database, **options: asyncio.run(installed(database, **options))
