"""An undo of one client's tag among what another one does without it: it is done, and the database is
what the other's statements alone would have made of it; or it is said what stands in the way, and
nothing is changed.

What the other's statements make may rest on what the tag had done: a default, a name, rows that they
read. So each is looked at as it runs, and only where it did the same alone is there something to compare.

HOTROLLBACK_EXAMPLES says how many examples are tried on each server.
"""

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest
from bed import explored
from beside import World, same
from fix_postgres import Database
from fix_undo import columns_sorted
from hypothesis import HealthCheck, event, example, given, note, settings
from hypothesis import strategies as st
from migrations import DDL, DML, FORGET, MADE, THERE, attempt, content, likely

from undo.engine import redo, run
from undo.errors import UndoError, UnknownTag
from undo.model import Outcome
from undo.request import Selection, UndoRequest

SETTINGS = {"search_path": "m,m2", "client_min_messages": "error", "lock_timeout": "40ms"}
TAGGED, OTHER = 0, 1
# LATER: when the same client begins its next one, or at the end.


def transaction(table: str, *who: int) -> st.SearchStrategy:
    return st.tuples(
        st.sampled_from(who),
        st.lists(st.one_of(*[likely(table)] * 3, DDL, DML), min_size=1, max_size=3),
        st.sampled_from(("COMMIT", "COMMIT", "COMMIT", "COMMIT", "LATER", "ROLLBACK")),
    )


def transactions_at(table: str) -> st.SearchStrategy:
    """Mostly at one table, so that they meet."""
    some = st.lists(transaction(table, TAGGED, OTHER), max_size=4)
    return st.builds(
        lambda one, other, more: [one, other, *more],
        *(transaction(table, TAGGED), transaction(table, OTHER), some),
    )


TRANSACTIONS = st.sampled_from(sorted(THERE)).flatmap(transactions_at)


@pytest.fixture(scope="module", params=[18, 15], ids=["pg18", "pg15"])
def databases(request: pytest.FixtureRequest, servers) -> Iterator[tuple[Database, Database]]:
    server = servers[request.param]
    with server.database(logged=True) as made, server.database(logged=True) as alone:
        yield made, alone


def pair(tagged: str, *others: str) -> list:
    return [(TAGGED, tagged.split("; "), "COMMIT"), (OTHER, list(others), "COMMIT")]


@pytest.mark.timeout(7200)
@example(
    pair(
        "ALTER TABLE c RENAME TO a2; CREATE TABLE c (LIKE a INCLUDING ALL EXCLUDING DEFAULTS); "
        "ALTER TABLE c ALTER COLUMN id TYPE bigint USING id::text::bigint",
        "CREATE TABLE made AS SELECT * FROM b",
    )
)
@example(pair("ALTER TABLE b DROP COLUMN w", "ALTER TABLE b ADD COLUMN more int DEFAULT 7"))
@example(pair("ALTER TABLE b DROP COLUMN w", "UPDATE b SET k = 8 WHERE k = 1"))
@example(pair("ALTER TABLE a DROP COLUMN n", "UPDATE a SET id = 7 WHERE id = 2"))
@example(
    pair(
        "ALTER TABLE a DROP COLUMN n", "DELETE FROM a WHERE id = 2", "INSERT INTO a VALUES (2, '2')"
    )
)
@example(pair("ALTER TABLE a DROP COLUMN n", "ALTER TABLE a RENAME COLUMN id TO more"))
@example(pair("ALTER TABLE a ALTER COLUMN n TYPE bigint", "UPDATE a SET n = 77 WHERE id = 2"))
@example(pair("ALTER TABLE b ALTER COLUMN k TYPE bigint", "UPDATE b SET k = 77 WHERE k = 2"))
@example(pair("UPDATE a SET n = 5 WHERE id = 2", "ALTER TABLE a RENAME COLUMN n TO more"))
@example(
    pair(
        "UPDATE b SET k = 5",
        *("ALTER TABLE b RENAME COLUMN w TO more", "ALTER TABLE b RENAME COLUMN k TO w"),
        "ALTER TABLE b RENAME COLUMN more TO k",
    )
)
@example(
    pair(
        "UPDATE a SET n = 5 WHERE id = 2",
        *("ALTER TABLE a DROP COLUMN n", "ALTER TABLE a ADD COLUMN n int DEFAULT 5"),
    )
)
@example(pair("UPDATE b SET w = 'x9' WHERE k = 2", "ALTER TABLE b ALTER COLUMN w TYPE int USING 1"))
@example(
    pair(
        "ALTER TABLE a ADD COLUMN more int; ALTER TABLE a RENAME COLUMN more TO also",
        "UPDATE a SET also = 7",
    )
)
@example(
    pair(
        "ALTER TABLE a DROP COLUMN n; ALTER TABLE a RENAME COLUMN id TO more",
        "UPDATE a SET more = 7 WHERE more = 2",
    )
)
@settings(explored(10), suppress_health_check=list(HealthCheck))
@given(transactions=TRANSACTIONS)
def test_an_undo_leaves_what_others_did_or_says_what_is_in_its_way(
    databases: tuple[Database, Database], transactions: list
) -> None:
    asyncio.run(check(*databases, transactions))


async def check(made: Database, alone: Database, transactions: list) -> None:
    db, twin = await made.connect(), await alone.connect()
    tagged = await made.connect(server_settings={**SETTINGS, "hotrollback.tag": "bad"})
    other = await made.connect(server_settings=SETTINGS)
    theirs = await alone.connect(server_settings=SETTINGS)
    try:
        for each in (db, twin):
            await each.execute(MADE + FORGET)
        world = await World.of(other)
        await play(tagged, world, transactions)
        before = await content(db)
        if await undone(db, before):
            comparable = await replay(await World.of(theirs), world)
            event(f"done, {'compared' if comparable else 'nothing to compare with'}")
            if comparable:
                found, meant = (columns_sorted(each.dump()) for each in (made, alone))
                assert found == meant
            await redone(db, before)
    finally:
        for each in (tagged, other, theirs, db, twin):
            await each.close()


async def play(
    tagged: asyncpg.Connection, other: World, transactions: list[tuple[int, list[str], str]]
) -> None:
    late: set[int] = set()
    for who, statements, end in transactions:
        client = (tagged, other.client)[who]
        if who in late:
            await finish(client, other, "COMMIT")
        late.discard(who)
        await client.execute("BEGIN")
        for statement in statements:
            if who == OTHER:
                note("    the other:")
                await other.step(statement)
            else:
                await attempt(client, statement)
        if end == "LATER":
            late.add(who)
        else:
            await finish(client, other, end)
    for who in late:
        await finish((tagged, other.client)[who], other, "COMMIT")


async def finish(client: asyncpg.Connection, other: World, end: str) -> None:
    note(f"{'    the other: ' if client is other.client else ''}{end}")
    await client.execute(end)
    if client is other.client:
        other.end(end)


async def undone(db: asyncpg.Connection, before: list[str]) -> bool:
    """Whether it is. What is not has changed nothing."""
    try:
        report = await run(db, UndoRequest(Selection(tag="bad"), by="test"))
    except UnknownTag:
        event("nothing was tagged")
        return False
    except UndoError as error:
        note(str(error))
        event(f"refused: {type(error).__name__}")
        assert await content(db) == before
        return False
    note(f"{report.outcome} {report.message} {[c.detail for c in report.conflicts]}")
    if report.outcome in {Outcome.DONE, Outcome.NOTHING}:
        return True
    assert report.outcome is Outcome.CONFLICTS, report
    assert report.conflicts
    event("conflicts")
    assert await content(db) == before
    return False


async def replay(alone: World, other: World) -> bool:
    """Whether all that the other did came out as it had there."""
    await alone.client.execute("BEGIN")
    for step in other.done:
        again = await alone.step(step.statement)
        if again is None or not same(step, again):
            note(f"not the same alone: {step.statement}")
            await alone.client.execute("ROLLBACK")
            return False
    await alone.client.execute("COMMIT")
    return True


async def redone(db: asyncpg.Connection, before: list[str]) -> None:
    if await db.fetchval("SELECT count(*) FROM hotrollback.undo"):
        again = await redo(db, None, by="test")
        assert again.outcome is Outcome.DONE, again.conflicts
        assert await content(db) == before
