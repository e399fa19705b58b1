"""Exactness, for any workload: undo everything, and the content is what it was; undo a part, and it
is what the rest alone would have made, or a conflict is reported.

HOTROLLBACK_EXAMPLES says how many workloads are tried on each server.
"""

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from fix_postgres import Database, Server
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from psycopg import AsyncConnection
from psycopg.rows import dict_row
from workload import CLIENTS, ROWS, SCHEMA, WORKLOADS, Step, contents, replay, run

from proxy.demo.command import Serving, call

EXAMPLES = int(os.environ.get("HOTROLLBACK_EXAMPLES", "100"))


@dataclass(frozen=True, slots=True)
class Bed:
    """A database behind a proxy, and a twin where parts are replayed."""

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


@pytest.fixture(scope="module", params=[18, 15], ids=["pg18", "pg15"])
def bed(request: pytest.FixtureRequest, servers, tmp_path_factory) -> Iterator[Bed]:
    server: Server = servers[request.param]
    with server.database() as database, server.database() as twin:
        for each in (database, twin):
            each.psql(SCHEMA)
            each.psql(f"ALTER DATABASE {each.name} SET deadlock_timeout = '20ms'")
        call("install", "--upstream", database.url())
        with Serving(database.url(), tmp_path_factory.mktemp("property")) as serving:
            yield Bed(database, twin, serving)


FORGET = """
TRUNCATE hotrollback.change, hotrollback.gap, hotrollback.undone, hotrollback.undo;
"""


@pytest.mark.timeout(1800)
@settings(
    **({"phases": (Phase.explicit, Phase.generate)} if os.environ.get("NOSHRINK") else {}),
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=WORKLOADS, pick=st.integers(0, CLIENTS - 1), by_session=st.booleans())
def test_undo_is_exact(bed: Bed, *, steps: list[Step], pick: int, by_session: bool) -> None:
    asyncio.run(_exact(bed, steps, pick, by_session=by_session))


async def _exact(bed: Bed, steps: list[Step], pick: int, *, by_session: bool) -> None:
    async with await AsyncConnection.connect(bed.database.url(), autocommit=True) as direct:
        await direct.execute(ROWS + FORGET)
        before = await contents(direct)
        clients = [await bed.client(number) for number in range(CLIENTS)]
        try:
            finished = await run(clients, steps)
        finally:
            for client in clients:
                await client.close()
        after = await contents(direct)

        await _part(bed, direct, finished, after, pick, by_session=by_session)
        assert await contents(direct) == after
        await _everything(bed, direct, before)


async def _part(bed, direct, finished, after, pick, *, by_session: bool) -> None:
    """Undo one client's; compare with the rest alone; redo."""
    database = f"IN DATABASE {bed.database.name}"
    cursor = await direct.execute("SELECT DISTINCT tag FROM hotrollback.change ORDER BY 1")
    tags = [row[0] for row in await cursor.fetchall()]
    if not tags:
        event("nothing was recorded")
        return
    bad = int(tags[pick % len(tags)].removeprefix("tag-"))
    selector = f"TAG 'tag-{bad}'"
    if by_session:
        sessions = await bed.console(f"SHOW SESSIONS {database}")
        mine = [s for s in sessions if s["application"] == f"client {bad}"]
        selector = f"SESSION '{max(mine, key=lambda s: s['started'])['session']}'"
    report = await bed.report(f"UNDO {database} {selector}")
    if report["outcome"] == "conflicts":
        event("part: conflicts")
        assert await contents(direct) == after
        return
    assert report["outcome"] == "done", report
    async with await AsyncConnection.connect(bed.twin.url(), autocommit=True) as twin:
        await twin.execute(ROWS)
        rest = [t for t in finished if t.client != bad]
        if await replay(twin, rest):
            event("part: compared with the rest alone")
            assert await contents(direct) == await contents(twin)
        else:
            event("part: the rest depends on it")
    redone = await bed.report(f"REDO {report['undo_id']} {database}")
    assert redone["outcome"] == "done", redone


async def _everything(bed, direct, before) -> None:
    database = f"IN DATABASE {bed.database.name}"
    cursor = await direct.execute("SELECT min(at) - interval '1 second' FROM hotrollback.change")
    (since,) = await cursor.fetchone() or (None,)
    if since is None:
        assert await contents(direct) == before
        return
    report = await bed.report(f"UNDO {database} FROM '{since.isoformat()}'")
    assert report["outcome"] in {"done", "nothing"}, report
    assert await contents(direct) == before
