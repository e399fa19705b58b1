"""What the policies leave of rows that others have written since, against a model of it in Python:
the rows as the writes of the others alone would have made them, as each policy understands it.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field

import asyncpg
import pytest
from fix_postgres import Database
from hypothesis import Phase, event, example, given, settings
from hypothesis import strategies as st

from undo import engine
from undo.install import install
from undo.model import Outcome
from undo.request import Selection, UndoRequest

COLUMNS = ("a", "b", "c")
TABLES = """
CREATE TABLE t (id int PRIMARY KEY, a int, b int, c int);
CREATE TABLE child (id int PRIMARY KEY, t int REFERENCES t);
"""
ROWS = 3


@dataclass(frozen=True, slots=True)
class Write:
    """One transaction: an update of some columns of a row, a row inserted or deleted, a child."""

    bad: bool
    kind: str  # set, insert, delete, child
    row: int
    columns: frozenset[str] = frozenset()

    def sql(self, value: int) -> str:
        match self.kind:
            case "set":
                given = ", ".join(f"{name} = {value}" for name in sorted(self.columns))
                return f"UPDATE t SET {given} WHERE id = {self.row}"
            case "insert":
                return f"INSERT INTO t VALUES ({self.row}, {value}, {value}, {value})"
            case "delete":
                return f"DELETE FROM t WHERE id = {self.row}"
            case _:
                return f"INSERT INTO child VALUES ({value}, {self.row})"


WRITES = st.builds(
    Write,
    st.booleans(),
    st.sampled_from(("set", "set", "set", "insert", "delete", "child")),
    st.integers(1, ROWS + 1),
    st.frozensets(st.sampled_from(COLUMNS), min_size=1),
)
Rows = dict[int, dict[str, int]]


@dataclass(slots=True)
class World:
    """What the rows are, and who did what to them. A row that was deleted is never made again."""

    rows: Rows
    ever: set[int] = field(default_factory=lambda: set(range(1, ROWS + 1)))
    histories: dict[int, list[tuple[int, Write, dict[str, int]]]] = field(default_factory=dict)
    children: dict[int, int] = field(default_factory=dict)  # who made it -> row

    def takes(self, number: int, write: Write) -> bool:
        """Whether the write did something."""
        there = write.row in self.rows
        match write.kind:
            case "set" | "child":
                done = there
            case "insert":
                done = write.row not in self.ever
            case _:
                done = there and write.row not in self.children.values()
        if not done:
            return False
        before = dict(self.rows.get(write.row, {}))
        if write.kind == "set":
            self.rows[write.row] |= dict.fromkeys(write.columns, number)
        elif write.kind == "insert":
            self.rows[write.row] = dict.fromkeys(COLUMNS, number)
            self.ever.add(write.row)
        elif write.kind == "delete":
            del self.rows[write.row]
        else:
            self.children[number] = write.row
            return True
        self.histories.setdefault(write.row, []).append((number, write, before))
        return True


def beginning() -> Rows:
    return {row: dict.fromkeys(COLUMNS, 0) for row in range(1, ROWS + 1)}


def merged(writes: list[tuple[int, Write]]) -> Rows | None:
    """Column by column; None where the bad writes made or deleted a row that others wrote later."""
    world = World(beginning())
    for number, write in writes:
        world.takes(number, write)
    rows = {row: dict(values) for row, values in world.rows.items()}
    for row, history in world.histories.items():
        bads = [n for n, (_, write, _) in enumerate(history) if write.bad]
        if not bads:
            continue
        first, last, final = history[bads[0]], history[bads[-1]], history[-1]
        made, deleted = first[1].kind == "insert", last[1].kind == "delete"
        later = any(not write.bad for _, write, _ in history[bads[0] :])
        if made and final[1].kind == "delete":
            continue  # gone, whoever did it
        if made or deleted:
            if later or (made and row in world.children.values()):
                return None
            if made:
                del rows[row]
            else:
                rows[row] = first[2]
        elif final[1].kind != "delete":
            rows[row] |= by_column(history)
    return rows


def by_column(history: list[tuple[int, Write, dict[str, int]]]) -> dict[str, int]:
    """Columns that the bad ones wrote last get what was before the last of their writes in a row."""
    found = {}
    for column in COLUMNS:
        for _, write, before in reversed(history):
            if write.kind == "set" and column in write.columns:
                if not write.bad:
                    break
                found[column] = before[column]
    return found


def alone(writes: list[tuple[int, Write]]) -> Rows | None:
    """The rows as the others alone make them; None if they did not do the same then."""
    everything, world = World(beginning()), World(beginning())
    for number, write in writes:
        did = everything.takes(number, write)
        if not write.bad and world.takes(number, write) is not did:
            return None
    return world.rows


@pytest.fixture(scope="module", params=[18, 15], ids=["pg18", "pg15"])
def database(request: pytest.FixtureRequest, servers) -> Iterator[Database]:
    with servers[request.param].database() as made:
        made.psql(TABLES)
        asyncio.run(_installed(made))
        yield made


async def _installed(database: Database) -> None:
    connection = await database.connect()
    await install(connection)
    await connection.close()


@settings(max_examples=25, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(writes=st.lists(WRITES, min_size=1, max_size=8))
@example(
    writes=[
        Write(bad=True, kind="insert", row=4),
        Write(bad=False, kind="set", row=4, columns=frozenset("a")),
        Write(bad=True, kind="delete", row=4),
    ]
)
def test_policies(database: Database, writes: list[Write]) -> None:
    asyncio.run(check(database, list(enumerate(writes, 1))))


async def check(database: Database, writes: list[tuple[int, Write]]) -> None:
    db = await database.connect()
    try:
        for policy in ("skip", "merge", "cascade"):
            await run(db, writes)
            before = await contents(db)
            if not await db.fetchval(
                "SELECT true FROM hotrollback.change WHERE tag = 'bad' LIMIT 1"
            ):
                return
            report = await engine.run(
                db, UndoRequest(Selection(tag="bad"), policy=policy, by="test")
            )
            event(f"{policy}: {report.outcome}")
            after = await contents(db)
            if report.outcome is Outcome.CONFLICTS:
                assert after == before
            await globals()[f"check_{policy}"](db, writes, before, after, report)
    finally:
        await db.close()


async def run(db: asyncpg.Connection, writes: list[tuple[int, Write]]) -> None:
    await db.execute(
        "TRUNCATE t, child; TRUNCATE hotrollback.change, hotrollback.gap, hotrollback.undone,"
        " hotrollback.undo;"
        f" INSERT INTO t SELECT i, 0, 0, 0 FROM generate_series(1, {ROWS}) i;"
        " TRUNCATE hotrollback.change"
    )
    world = World(beginning())
    for number, write in writes:
        if world.takes(number, write):
            await db.execute(f"SET hotrollback.tag = '{'bad' if write.bad else ''}'")
            await db.execute(write.sql(number))
    await db.execute("RESET hotrollback.tag")
    assert await contents(db) == world.rows


async def contents(db: asyncpg.Connection) -> Rows:
    rows = await db.fetch("SELECT id, a, b, c FROM t")
    return {row["id"]: {name: row[name] for name in COLUMNS} for row in rows}


async def check_skip(_db, writes, before: Rows, after: Rows, report) -> None:
    """Rows whose last writer is somebody else are as they are; rows that nobody else wrote are as
    they were; all others are as they were at some time."""
    assert report.outcome in {Outcome.DONE, Outcome.NOTHING}
    world = World(beginning())
    done: dict[int, list[bool]] = {}
    states: dict[int, list] = {row: [beginning().get(row)] for row in range(1, ROWS + 2)}
    for number, write in writes:
        if world.takes(number, write) and write.kind != "child":
            done.setdefault(write.row, []).append(write.bad)
            states[write.row].append(
                dict(world.rows[write.row]) if write.row in world.rows else None
            )
    for row, was in states.items():
        bads = done.get(row, [])
        if not all(bads):
            assert after.get(row) in (was if bads[-1] else [before.get(row)])
        elif row not in world.children.values():
            assert after.get(row) == beginning().get(row)


async def check_merge(_db, writes, _before: Rows, after: Rows, report) -> None:
    wanted = merged(writes)
    rest = alone(writes)
    if report.outcome is Outcome.CONFLICTS:
        assert wanted is None
        return
    assert after == wanted
    if rest is not None:
        assert after == rest


async def check_cascade(db, writes, _before: Rows, after: Rows, report) -> None:
    """Nobody who is left depends on what was taken back: it is as if they alone had been."""
    assert report.outcome in {Outcome.DONE, Outcome.NOTHING}, report
    taken = {along.xid for along in report.along}
    xids = [row[0] for row in await db.fetch("SELECT DISTINCT xid, min(lsn) FROM hotrollback.change"
            " WHERE xid NOT IN (SELECT xid FROM hotrollback.undo) GROUP BY xid ORDER BY 2")]  # fmt: skip
    world, did = World(beginning()), []
    for number, write in writes:
        if world.takes(number, write):
            did.append((number, write))
    assert len(xids) == len(did)
    left = World(beginning())
    for xid, (number, write) in zip(xids, did, strict=True):
        if not write.bad and xid not in taken:
            # What a bad one had made, and is gone, nobody is in the way of.
            assert left.takes(number, write) or write.row not in world.rows
    assert after == left.rows
