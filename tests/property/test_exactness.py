"""Exactness, for any workload: undo everything, and the content is what it was; undo a part, and it
is what the rest alone would have made, or a conflict is reported.

HOTROLLBACK_EXAMPLES says how many workloads are tried on each server.
"""

import asyncio
from collections.abc import Iterator

import pytest
from bed import EXPLORED, FORGET, Bed, bed_on
from hypothesis import event, given
from hypothesis import strategies as st
from psycopg import AsyncConnection
from workload import CLIENTS, ROWS, SCHEMA, WORKLOADS, Step, contents, replay, run


@pytest.fixture(scope="module", params=[18, 15], ids=["pg18", "pg15"])
def bed(request: pytest.FixtureRequest, servers, tmp_path_factory) -> Iterator[Bed]:
    folder = tmp_path_factory.mktemp("property")
    with bed_on(servers[request.param], folder, SCHEMA, twin_records=False) as made:
        yield made


@pytest.mark.each_server
@pytest.mark.timeout(1800)
@EXPLORED
@given(steps=WORKLOADS, pick=st.integers(0, CLIENTS - 1), by_session=st.booleans())
def test_undo_is_exact(bed: Bed, *, steps: list[Step], pick: int, by_session: bool) -> None:
    asyncio.run(_exact(bed, steps, pick, by_session=by_session))


async def _exact(bed: Bed, steps: list[Step], pick: int, *, by_session: bool) -> None:
    async with await AsyncConnection.connect(bed.database.url(), autocommit=True) as direct:
        await direct.execute(ROWS + FORGET)
        before = await contents(direct)
        clients = await bed.clients()
        try:
            finished = await run(clients, steps)
        finally:
            for client in clients:
                await client.close()
        after = await contents(direct)

        await _part(bed, direct, finished, after, pick, by_session=by_session)
        assert await contents(direct) == after
        report = await bed.undo_everything(direct)
        assert report is None or report["outcome"] in {"done", "nothing"}, report
        assert await contents(direct) == before


async def _part(bed, direct, finished, after, pick, *, by_session: bool) -> None:
    """Undo one client's; compare with the rest alone; redo."""
    cursor = await direct.execute("SELECT DISTINCT tag FROM hotrollback.change ORDER BY 1")
    tags = [row[0] for row in await cursor.fetchall()]
    if not tags:
        event("nothing was recorded")
        return
    bad = int(tags[pick % len(tags)].removeprefix("tag-"))
    report = await bed.undo_one(bad, by_session=by_session)
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
    redone = await bed.redo(report["undo_id"])
    assert redone["outcome"] == "done", redone
