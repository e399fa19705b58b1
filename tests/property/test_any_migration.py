"""Exactness with DDL: whatever two clients do to tables and rows under one tag, in transactions that
commit or not, its undo gives back schema and rows, the redo what they had made; or it is said what
stands in the way, and nothing is changed.

HOTROLLBACK_EXAMPLES says how many examples are tried on each server.
"""

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest
from bed import EXPLORED
from fix_postgres import Database
from hypothesis import HealthCheck, event, example, given, note, settings
from hypothesis import strategies as st
from migrations import DDL, DML, FORGET, MADE, attempt, content

from undo.engine import redo, run
from undo.errors import NotReversible, UnknownTag
from undo.model import Outcome
from undo.request import Selection, UndoRequest

TRANSACTIONS = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.lists(st.one_of(DDL, DML), min_size=1, max_size=4),
        st.sampled_from(("COMMIT", "COMMIT", "COMMIT", "ROLLBACK")),
    ),
    min_size=1,
    max_size=6,
)


@pytest.fixture(scope="module", params=[18, 15], ids=["pg18", "pg15"])
def made(request: pytest.FixtureRequest, servers) -> Iterator[Database]:
    with servers[request.param].database(logged=True) as database:
        yield database


@pytest.mark.timeout(7200)
@settings(EXPLORED, suppress_health_check=list(HealthCheck))
@given(transactions=TRANSACTIONS)
@example(
    transactions=[
        (0, ["ALTER TABLE a ADD COLUMN more int", "DELETE FROM a WHERE id = 2"], "COMMIT"),
        (0, ["DROP TABLE a CASCADE", "CREATE TABLE a AS SELECT * FROM b"], "COMMIT"),
    ]
)
def test_a_migration_is_taken_back_or_nothing_is(made: Database, transactions: list) -> None:
    asyncio.run(check(made, transactions))


async def check(made: Database, transactions: list) -> None:
    db = await made.connect()
    settings_ = {"hotrollback.tag": "bad", "search_path": "m,m2", "client_min_messages": "error"}
    clients = [await made.connect(server_settings=settings_) for _ in range(2)]
    try:
        await db.execute(MADE + FORGET)
        before = await content(db)
        for who, statements, end in transactions:
            await transaction(clients[who], statements, end)
        await compare(db, before)
    finally:
        for each in (*clients, db):
            await each.close()


async def transaction(client: asyncpg.Connection, statements: list[str], end: str) -> None:
    await client.execute("BEGIN")
    for statement in statements:
        await attempt(client, statement)
    note(end)
    await client.execute(end)


async def compare(db: asyncpg.Connection, before: list[str]) -> None:
    after = await content(db)
    request = UndoRequest(Selection(tag="bad"), by="test")
    gaps = await db.fetch("SELECT reason, statement FROM hotrollback.gap")
    assert not gaps
    try:
        report = await run(db, request)
    except UnknownTag:
        assert after == before
        return
    except NotReversible as error:
        note(str(error))
        event("not reversible")
        raise
    assert report.outcome in {Outcome.DONE, Outcome.NOTHING}, report.conflicts
    assert await content(db) == before
    if report.outcome is Outcome.DONE and report.undo_id is not None:
        again = await redo(db, None, by="test")
        assert again.outcome is Outcome.DONE, again.conflicts
        assert await content(db) == after
