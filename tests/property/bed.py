"""A database behind a proxy, and a twin where parts are replayed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fix_postgres import Database, Server, install_into
from hypothesis import HealthCheck, Phase, settings
from psycopg import AsyncConnection
from psycopg.rows import dict_row
from workload import CLIENTS

from proxy.demo.command import Serving

# HOTROLLBACK_EXAMPLES says how many are tried on each server; NOSHRINK, that a failing one is not made
# smaller, which takes long.


def explored(everyday: int) -> settings:
    return settings(
        **({"phases": (Phase.explicit, Phase.generate)} if os.environ.get("NOSHRINK") else {}),
        max_examples=int(os.environ.get("HOTROLLBACK_EXAMPLES", everyday)),
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


EXPLORED = explored(25)
FORGET = """
TRUNCATE hotrollback.change, hotrollback.command, hotrollback.gap, hotrollback.undone, hotrollback.undo;
"""


@dataclass(frozen=True, slots=True)
class Bed:
    database: Database
    twin: Database
    serving: Serving

    async def client(self, number: int) -> AsyncConnection:
        return await AsyncConnection.connect(
            f"postgresql://app@127.0.0.1:{self.serving.port}/{self.database.name}",
            autocommit=True,
            application_name=f"client {number}",
            options=f"-c hotrollback.tag=tag-{number}",
            sslmode="disable",
        )

    async def console(self, command: str) -> list[dict]:
        """The objects that a command answers, under AS JSON one report."""
        connection = await AsyncConnection.connect(
            host=str(self.serving.admin), port=6433, dbname="hotrollback", autocommit=True
        )
        async with connection:
            cursor = connection.cursor(row_factory=dict_row)
            await cursor.execute(command)
            return await cursor.fetchall()

    async def report(self, command: str) -> dict:
        (row,) = await self.console(f"{command} AS JSON")
        return row["report"]

    async def undo_one(self, bad: int, *, by_session: bool) -> dict:
        """Of what one client did."""
        database = f"IN DATABASE {self.database.name}"
        selector = f"TAG 'tag-{bad}'"
        if by_session:
            sessions = await self.console(f"SHOW SESSIONS {database}")
            mine = [s for s in sessions if s["application"] == f"client {bad}"]
            selector = f"SESSION '{max(mine, key=lambda s: s['started'])['session']}'"
        return await self.report(f"UNDO {database} {selector}")

    async def redo(self, undo_id: int) -> dict:
        return await self.report(f"REDO {undo_id} IN DATABASE {self.database.name}")

    async def undo_everything(self, direct: AsyncConnection) -> dict | None:
        """The report, or None where nothing was recorded."""
        cursor = await direct.execute(
            "SELECT min(at) - interval '1 second' FROM hotrollback.change"
        )
        (since,) = await cursor.fetchone() or (None,)
        if since is None:
            return None
        database = f"IN DATABASE {self.database.name}"
        return await self.report(f"UNDO {database} FROM '{since.isoformat()}'")

    async def clients(self) -> list[AsyncConnection]:
        return [await self.client(number) for number in range(CLIENTS)]


@contextmanager
def bed_on(server: Server, folder: Path, schema: str, *, twin_records: bool) -> Iterator[Bed]:
    with server.database() as database, server.database() as twin:
        for each in (database, twin):
            each.psql(schema)
            each.psql(f"ALTER DATABASE {each.name} SET deadlock_timeout = '20ms'")
        install_into(database)
        if twin_records:
            install_into(twin)
        with Serving(database.url(), folder) as serving:
            yield Bed(database, twin, serving)
