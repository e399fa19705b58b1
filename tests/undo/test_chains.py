"""What is folded on the server is what `fold` makes of the same changes."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import asyncpg
import pytest
from fix_postgres import Database
from hypothesis import event, given, settings
from hypothesis import strategies as st

from undo import engine
from undo.install import install
from undo.request import Selection, UndoRequest
from undo.stages import chains
from undo.stages.chains import Chained
from undo.stages.load import load, match, partitions, relations
from undo.stages.select import resolve
from undo.tables import look_up

TABLES = """
CREATE TABLE keyed (id int PRIMARY KEY, v int);
CREATE TABLE parted (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (MINVALUE) TO (3);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (3) TO (MAXVALUE);
CREATE TABLE keyless (id int, v int);
"""
TABLE = ("keyed", "parted", "keyless")
WRITES = (
    "INSERT INTO {table} SELECT {id}, 0 WHERE NOT EXISTS (SELECT FROM {table} WHERE id = {id})",
    "UPDATE {table} SET v = v + 1 WHERE id = {id}",
    "UPDATE {table} SET v = v + 1",
    "UPDATE {table} SET id = {other} WHERE id = {id}"
    " AND NOT EXISTS (SELECT FROM {table} WHERE id = {other})",
    "DELETE FROM {table} WHERE id = {id}",
    "TRUNCATE {table}",
)
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(WRITES), st.sampled_from(TABLE), st.integers(1, 4), st.integers(1, 4)
        ),
        st.sampled_from(("next", "next, tagged", "undo", "redo", "vacuum")),
    ),
    min_size=4,
    max_size=25,
)
# What an effect is, without the numbers that it and its changes happen to have.
EFFECTS = """
SELECT e.root::int8, e.op::text, e.first_place, e.last_place, e.tail_place, e.tail_relid::int8,
       e.tail_tid, l.place AS later, e.torn, e.moved_on, e.active,
       ARRAY(SELECT c.place::text FROM {changes} c WHERE c.n = e.n AND c.selected ORDER BY c.i)
  FROM {effects} e LEFT JOIN {changes} l ON l.i = e.later
 ORDER BY 1, e.first_part, e.first_place
"""
AGAIN = "SELECT c.place FROM {changes} c WHERE c.again ORDER BY 1"


@dataclass(frozen=True, slots=True)
class Bed:
    database: Database


@pytest.fixture(scope="module", params=[18, 15], ids=["pg18", "pg15"])
def bed(request: pytest.FixtureRequest, servers) -> Iterator[Bed]:
    with servers[request.param].database() as database:
        database.psql(TABLES)
        asyncio.run(_installed(database))
        yield Bed(database)


async def _installed(database: Database) -> None:
    connection = await database.connect()
    await install(connection)
    await connection.close()


@settings(max_examples=40, deadline=None)
@given(steps=STEPS)
def test_both_ways_are_one(bed: Bed, steps: list) -> None:
    asyncio.run(check(bed, steps))


async def check(bed: Bed, steps: list) -> None:
    db = await bed.database.connect()
    await db.execute("SET client_min_messages = error")
    try:
        await db.execute(
            "TRUNCATE keyed, parted, keyless; TRUNCATE hotrollback.change, hotrollback.gap,"
            " hotrollback.undone, hotrollback.undo"
        )
        await db.execute(
            "INSERT INTO keyed VALUES (1, 0), (2, 0); INSERT INTO keyless VALUES (1, 0)"
        )
        for steps_of_one in transactions(steps):
            await run(db, steps_of_one)
        if await db.fetchval("SELECT true FROM hotrollback.change WHERE tag = 'bad' LIMIT 1"):
            await compare(db)
    finally:
        await db.close()


def transactions(steps: list) -> Iterator[list]:
    """Lists that begin with what is done before, or with the tag of a transaction."""
    found: list = ["next, tagged"]
    for step in steps:
        if isinstance(step, str):
            yield found
            found = [step]
        else:
            found.append(step)
    yield found


async def run(db: asyncpg.Connection, steps: list) -> None:
    first, *writes = steps
    if first == "vacuum":
        await db.execute("VACUUM keyed, parted, keyless")
    elif first == "undo" and await db.fetchval(
        "SELECT true FROM hotrollback.change WHERE tag = 'bad' LIMIT 1"
    ):
        await engine.run(
            db, UndoRequest(Selection(tag="bad"), policy="skip", accept_gaps=True, by="test")
        )
    elif first == "redo" and await db.fetchval(
        "SELECT true FROM hotrollback.undo WHERE redone_by IS NULL AND redo_of IS NULL LIMIT 1"
    ):
        await engine.redo(db, None, by="test", policy="skip")
    await db.execute(f"SET hotrollback.tag = '{'bad' if first == 'next, tagged' else ''}'")
    async with db.transaction():
        for text, table, row, other in writes:
            await db.execute(text.format(table=table, id=row, other=other))
    await db.execute("RESET hotrollback.tag")


async def compare(db: asyncpg.Connection) -> None:
    async with db.transaction():
        chosen = await resolve(db, Selection(tag="bad"))
        matched = await match(db, chosen)
        tables = await look_up(db, await relations(db, matched.table))
        loaded = await load(db, chosen, tables, matched)
        parts = await partitions(db)
        plainly = await chains.chain(db, tables, parts, loaded.table)
        event(f"all plain: {await db.fetchval(f'SELECT bool_and(plain) FROM {plainly.changes}')}")
        with pytest.MonkeyPatch.context() as patch:
            everything = "CREATE TEMPORARY TABLE {odd} AS SELECT DISTINCT c.grp FROM {chained} c"
            patch.setattr(chains, "_ODD", everything)
            one_by_one = await chains.chain(db, tables, parts, loaded.table)
        assert await told(db, plainly) == await told(db, one_by_one)


async def told(db: asyncpg.Connection, chained: Chained) -> tuple[list, list]:
    names = {"changes": chained.changes, "effects": chained.effects}
    return await db.fetch(EFFECTS.format(**names)), await db.fetch(AGAIN.format(**names))
