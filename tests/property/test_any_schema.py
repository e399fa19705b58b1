"""Exactness, for any schema, any workload and any isolation: as test_exactness, and no gap is left.

What the rest alone would have made is well defined only where its replay changes the very same rows
in the same way: its transactions are compared as they were recorded, there and here. A schema is
made anew for each example, under the same names, by somebody whom the proxy does not see.

HOTROLLBACK_EXAMPLES says how many examples are tried on each server.
"""

import asyncio
from collections.abc import Iterator

import pytest
from bed import EXPLORED, FORGET, Bed, bed_on
from columns import OBJECTS
from hypothesis import HealthCheck, event, given, note, settings
from hypothesis import strategies as st
from psycopg import AsyncConnection
from schemas import SCHEMA, script, tables
from statements import first_rows, statements
from workload import CLIENTS, Statement, Step, Transaction, lasting, replay, run, workloads

# A serialization failure, a deadlock.
CONTENTION = {"error 40001", "error 40P01"}


@st.composite
def cases(draw: st.DrawFn) -> tuple[str, str, list[Step]]:
    """The script of a schema on each server, and what is done in it."""
    found = draw(tables())
    rows = draw(first_rows(found))
    steps = draw(workloads(statements(found)))
    return script(found, rows, 18), script(found, rows, 15), steps


@pytest.fixture(scope="module", params=[18, 15], ids=["pg18", "pg15"])
def bed(request: pytest.FixtureRequest, servers, tmp_path_factory) -> Iterator[Bed]:
    folder = tmp_path_factory.mktemp("property")
    with bed_on(servers[request.param], folder, OBJECTS, twin_records=True) as made:
        yield made


@pytest.mark.each_server
@pytest.mark.timeout(7200)
@settings(EXPLORED, suppress_health_check=list(HealthCheck))
@given(case=cases(), pick=st.integers(0, CLIENTS - 1), by_session=st.booleans())
def test_undo_is_exact(bed: Bed, *, case, pick: int, by_session: bool) -> None:
    asyncio.run(check(bed, case, pick, by_session=by_session))


async def check(bed: Bed, case, pick: int, *, by_session: bool) -> None:
    for_18, for_15, steps = case
    made = for_18 if bed.database.server.version >= 18 else for_15
    direct = await AsyncConnection.connect(bed.database.url(), autocommit=True)
    twin = await AsyncConnection.connect(bed.twin.url(), autocommit=True)
    async with direct, twin:
        await asyncio.gather(direct.execute(made + FORGET), twin.execute(made + FORGET))
        before = await contents(direct)
        assert await contents(twin) == before
        clients = await bed.clients()
        try:
            finished = await run(clients, steps)
        finally:
            for client in clients:
                await client.close()
        note(told(made, finished))
        for state in sorted({done.outcome for t in finished for done in t.steps} & CONTENTION):
            event(f"met {state}")
        after = await contents(direct)
        gaps = await _rows(direct, "SELECT DISTINCT reason FROM hotrollback.gap")
        must = {"truncate"} if any(map(_truncated_blindly, finished)) else set()
        # A row that a trigger keeps out of the partition that it moves to is counted, too.
        kept_out = "TRIGGER skip_" in made and any(map(_older, finished))
        blindly = kept_out or any(map(_took_back_blindly, finished))
        may = {"deferred_trigger"} if blindly else set()
        found = {reason for (reason,) in gaps}
        assert must <= found <= must | may
        if found:
            event(f"a gap: {', '.join(sorted(found))}")
            report = await bed.undo_everything(direct)
            assert report is None or report["outcome"] == "gaps"
            assert await contents(direct) == after
            return

        await _part(bed, direct, twin, finished, after, pick, by_session=by_session)
        assert await contents(direct) == after
        report = await bed.undo_everything(direct)
        assert report is None or report["outcome"] in {"done", "nothing"}, report
        assert await contents(direct) == before


def _truncated_blindly(transaction: Transaction) -> bool:
    """Whether it truncated a table of which its snapshot may not have shown every row."""
    truncated = any(done.outcome.startswith("TRUNCATE") for done in lasting(transaction).steps)
    return truncated and _older(transaction)


def _took_back_blindly(transaction: Transaction) -> bool:
    """Whether it rolled something back that the server still counts when deferred triggers have run,
    under a snapshot that cannot show whether the capture triggers stood all the time."""
    actions = (str(done.step.action) for done in transaction.steps)
    return _older(transaction) and any(action.startswith("ROLLBACK TO") for action in actions)


def _older(transaction: Transaction) -> bool:
    """Whether it was committed and had a snapshot of its own."""
    first = str(transaction.steps[0].step.action)
    return (
        transaction.committed
        and first.startswith("BEGIN ISOLATION LEVEL")
        and "READ COMMITTED" not in first
    )


async def _part(bed, direct, twin, finished, after, pick, *, by_session: bool) -> None:
    """Undo one client's; compare with the rest alone; redo."""
    tags = await _rows(direct, "SELECT DISTINCT tag FROM hotrollback.change ORDER BY 1")
    if not tags:
        event("nothing was recorded")
        return
    bad = int(tags[pick % len(tags)][0].removeprefix("tag-"))
    was = {n: await _recorded(direct, f"tag-{n}") for n in range(CLIENTS) if n != bad}
    report = await bed.undo_one(bad, by_session=by_session)
    if report["outcome"] == "conflicts":
        event("part: conflicts")
        assert await contents(direct) == after
        return
    assert report["outcome"] == "done", report
    rest = [lasting(t) for t in finished if t.client != bad and t.committed]
    if await _replayed(bed, rest) and was == {n: await _recorded(twin, f"tag-{n}") for n in was}:
        event("part: compared with the rest alone")
        assert await contents(direct) == await contents(twin)
    else:
        event("part: the rest depends on it")
    redone = await bed.redo(report["undo_id"])
    assert redone["outcome"] == "done", redone


async def _replayed(bed: Bed, rest: list[Transaction]) -> bool:
    """In their order, in the twin, each by the one whose it was."""
    connection = await AsyncConnection.connect(bed.twin.url("app"), autocommit=True)
    async with connection:
        for transaction in rest:
            await connection.execute(f"SET hotrollback.tag = 'tag-{transaction.client}'")
            if not await replay(connection, [transaction]):
                return False
    return True


# A row that moved between partitions is recorded as one change or as two, by what recorded it.
RECORDED = """
SELECT array_agg(r.text ORDER BY r.text COLLATE "C")
  FROM hotrollback.change c
 CROSS JOIN LATERAL (
       SELECT concat_ws(' ', 'I', coalesce(c.new_relid, c.relid)::regclass, c.after)
        WHERE c.op = 'I' OR c.new_relid <> 0
        UNION ALL
       SELECT concat_ws(' ', 'D', c.relid::regclass, c.before)
        WHERE c.op = 'D' OR c.new_relid <> 0
        UNION ALL
       SELECT concat_ws(' ', 'U', c.relid::regclass, c.before, c.after)
        WHERE c.op = 'U' AND c.new_relid IS NULL) AS r(text)
 WHERE c.tag = %s
 GROUP BY c.xid ORDER BY min(c.lsn)
"""


async def _recorded(connection: AsyncConnection, tag: str) -> list[tuple]:
    """What each transaction under a tag wrote."""
    return await _rows(connection, RECORDED, (tag,))


async def _rows(connection: AsyncConnection, query: str, values: tuple = ()) -> list[tuple]:
    cursor = await connection.execute(query, values)
    return await cursor.fetchall()


async def contents(connection: AsyncConnection) -> list[str]:
    """All rows, as the text of all their columns."""
    names = await _rows(
        connection,
        "SELECT oid::regclass FROM pg_class WHERE relkind = 'r'"
        f" AND relnamespace = '{SCHEMA}'::regnamespace",
    )
    each = (f"SELECT '{name}' || ' ' || t::text FROM ONLY {name} t" for (name,) in names)
    return sorted(row[0] for row in await _rows(connection, " UNION ALL ".join(each)))


def told(made: str, finished: list[Transaction]) -> str:
    """A failing example, to be read and to be run again."""
    lines = made.replace(";", ";\n").splitlines()
    for transaction in finished:
        for done in transaction.steps:
            action = done.step.action
            text = action.whole() if isinstance(action, Statement) else action
            lines.append(f"{transaction.client}: {text} -> {done.outcome}")
    return "\n".join(lines)
