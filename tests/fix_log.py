"""The undo log in a test's database, and connections to it that do not pass a proxy."""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager

import asyncpg
import pytest
from fix_postgres import Database

Connect = Callable[..., Coroutine[None, None, asyncpg.Connection]]


@pytest.fixture
async def connect(database: Database) -> AsyncIterator[Connect]:
    """connect(user) opens a connection to the test's database; all are closed at the end."""
    open_: list[asyncpg.Connection] = []

    async def opened(user: str = "postgres", **options) -> asyncpg.Connection:
        connection = await database.connect(user, **options)
        open_.append(connection)
        return connection

    yield opened
    for connection in open_:
        connection.terminate()


@pytest.fixture
async def db(connect: Connect) -> asyncpg.Connection:
    """A superuser's connection to an empty database."""
    return await connect()


@pytest.fixture
async def log(db: asyncpg.Connection, with_log: None) -> asyncpg.Connection:
    """The same, with the undo log installed."""
    return db


@asynccontextmanager
async def roles_made(
    db: asyncpg.Connection, database: Database, *names: str
) -> AsyncIterator[list[str]]:
    """Fresh roles of this database, as quoted names; gone at the end, with all that they hold."""
    roles = [f'"{name} {database.name}"' for name in names]
    for role in roles:
        await db.execute(f"CREATE ROLE {role} LOGIN")
    yield roles
    for role in roles:
        await db.execute(f"REASSIGN OWNED BY {role} TO postgres; DROP OWNED BY {role}")
    for role in roles:
        await db.execute(f"DROP ROLE {role}")
